package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"time"

	"github.com/openfaas/faas-provider/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/handlers"
	"github.com/dragonchain/dc-provider/pkg/http1"
	"github.com/dragonchain/dc-provider/pkg/invoke"
	"github.com/dragonchain/dc-provider/pkg/kube"
	"github.com/dragonchain/dc-provider/pkg/peers"
	"github.com/dragonchain/dc-provider/pkg/proxy"
	"github.com/dragonchain/dc-provider/pkg/scaler"
	"github.com/dragonchain/dc-provider/pkg/usage"
)

// provider is the parts, joined.
type provider struct {
	cfg     config
	log     *slog.Logger
	store   *store
	cluster *kube.Cluster
	proxy   *proxy.Proxy
	scaler  *scaler.Scaler
	pool    *warmPool // nil: none
	api     *handlers.API
	usage   *usage.Puller
	// peers is nil where there is one provider at most, by its store.
	peers   *peers.Peers
	metrics *prometheus.Registry
	// ending reports whether this provider's pod was told to end.
	ending func(context.Context) bool
	// succeeded returns when another provider takes calls, or nobody is waited for any more.
	succeeded func(context.Context) error
	// contracts runs contracts, and all that is queued.
	contracts *invoke.Invoker
}

// build makes the parts and joins them: what one needs of another it gets as a function here.
func build(cfg config, s secrets, log, accessLog *slog.Logger) (_ *provider, err error) {
	p := &provider{cfg: cfg, log: log, metrics: prometheus.NewRegistry()}
	p.store = newStore(cfg, log)
	if p.pool, err = p.newWarmPool(s); err != nil {
		return nil, err
	}
	if p.cluster, err = p.newCluster(s); err != nil {
		return nil, err
	}
	p.ending = func(ctx context.Context) bool { return p.cluster.Ending(ctx, cfg.ownNamespace, cfg.ownPod) }
	p.succeeded = func(ctx context.Context) error {
		return p.cluster.AwaitSuccessor(ctx, cfg.ownNamespace, cfg.ownService, cfg.ownPod)
	}
	var contracts *invoke.Invoker
	if p.proxy, err = proxy.New(proxy.Config{
		Lookup:    p.cluster.Lookup,
		Endpoints: p.cluster.Endpoints,
		Wake:      p.wake,
		Reason:    func(ref function.Ref) string { return p.cluster.Status(ref).Reason },
		Stuck:     p.cluster.Stuck,
		ColdStart: p.cluster.ColdStart,
		Contract: func(w http.ResponseWriter, r *http.Request, f *function.Function, idGiven bool) {
			end, err := p.store.begin(r.Context())
			if err != nil {
				handlers.ErrorWriter(log)(w, r, err)
				return
			}
			defer end()
			contracts.ServeContract(w, r, f, idGiven)
		},
		Async: func(w http.ResponseWriter, r *http.Request, f *function.Function, name string) {
			end, err := p.store.begin(r.Context())
			if err != nil {
				handlers.ErrorWriter(log)(w, r, err)
				return
			}
			defer end()
			contracts.ServeAsync(w, r, f, name)
		},
		Error:            handlers.ErrorWriter(log),
		Status:           handlers.Status,
		Functions:        p.cluster.All,
		Managed:          p.cluster.Managed,
		DefaultNamespace: cfg.functionNamespace,
		Timeout:          cfg.callTimeout,
		WakeTimeout:      cfg.wakeTimeout,
		QueueDepth:       cfg.queueDepth,
		Version:          version,
		AccessLog:        accessLog,
		AccessLogShare:   cfg.accessLogShare,
		Log:              log,
	}); err != nil {
		return nil, err
	}
	if contracts, err = invoke.New(invoke.Config{
		Store: p.store, HeapURL: heapURL(s.readyKey, cfg.heapAddress), Call: p.proxy.RoundTrip, Error: handlers.ErrorWriter(log),
		BodyTimeout: cfg.callTimeout, AnswerTimeout: cfg.callTimeout, Log: log,
		Queue: p.store, Begin: p.store.begin, Lookup: p.cluster.Lookup, Scheduled: p.cluster.Scheduled, Status: handlers.Status,
		Bounds:    function.QueueBounds{Items: cfg.asyncQueue, TotalItems: cfg.asyncQueueTotal},
		Callbacks: invoke.Callbacks{Allow: cfg.callbackAllow}, Chain: cfg.chain, Version: version,
	}); err != nil {
		return nil, err
	}
	if p.usage, err = usage.New(usage.Config{Key: s.readyKey, Endpoints: p.cluster.Endpoints, Log: log}); err != nil {
		return nil, err
	}
	if err := p.newPeers(s); err != nil {
		return nil, err
	}
	p.contracts = contracts
	if p.scaler, err = scaler.New(scaler.Config{
		Functions:   p.cluster.All,
		Up:          p.cluster.Up,
		Lookup:      p.cluster.Lookup,
		Load:        p.load,
		Quiesce:     p.proxy.Quiesce,
		Resume:      p.proxy.Resume,
		SetReplicas: p.cluster.ScaleBecause,
		CPU: func(ctx context.Context, f *function.Function) (float64, bool) {
			used, known := p.usage.Usage(ctx, f)
			if !known || used.MilliCPU == nil {
				return 0, false
			}
			return *used.MilliCPU, true
		},
		Claimed:   p.claimed,
		Steady:    p.cluster.Steady,
		Available: func(ref function.Ref) int { return len(p.cluster.Endpoints(ref)) },
		Log:       log,
	}); err != nil {
		return nil, err
	}
	if p.api, err = p.newAPI(s, contracts); err != nil {
		return nil, err
	}
	return p, p.registerMetrics()
}

