// Package function is the domain: what a function is, before Kubernetes, HTTP or a store come into it.
//
// # Words
//
// A Ref names a function: a name in a namespace. A Spec is what a user asked for, kept exactly as it was sent. A Function
// is a Spec that was checked, has an identity (ID) and carries its Policy: everything that labels and annotations say,
// parsed once, so that no other package reads a label. A Status is what was observed of it. An Endpoint is the address of
// a replica that may be given work. A Namespace is a place for functions; a LogQuery and a LogLine are how their logs
// are asked for and told; a Heap is a contract's own state and a HeapWrite one change of it; a Commit is all that one
// invocation changes, and a Record what is kept of it for its repeats. An Item is what is queued for a
// function, a Lease the right to do it, and a Settlement what became of it.
//
//	JSON body ─┐
//	           ├─► Spec ─► Check ─► Policy ─► Function ─► proxy, scaler, invoke
//	Function ──┘            │
//	object                  └─► an error that wraps ErrInvalid and says what to mend
//
// # Guarantees
//
// Values of this package are immutable once published: a *Function that a cache hands out is shared by every goroutine
// and must not be written to; a change makes a new one. Check accepts no Spec that the rest of the system could not run
// as far as that can be told without asking a cluster or a registry.
//
// # What it leaves to others
//
// Whether a secret exists, an image parses and a request is below its limit is known to pkg/kube. The mapping of errors
// to HTTP statuses is in pkg/handlers.
//
// # Sources
//
// Labels and annotations beginning com.openfaas are OpenFaaS's own (https://docs.openfaas.com/architecture/autoscaling/);
// those beginning com.dragonchain are ours. Rules for names, labels, annotations and quantities are Kubernetes' (RFC 1035
// labels, RFC 1123 subdomains, qualified names), so that what it would refuse later is refused here, in words.
package function
