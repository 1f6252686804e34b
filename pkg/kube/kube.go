package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Config says which cluster, and how functions run in it. Fields are required unless they say otherwise.
type Config struct {
	// REST is how to reach the API server; see Connect.
	REST *rest.Config

	// DefaultNamespace always counts as a namespace for functions. Empty means openfaas-fn.
	DefaultNamespace string

	// WatchdogImage is the image that holds /dc-watchdog: the provider's own.
	WatchdogImage string
	// WatchdogBy is the way to put the watchdog into a function's image. Empty means WatchdogAuto.
	WatchdogBy WatchdogMethod

	// ReadyURL is where watchdogs push that they are ready, and ReadyKey what their tokens are made with. An empty
	// ReadyURL leaves pushes out: the kubelet's probes alone tell then.
	ReadyURL string
	ReadyKey []byte

	// RegistryMirrors maps the host of an image reference, such as docker.io, to the base URL of a registry that is asked
	// first. It should say what the nodes' container runtimes are told, or a digest may be found that no node can pull.
	RegistryMirrors map[string]string
	// ResolveTimeout is how long a registry may take to tell an image's digest. 0 means 3 s.
	ResolveTimeout time.Duration

	// PrePull has every node that may run a function pull its image ahead of a wake.
	PrePull bool

	// CallTimeout is how long a call may take. An image that runs without the watchdog is not told to end for as long, or
	// for as long as its own write_timeout or exec_timeout says, if that is less. 0 means that the function's own counts.
	CallTimeout time.Duration

	// Workers is how many functions are reconciled at a time. 0 means 16.
	Workers int

	// LeaseDuration is how long a leader that is gone without a word is waited for, and a little more than how long one leads
	// that cannot reach the API server; a sixteenth of it is the time between two tries, each a small write, and up to twice that
	// passes until the last word is read, and again after it has become old. 0 means 7 s, so that another leads within ten.
	LeaseDuration time.Duration

	// OnEndpoints is told of each change to the replicas of a function that may be given work: all of them, none at zero
	// and after a delete. id is the record's identity. Calls for one function come in order and never overlap. nil tells nobody.
	OnEndpoints func(ref function.Ref, id string, endpoints []function.Endpoint)
	// OnProblem is called when what Stuck tells of a function may have changed. nil tells nobody.
	OnProblem func(ref function.Ref)
	// InFlight tells how many calls are at a replica, so that the emptiest goes where there are to be fewer. nil knows of none.
	InFlight func(ref function.Ref, replica string) int
	// OnDeploy is called before a record's first pods exist, when its policy has changed, again after a restart of the
	// provider, and until it returns nil. nil does nothing, as for OnDelete.
	OnDeploy func(context.Context, *function.Function) error
	// OnDelete is called before a record goes, until it returns nil.
	OnDelete func(context.Context, *function.Function) error

	// Pool is the warm pool. nil is none: functions at zero then wait for a pod of their own.
	Pool *Pool

	// Log gets what changes. nil discards it.
	Log *slog.Logger
}

// Cluster keeps the records of functions in Kubernetes and makes what they ask for. Its methods are safe for concurrent
// use; those that say memory only answer from its caches and never wait.
type Cluster struct {
	cfg       Config
	log       *slog.Logger
	core      kubernetes.Interface
	functions rest.Interface

	records     *mirror[record]
	pods        *mirror[pod]
	spares      *mirror[spare]
	deployments *mirror[deployment]
	services    *mirror[service]
	namespaces  *mirror[namespace]

	index  *index
	table  *table
	starts *starts
	images *resolver
	nodes  *nodeCache
	pulls  *puller
	synced chan struct{}
	// reached reports whether any of some endpoints' addresses answers.
	reached func(context.Context, []function.Endpoint) bool
	// refill has the pool looked at, and keeping says that this provider does.
	refill  chan struct{}
	keeping atomic.Bool

	mu sync.Mutex
	// queue holds what is to be reconciled next, by this provider or by nobody here.
	queue refQueue
	// ended says that nothing is watched any more, and that no other queue follows.
	ended bool
	// prepared are the policies of records for which OnDeploy was called, by the records' identities.
	prepared map[string]function.Policy
	// woken are the generations of records in which a function was last seen to be woken, by a round: see record.woken.
	woken map[types.UID]int64
	// steady are the records that are to get their Deployment whatever claimed pods they have.
	steady map[types.UID]struct{}
	// given are the versions of the secrets that were assigned to a spare which is about to become the record's.
	given map[types.UID]string
	// unfits are the records whose functions do not run in spares.
	unfits map[types.UID]unfit
	// rescues are the records of which calls reached no replica lately.
	rescues map[types.UID]rescue
	// discarded are spares that are of no use any more, until their pods are gone.
	discarded map[types.UID]struct{}
	// departures are closed when the record with that identity is gone.
	departures map[string]chan struct{}
}

// Connect reads how to reach the API server: from a kubeconfig file, or, if the path is empty, from the pod's own service
// account.
func Connect(kubeconfig string) (*rest.Config, error) {
	var cfg *rest.Config
	var err error
	if kubeconfig == "" {
		cfg, err = rest.InClusterConfig()
	} else {
		cfg, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("read how to reach Kubernetes: %w", err)
	}
	return cfg, nil
}