// registerMetrics registers what is not registered by the part that it is about.
func (p *provider) registerMetrics() error {
	about := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "dc_build_info", Help: "Always 1; its labels tell what was built.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "goversion": runtime.Version()},
	})
	about.Set(1)
	all := []prometheus.Collector{
		about, p.proxy.Metrics(), p.scaler.Metrics(),
		handlers.QueueMetrics(func() map[function.Heap]function.Depth { return p.contracts.Depths() }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
	if p.cfg.prePull {
		all = append(all, imagePulls{p.cluster})
	}
	if p.pool != nil {
		all = append(all, p.pool)
	}
	var errs []error
	for _, c := range all {
		errs = append(errs, p.metrics.Register(c))
	}
	return errors.Join(errs...)
}

// wake wakes a function. A call that comes for that although there are replicas has reached none of them.
func (p *provider) wake(ctx context.Context, f *function.Function) error {
	if f.Replicas > 0 && len(p.cluster.Endpoints(f.Ref)) > 0 {
		p.cluster.Unreached(f.Ref, f.ID)
	}
	return p.scaler.Wake(ctx, f)
}

// load is what a function has to do at all providers, as the scaler has it.
func (p *provider) load(ref function.Ref) scaler.Load {
	l := p.proxy.Load(ref)
	all := scaler.Load{InFlight: l.InFlight, Waiting: l.Waiting, Last: l.LastActivity, Started: l.Started, CallTime: l.CallTime}
	if p.peers == nil {
		all.Queued = p.queued(ref, all)
		return all
	}
	others, partial := p.peers.Load(ref)
	all.InFlight += others.InFlight
	all.Waiting += others.Waiting
	all.Started += others.Started
	all.CallTime += others.CallTime
	if others.Last.After(all.Last) {
		all.Last = others.Last
	}
	all.Partial = partial
	all.Queued = p.queued(ref, all)
	return all
}

// queued is how many invocations of a function wait in the queue, which all providers share, beside those that are calls by now. More
// replicas would not help a serial contract.
func (p *provider) queued(ref function.Ref, calls scaler.Load) int {
	f, ok := p.cluster.Lookup(ref)
	if !ok || f.Policy.Serial {
		return 0
	}
	return max(0, p.contracts.Depth(f.Heap()).Waiting-calls.InFlight-calls.Waiting)
}

// newPeers makes what tells providers of each other, where there may be several.
func (p *provider) newPeers(s secrets) (err error) {
	if !p.cfg.store.shared() {
		return nil
	}
	p.peers, err = peers.New(peers.Config{
		Secret: s.readyKey,
		Providers: func(ctx context.Context) ([]string, error) {
			return p.cluster.Providers(ctx, p.cfg.ownNamespace, providerService, providerPort)
		},
		Loads: func(since time.Time, visit func(function.Ref, peers.Load)) {
			p.proxy.Loads(since, func(ref function.Ref, l proxy.Load) {
				visit(ref, peers.Load{
					InFlight: l.InFlight, Waiting: l.Waiting, Last: l.LastActivity, Started: l.Started, CallTime: l.CallTime,
					Unreached: p.cluster.IsUnreached(ref),
				})
			})
		},
		OnUnreached: func(ref function.Ref) {
			if f, ok := p.cluster.Lookup(ref); ok {
				p.cluster.Unreached(ref, f.ID)
			}
		},
		Log: p.log,
	})
	return err
}

func (p *provider) newCluster(s secrets) (*kube.Cluster, error) {
	rest, err := kube.Connect(p.cfg.kubeconfig)
	if err != nil {
		return nil, err
	}
	return kube.New(kube.Config{
		REST:             rest,
		DefaultNamespace: p.cfg.functionNamespace,
		WatchdogImage:    p.cfg.watchdogImage,
		WatchdogBy:       kube.WatchdogMethod(p.cfg.watchdog),
		PrePull:          p.cfg.prePull,
		ReadyURL:         p.cfg.readyURL,
		ReadyKey:         s.readyKey,
		RegistryMirrors:  p.cfg.registryMirrors,
		CallTimeout:      p.cfg.callTimeout,
		OnEndpoints: func(ref function.Ref, id string, endpoints []function.Endpoint) {
			p.proxy.SetEndpoints(ref, id, endpoints)
		},
		InFlight:  func(ref function.Ref, replica string) int { return p.proxy.InFlightAt(ref, replica) },
		OnProblem: p.onProblem,
		OnDeploy:  p.onDeploy,
		OnDelete:  p.onDelete,
		Pool:      p.kubePool(),
		Log:       p.log,
	})
}

// onProblem has the callers of a function that cannot start told so.
func (p *provider) onProblem(ref function.Ref) {
	if why, _ := p.cluster.Stuck(ref); why != "" {
		p.proxy.Look(ref)
	}
}

// onDeploy gives a contract its heap before its first replica starts.
func (p *provider) onDeploy(ctx context.Context, f *function.Function) error {
	// The API refuses it; a record may come by kubectl.
	if err := invoke.CheckSchedule(f.Policy.Schedule); err != nil {
		return err
	}
	if !f.Policy.Heap {
		return nil
	}
	return p.store.Create(ctx, f.Heap())
}

// onDelete drops what is kept of a function. It asks no policy: a contract may have become a plain function since.
func (p *provider) onDelete(ctx context.Context, f *function.Function) error {
	// The heap first: it must not outlive the record that says that it is to go.
	if err := p.store.Drop(ctx, f.Heap()); err != nil {
		return err
	}
	p.proxy.Forget(f.Ref)
	if p.peers != nil {
		p.peers.Forget(f.Ref)
	}
	return nil
}

// checkSpec refuses schedules that cannot be read. What is wrong with anything else is told by whoever makes the record.
func checkSpec(spec function.Spec) error {
	policy, err := function.Check(spec)
	if err != nil {
		return err
	}
	return invoke.CheckSchedule(policy.Schedule)
}

func (p *provider) newAPI(s secrets, contracts *invoke.Invoker) (*handlers.API, error) {
	ready, err := handlers.NewReadyPush(s.readyKey, p.cluster.Lookup, p.cluster.MarkReady)
	if err != nil {
		return nil, err
	}
	contractHeap, err := handlers.NewContractHeap(s.readyKey, contracts.View)
	if err != nil {
		return nil, err
	}
	var spare func(context.Context, string, netip.Addr) error
	if p.pool != nil {
		spare = p.registerSpare
	}
	var peerHandler http.Handler
	var relay handlers.Relay
	if p.peers != nil {
		peerHandler, relay = p.peers.Handler(), p.peers
	}
	signatures, err := p.cfg.signatures()
	if err != nil {
		return nil, err
	}
	return handlers.New(handlers.Config{
		Signatures:       signatures,
		Spare:            spare,
		Peers:            peerHandler,
		PeersPath:        peers.Path,
		Relay:            relay,
		Functions:        p.cluster,
		Secrets:          p.cluster,
		Namespaces:       p.cluster,
		Logs:             p.cluster,
		Heaps:            p.store,
		HeapQuotaBytes:   p.cfg.heapQuotaBytes,
		Usage:            p.usage,
		Invoke:           p.proxy,
		Async:            http.HandlerFunc(p.proxy.ServeAsync),
		DeadLetters:      p.store,
		CheckSpec:        checkSpec,
		NextTick:         func(f *function.Function) (time.Time, bool) { return p.contracts.NextTick(f.Heap()) },
		Invocations:      p.proxy.Invocations,
		Metrics:          p.metrics,
		Ready:            ready,
		ContractHeap:     contractHeap,
		Credentials:      func() (string, string) { return s.user, s.password },
		Healthy:          p.cluster.Healthy,
		DefaultNamespace: p.cfg.functionNamespace,
		Version:          types.VersionInfo{SHA: commit, Release: version},
		Log:              p.log,
	})
}

// errPartFailed ends the listeners when the rest of the provider is no more.
var errPartFailed = errors.New("a part of the provider failed")

// run runs the parts until ctx ends or the first of them fails, and ends them in order. Told to end, it serves as before until
// another provider is ready, and on for the lame duck's time, while callers find that one. Then the listeners drain, while
// everything that calls in flight need goes on, and the store goes to whoever waits for it as soon as no contract's call
// needs it. Then the rest stops.
func (p *provider) run(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	parts, background := errgroup.WithContext(background)
	parts.Go(func() error { p.heed(background, ctx, end); return nil })
	parts.Go(func() error { return named("kube", p.cluster.Run(background)) })
	leading, stopLeading := context.WithCancel(background)
	defer stopLeading()
	led := make(chan struct{})
	parts.Go(func() error {
		defer close(led)
		return p.lead(leading, ctx)
	})
	worked := make(chan struct{})
	parts.Go(func() error {
		defer close(worked)
		return p.runQueue(leading, ctx)
	})
	handOver := func(until context.Context) error {
		p.store.drain(until)
		stopLeading()
		<-led
		<-worked
		return named("close the heap store", p.store.close())
	}
	parts.Go(func() error { return p.serveMetrics(background) })

	// A part that fails takes the listeners down with it.
	serving, stopServing := context.WithCancelCause(ctx)
	defer stopServing(nil)
	context.AfterFunc(background, func() { stopServing(errPartFailed) })
	known := func(h http.Handler) http.Handler {
		return afterSync(p.cluster.Synced(), p.cfg.wakeTimeout, handlers.ErrorWriter(p.log), h)
	}
	calls := callsAfterSync(p.cluster.Synced(), func(x *http1.Exchange) {
		if !p.api.ServeExchange(x) {
			p.proxy.ServeExchange(x)
		}
	})
	err := p.serve(serving, known(p.api.Gateway()), known(p.api.Provider()), calls, func(until context.Context) error {
		p.api.Drain()
		return handOver(until)
	})
	stopBackground()
	err = errors.Join(err, parts.Wait())
	p.scaler.Close()
	if p.pool != nil {
		p.pool.asks.Wait()
	}
	if p.peers != nil {
		p.peers.Close()
	}
	p.proxy.Close()
	return err
}

// heed calls end if the signal to end came before this process could hear it. It returns when that is known, or ctx or heard ends.
func (p *provider) heed(ctx, heard context.Context, end func()) {
	if p.cfg.ownPod == "" {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(heard, stop)()
	if p.ending(ctx) && heard.Err() == nil {
		p.log.Info("told to end before it began")
		end()
	}
}

// What the chart names the Service of the providers' own listener, and its port.
const (
	providerService = "gateway-provider"
	providerPort    = "http"
)

// lead waits until this provider is the one that leads, and does until ctx ends what one provider at a time does. Of those
// that share a database the one with the lease leads; a store in a file is one provider's, who leads by having it. That one's
// scaler stops with scaling, when the end is near: it would take the calls that go to another provider already for none.
func (p *provider) lead(ctx, scaling context.Context) error {
	if opened, err := p.store.open(ctx, p.log); !opened {
		return named("heap store", err)
	}
	if !p.cfg.store.shared() {
		return p.leading(ctx, scaling)
	}
	return named("lead", p.cluster.Lead(ctx, p.cfg.ownNamespace, p.cfg.identity, func(ctx context.Context) error {
		return p.leading(ctx, ctx)
	}))
}

// leading is what one provider at a time does.
func (p *provider) leading(ctx, scaling context.Context) error {
	scaling, stopScaling := context.WithCancel(scaling)
	defer stopScaling()
	defer context.AfterFunc(ctx, stopScaling)()
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { p.cluster.Reconcile(ctx); return nil })
	parts.Go(func() error { return named("scaler", p.runScaler(scaling)) })
	if p.peers != nil {
		parts.Go(func() error { return named("peers", p.peers.Run(ctx)) })
	}
	return parts.Wait()
}

// serve answers on both listeners until ctx ends or one of them fails, and, if it was told to end, until it has a successor and
// for the lame duck's time. Then they drain, and onDrain is called beside it. Both have the drain timeout.
func (p *provider) serve(
	ctx context.Context, gateway, provider http.Handler, calls func(*http1.Exchange), onDrain func(until context.Context) error,
) error {
	open, err := openListeners(p.log, p.cfg, gateway, provider, calls)
	if err == nil {
		err = open.wait(ctx)
	}
	if err == nil && !errors.Is(context.Cause(ctx), errPartFailed) {
		err = p.outlast(ctx, open)
	}
	if err == nil && !errors.Is(context.Cause(ctx), errPartFailed) {
		p.log.Info("ending, and serving for a while still", "duration_seconds", p.cfg.lameDuck.Seconds())
		open.announce()
		duck, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.lameDuck)
		defer cancel()
		err = open.wait(duck)
	}
	until, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.drainTimeout)
	defer cancel()
	beside := make(chan error, 1)
	go func() { beside <- onDrain(until) }()
	return errors.Join(err, open.drain(until), <-beside)
}

