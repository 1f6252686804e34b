package function

import "time"

// Spec is what a user asked for, exactly as it was sent: no defaults filled in, nothing injected, so that a client that
// compares what it sent with what it gets back finds no difference.
type Spec struct {
	Ref
	// Image is the image reference as sent, by tag or digest.
	Image string
	// Process is the command line that the watchdog runs, split at single blanks; empty runs the image's own entrypoint.
	// OpenFaaS calls it envProcess.
	Process string
	// Env holds the environment of the function's process.
	Env map[string]string
	// Constraints are node selectors, each KEY=VALUE.
	Constraints []string
	// Secrets are names of secrets in the function's namespace.
	Secrets []string
	// Labels and Annotations are nil when none were sent and empty when {} was sent; the two read back differently.
	Labels      map[string]string
	Annotations map[string]string
	// Limits and Requests are nil when absent.
	Limits   *Resources
	Requests *Resources
	// ReadOnlyRoot mounts the image's file system read-only; /tmp stays writable.
	ReadOnlyRoot bool
}

// Resources are Kubernetes quantities as sent. An empty string is unset.
type Resources struct {
	Memory, CPU                 string
	NvidiaGPU, AMDGPU, IntelGPU string
}

// Function is a checked Spec with an identity. It is immutable: readers share it.
type Function struct {
	Spec
	Policy Policy
	// ID is the identity of this record. A function deleted and deployed again under the same name has another ID.
	ID string
	// Replicas is how many replicas are wanted now; 0 is a function at zero.
	Replicas int
	// Scaled is why it is that many, in a line, if the provider has decided so and not a user.
	Scaled string
	// Created is when the record was made.
	Created time.Time
}

// New checks spec and parses its policy. The caller sets ID, Replicas and Created. An error wraps ErrInvalid.
func New(spec Spec) (*Function, error) {
	policy, err := Check(spec)
	if err != nil {
		return nil, err
	}
	return &Function{Spec: spec, Policy: policy, Replicas: policy.Scale.Initial()}, nil
}

// Salvage makes a function of what can be read in a spec that New refuses: of one that runs, and has to go on being
// served. Nothing new can be started from it. The caller sets ID, Replicas and Created.
func Salvage(spec Spec) *Function {
	policy := salvagePolicy(spec)
	return &Function{Spec: spec, Policy: policy, Replicas: policy.Scale.Initial()}
}

// Status is what was observed of a function.
type Status struct {
	// Available is how many replicas may be given work now.
	Available int
	// Reason says in one line why fewer replicas are available than wanted, in the cluster's own words: an image that
	// cannot be pulled, a process that crashes. Empty when there is nothing to tell.
	Reason string
}

// Usage is what replicas of a function use, added up. A field that is nil is known of none of them.
type Usage struct {
	// Replicas is how many have told what they use.
	Replicas int
	// MilliCPU is the processor time used lately, in thousandths of a processor.
	MilliCPU *float64
	// MemoryBytes is the working set: what the kernel cannot take back.
	MemoryBytes *int64
	// InFlight is how many invocations are accepted and not yet answered, and Served how many have ended since the replicas
	// were started.
	InFlight int
	Served   uint64
}

// Endpoint is the address of a replica that may be given work.
type Endpoint struct {
	// Address is IP:port.
	Address string
	// Replica is the name of the pod, for logs.
	Replica string
}
