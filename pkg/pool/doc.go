// Package pool hands out the spares of the warm pool: pods that run only the watchdog, and wait to become a replica of
// whatever function is called next.
//
// # Words
//
// A spare is a pod of the pool that has registered: it is up, and has said under which key an assignment to it is to be
// sealed. A claim takes a spare for one function, for good; a spare that was claimed is never free again. Assigning tells the
// spare's watchdog what it is to run; adopting makes the pod the function's in Kubernetes, which has the kubelet start the
// function's image in it. A spare is given up when any of that goes wrong: nobody knows then how far it came.
//
// # How one claim travels
//
//	a spare's watchdog ─► Add ─► free ──┐                      ┌─ error ─► Discard ─► another spare, or ErrNoSpare
//	                                    ▼                      │
//	Claim(function) ─────────► take one, under the lock ─► Assign ─► Adopt ─► the pod is the function's
//	                                    │
//	                           none to be had: ErrNoSpare, and the function starts without one
//
// # Guarantees
//
//   - No spare is handed to two functions, and none twice, whatever comes at once.
//   - The last free spare of a namespace is kept for functions that had none lately: one that comes up again and again, or
//     that crashes, does not keep the others from theirs.
//   - No more than Config.NodeClaims claims are starting on a node at a time. A kubelet starts containers one after the
//     other in part: beyond some of them each makes all others late. A few more wait for them, for a moment.
//   - A node one of whose spares does not take its assignment, or of which that is told (Shun), is avoided for half a minute, while
//     other nodes have spares. No claim tries a second spare of a node of which the first has not answered in time.
//   - A claim ends in time: Assign and Adopt have a deadline, and at most two spares are tried.
//
// All of it is in memory. A provider that starts knows of no spare until it registers; one whose provider died in the middle
// of a claim says so when it registers again, and is given up.
//
// # What it leaves to others
//
// How many spares there are to be, what they look like and what becomes of those that are given up: pkg/kube. Who may
// register, and how an assignment is sealed: package assignment and whoever serves it.
package pool