// outlast serves on until another provider is ready, for the successor's time at most. A pod that was deleted gets a
// successor only then, which may take longer to be ready than any time that is chosen beforehand; and while there is none
// Kubernetes sends callers to the one that ends.
func (p *provider) outlast(ctx context.Context, open listeners) error {
	if p.cfg.ownPod == "" || p.cfg.successorWait <= 0 {
		return nil
	}
	began := time.Now()
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.successorWait)
	defer cancel()
	alone := make(chan error, 1)
	go func() {
		defer cancel()
		alone <- p.succeeded(waiting)
	}()
	err := open.wait(waiting)
	cancel()
	if noSuccessor := <-alone; noSuccessor != nil && err == nil {
		p.log.Warn("no other provider is ready", "duration_seconds", time.Since(began).Seconds(), "err", noSuccessor)
	} else if err == nil {
		p.log.Info("another provider is ready", "duration_seconds", time.Since(began).Seconds())
	}
	return err
}

// metricsDrain is what a scrape in flight gets at the end.
const metricsDrain = time.Second

// serveMetrics answers Prometheus until ctx ends, which is when calls have drained: how they do is worth seeing.
func (p *provider) serveMetrics(ctx context.Context) error {
	s, err := listen(p.log, p.cfg.metricsListen, handlers.Metrics(p.metrics, p.log), nil)
	if err != nil {
		return err
	}
	select {
	case err := <-s.failed:
		return fmt.Errorf("serve metrics: %w", err)
	case <-ctx.Done():
	}
	until, cancel := context.WithTimeout(context.WithoutCancel(ctx), metricsDrain)
	defer cancel()
	return s.drain(until)
}

// runScaler waits until the caches are filled: before that every function looks as if it had no calls.
func (p *provider) runScaler(ctx context.Context) error {
	select {
	case <-p.cluster.Synced():
		return p.scaler.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

func named(what string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