// New checks cfg. It starts nothing and asks the API server nothing.
func New(cfg Config) (*Cluster, error) {
	if cfg.REST == nil {
		return nil, errors.New("kube: no API server given")
	}
	if cfg.WatchdogImage == "" {
		return nil, errors.New("kube: no watchdog image given")
	}
	if cfg.ReadyURL != "" && len(cfg.ReadyKey) == 0 {
		return nil, errors.New("kube: a ready URL needs a ready key")
	}
	if err := cfg.WatchdogBy.check(); err != nil {
		return nil, err
	}
	if cfg.Pool != nil {
		if err := cfg.Pool.check(); err != nil {
			return nil, err
		}
	}
	cfg.fill()

	c := &Cluster{
		cfg:        cfg,
		log:        cfg.Log,
		synced:     make(chan struct{}),
		reached:    anyReached,
		prepared:   make(map[string]function.Policy),
		departures: make(map[string]chan struct{}),
		refill:     make(chan struct{}, 1),
		woken:      make(map[types.UID]int64),
		steady:     make(map[types.UID]struct{}),
		given:      make(map[types.UID]string),
		unfits:     make(map[types.UID]unfit),
		rescues:    make(map[types.UID]rescue),
		discarded:  make(map[types.UID]struct{}),
	}
	var err error
	if c.functions, err = newFunctionClient(cfg.REST); err != nil {
		return nil, fmt.Errorf("kube: client for functions: %w", err)
	}
	if c.core, err = kubernetes.NewForConfig(cfg.REST); err != nil {
		return nil, fmt.Errorf("kube: client: %w", err)
	}
	if c.images, err = newResolver(cfg.RegistryMirrors, cfg.ResolveTimeout); err != nil {
		return nil, fmt.Errorf("kube: %w", err)
	}
	c.nodes = &nodeCache{core: c.core}
	c.starts = &starts{reached: make(map[function.Ref]map[string]map[function.Phase]time.Time)}
	c.index = newIndex()
	c.pulls = newPuller(c)
	c.table = newTable(cfg.OnEndpoints, c.current)
	c.records = newMirror(func(o any, before *record) *record { return newRecord(o.(*object), before) }, c.recordChanged)
	c.pods = newMirror(newPod, c.podChanged)
	c.spares = newMirror(newSpare, c.spareChanged)
	c.deployments = newMirror(newDeployment, c.deploymentChanged)
	c.services = newMirror(newService, c.serviceChanged)
	c.namespaces = newMirror(newNamespace, c.namespaceChanged)
	c.queue = newRefQueue()
	return c, nil
}

func (cfg *Config) fill() {
	if cfg.DefaultNamespace == "" {
		cfg.DefaultNamespace = "openfaas-fn"
	}
	if cfg.WatchdogBy == "" {
		cfg.WatchdogBy = WatchdogAuto
	}
	if cfg.ResolveTimeout == 0 {
		cfg.ResolveTimeout = 3 * time.Second
	}
	if cfg.LeaseDuration == 0 {
		cfg.LeaseDuration = 7 * time.Second
	}
	if cfg.Workers == 0 {
		cfg.Workers = 16
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.OnEndpoints == nil {
		cfg.OnEndpoints = func(function.Ref, string, []function.Endpoint) {}
	}
	if cfg.OnProblem == nil {
		cfg.OnProblem = func(function.Ref) {}
	}
	if cfg.InFlight == nil {
		cfg.InFlight = func(function.Ref, string) int { return 0 }
	}
	if cfg.OnDeploy == nil {
		cfg.OnDeploy = func(context.Context, *function.Function) error { return nil }
	}
	if cfg.OnDelete == nil {
		cfg.OnDelete = func(context.Context, *function.Function) error { return nil }
	}
	// The API server has fairness of its own; a limit here would only make a burst of deploys queue twice.
	cfg.REST = rest.CopyConfig(cfg.REST)
	cfg.REST.QPS = -1
	cfg.REST.UserAgent = "dc-provider"
}

// Run watches the cluster until ctx ends, and returns when all that it started has ended. It may be called once.
func (c *Cluster) Run(ctx context.Context) error {
	defer c.end()
	g, ctx := errgroup.WithContext(ctx)
	c.watch(ctx, g)
	g.Go(func() error { c.table.run(ctx); return nil })
	g.Go(func() error {
		if c.waitSynced(ctx) {
			c.log.Info("watching the cluster")
			close(c.synced)
		}
		return nil
	})
	return g.Wait()
}

// Synced is closed once the caches hold what the cluster held when Run began.
func (c *Cluster) Synced() <-chan struct{} { return c.synced }

// Healthy tells why the caches cannot be relied on, or nil. Losing the API server later is no such reason: what is known
// goes on being served.
func (c *Cluster) Healthy(context.Context) error {
	select {
	case <-c.synced:
		return nil
	default:
		return errors.New("the caches of the cluster are not filled yet")
	}
}

func (c *Cluster) waitSynced(ctx context.Context) bool {
	caches := []chan struct{}{
		c.records.synced, c.pods.synced, c.deployments.synced, c.services.synced, c.namespaces.synced,
	}
	if c.cfg.Pool != nil {
		caches = append(caches, c.spares.synced)
	}
	for _, synced := range caches {
		select {
		case <-synced:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
