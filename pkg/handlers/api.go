package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openfaas/faas-provider/types"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Functions keeps the records of functions. Lookup, List and Status answer from memory: a stock gateway asks for a status
// on nearly every invocation. A change is visible to them once the call that made it has returned nil, and Delete returns
// once the name is free. Create and Update refuse a spec that function.Check refuses, or that the cluster would. The errors
// are those of package function.
type Functions interface {
	Lookup(ref function.Ref) (*function.Function, bool)
	List(namespace string) []*function.Function
	Status(ref function.Ref) function.Status
	Create(ctx context.Context, spec function.Spec) error
	Update(ctx context.Context, spec function.Spec) error
	Delete(ctx context.Context, ref function.Ref) error
	Scale(ctx context.Context, ref function.Ref, replicas int) error
}

// Secrets keeps the secrets that this API made; others are not found, not listed and not touched.
type Secrets interface {
	ListSecrets(ctx context.Context, namespace string) ([]string, error)
	CreateSecret(ctx context.Context, namespace, name string, value []byte) error
	UpdateSecret(ctx context.Context, namespace, name string, value []byte) error
	DeleteSecret(ctx context.Context, namespace, name string) error
}

// Namespaces keeps the namespaces that may hold functions. Namespaces and Managed answer from memory. Create and Update
// mark the namespace as OpenFaaS's; one that is not so marked is not found.
type Namespaces interface {
	Namespaces() []string
	Managed(namespace string) bool
	Namespace(ctx context.Context, name string) (function.Namespace, error)
	CreateNamespace(ctx context.Context, namespace function.Namespace) error
	UpdateNamespace(ctx context.Context, namespace function.Namespace) error
	DeleteNamespace(ctx context.Context, name string) error
}

// Logs reads functions' logs. The channel is closed at the end of the log, or soon after ctx has ended.
type Logs interface {
	Logs(ctx context.Context, query function.LogQuery) (<-chan function.LogLine, error)
}

// Usage tells what a function's replicas use. It may ask them, which takes seconds at most, and returns false if none of them
// can tell, or ctx ends first.
type Usage interface {
	Usage(ctx context.Context, f *function.Function) (usage function.Usage, known bool)
}

// Config holds what the API is made of. Fields are required unless they say otherwise.
type Config struct {
	Functions  Functions
	Secrets    Secrets
	Namespaces Namespaces
	Logs       Logs
	Heaps      Heaps

	// Usage is asked where a client asks for it. nil means that no usage is known.
	Usage Usage

	// Invoke answers /function/ on both listeners. It gets the path as it was sent and needs no credentials.
	Invoke http.Handler

	// Async answers /async-function/ on the gateway's listener. It gets the path as it was sent and needs no credentials. nil leaves
	// the route out.
	Async http.Handler

	// DeadLetters are what became of some of that. nil leaves their routes out.
	DeadLetters DeadLetters

	// CheckSpec refuses what function.Check cannot judge, with an error that wraps function.ErrInvalid. nil refuses nothing.
	CheckSpec func(function.Spec) error

	// NextTick is when a function is called by the clock next, if that is known. nil knows of none.
	NextTick func(f *function.Function) (at time.Time, known bool)

	// Invocations is how many calls of a function have ended, in any way, since it was deployed or this process began. nil
	// leaves it out.
	Invocations func(function.Ref) uint64

	// Metrics is where the API's own metrics are registered. nil keeps them to itself.
	Metrics prometheus.Registerer

	// Ready answers the watchdogs' ready pushes on the provider's listener. nil leaves the route out.
	Ready *ReadyPush
	// Peers answers other providers on the provider's listener, at PeersPath, and authenticates them. nil leaves the route out.
	Peers     http.Handler
	PeersPath string

	// Relay passes on what pods tell, to the providers that serve the same functions. nil means that there are none.
	Relay Relay

	// Spare has the spare of the warm pool register whose pod has this name and which serves at this address, as it says. An
	// error that wraps function.ErrNotFound tells that it is none of ours, and one that wraps function.ErrConflict that it cannot be
	// claimed here now. nil leaves the route out.
	Spare func(ctx context.Context, pod string, ip netip.Addr) error

	// ContractHeap answers contracts that ask for their heap, on the provider's listener. nil leaves the route out.
	ContractHeap *ContractHeap

	// Credentials gives the one user and its password, without blanks around them. It is asked for every request, so that
	// a rotated password takes effect at once. While either is empty nobody is let in.
	Credentials func() (user, password string)

	// Signatures are taken in place of credentials where a Dragonchain's clients read. nil takes none.
	Signatures Signatures

	// Healthy tells why the provider cannot do its work, or nil. nil means always healthy.
	Healthy func(context.Context) error

	// DefaultNamespace is meant where a request names none. Empty means openfaas-fn.
	DefaultNamespace string

	// HeapQuotaBytes is what a contract may keep whose annotation names no quota. It is only told.
	HeapQuotaBytes int64

	// Version is what /system/info tells.
	Version types.VersionInfo

	// Log gets what callers are not told. nil discards it.
	Log *slog.Logger
}

// API answers the OpenFaaS REST API. It is safe for concurrent use.
type API struct {
	cfg     Config
	fail    func(http.ResponseWriter, *http.Request, error, forms)
	metrics *metrics
	key     atomic.Pointer[key]
	// keyReads are the answers of ServeExchange.
	keyReads *answers

	// draining is closed by Drain.
	draining chan struct{}
	drain    sync.Once
}

// New checks cfg. It starts nothing.
func New(cfg Config) (*API, error) {
	for _, need := range []struct {
		name  string
		given bool
	}{
		{"functions", cfg.Functions != nil},
		{"secrets", cfg.Secrets != nil},
		{"namespaces", cfg.Namespaces != nil},
		{"logs", cfg.Logs != nil},
		{"heaps", cfg.Heaps != nil},
		{"the data plane", cfg.Invoke != nil},
		{"credentials", cfg.Credentials != nil},
	} {
		if !need.given {
			return nil, errors.New("handlers: " + need.name + " missing")
		}
	}
	if cfg.DefaultNamespace == "" {
		cfg.DefaultNamespace = openfaasNamespace
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Healthy == nil {
		cfg.Healthy = func(context.Context) error { return nil }
	}
	if cfg.CheckSpec == nil {
		cfg.CheckSpec = func(function.Spec) error { return nil }
	}
	if cfg.NextTick == nil {
		cfg.NextTick = func(*function.Function) (time.Time, bool) { return time.Time{}, false }
	}
	if cfg.Invocations == nil {
		cfg.Invocations = func(function.Ref) uint64 { return 0 }
	}
	metrics, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, fmt.Errorf("handlers: %w", err)
	}
	return &API{
		cfg: cfg, fail: errorWriter(cfg.Log), metrics: metrics, keyReads: metrics.answersOf(http.MethodGet, heapPrefix), draining: make(chan struct{}),
	}, nil
}

// Drain ends the log streams that follow: a server that shuts down would wait for them until its deadline. Give it to
// http.Server.RegisterOnShutdown. It may be called again.
func (a *API) Drain() { a.drain.Do(func() { close(a.draining) }) }
