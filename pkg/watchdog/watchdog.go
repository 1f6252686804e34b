package watchdog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function/readypush"
	"github.com/dragonchain/dc-provider/pkg/http1"
)

const (
	headerTimeout = 30 * time.Second
	idleTimeout   = 5 * time.Minute        // longer than the provider keeps an idle connection, so that it is the one that closes
	writeGrace    = time.Second            // after write_timeout, for the answer that says so
	answerStall   = 30 * time.Second       // for a caller of mode fork that reads nothing of its answer
	processGrace  = 10 * time.Second       // for a process to end by itself
	lastAnswers   = time.Second            // for what was in flight when the function's process ended
	firstBytes    = 200 * time.Millisecond // for the request of a connection that was just taken
)

// Watchdog serves one function.
type Watchdog struct {
	cfg        Config
	log        *slog.Logger
	mode       mode
	procs      *processes
	health     health
	inFlight   *limiter
	conns      *connections  // of net/http
	front      *http1.Server // of HTTPMode, before net/http; set by Serve
	push       *pusher       // nil when there is nobody to tell
	metrics    *metrics
	cpu        *cpuMeter
	drainLimit time.Duration // what invocations in flight get when we end
	ending     atomic.Bool
}

// mode is a way to run the function. The Watchdog calls start once, then serve once, and the rest at any time in between.
type mode interface {
	// ServeHTTP is one invocation. It returns when that is over, and ends it early if the request's context ends.
	http.Handler
	// start does what must be done before the first invocation, and returns at once.
	start() error
	// serve keeps the function able to serve until ctx ends, and then ends every process. It returns an error when the function
	// cannot serve any more.
	serve(ctx context.Context) error
	// serving tells whether an invocation would find the function able to serve, and closes the channel when that may have changed.
	serving() (bool, <-chan struct{})
	// check is serving, made sure of.
	check(ctx context.Context) bool
}

// New prepares a watchdog. What the function writes to its stderr, and in HTTPMode to its stdout, goes to the sinks.
func New(cfg Config, log *slog.Logger, stdout, stderr *Sink) (*Watchdog, error) {
	if cfg.Mode == "" {
		cfg.Mode = ForkMode
	}
	if cfg.Dialect == "" {
		cfg.Dialect = Native
	}
	if cfg.Port == 0 {
		cfg.Port = defaultPort
	}
	if cfg.LineBytes == 0 {
		cfg.LineBytes = defaultLineBytes
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	w := &Watchdog{cfg: cfg, log: log, procs: &processes{}, inFlight: newLimiter(cfg.MaxInFlight), conns: newConnections(), metrics: newMetrics(),
		cpu: newCPUMeter(cfg.Cgroup.cpuTime), drainLimit: drainTime(&cfg)}
	w.health.path = cfg.LockFile
	switch cfg.Mode {
	case HTTPMode:
		w.mode = newHTTPMode(&w.cfg, w.procs, log, stdout, stderr)
	case LambdaMode:
		m, err := newLambdaMode(&w.cfg, w.procs, log, stdout, stderr)
		if err != nil {
			return nil, err
		}
		w.mode = m
	case StreamingMode:
		w.mode = &streamingMode{forkMode: newForkMode(&w.cfg, w.procs, log, stdout, stderr)}
	case SerializingMode:
		w.mode = &serializingMode{newForkMode(&w.cfg, w.procs, log, stdout, stderr)}
	case StaticMode:
		w.mode = newStaticMode(&w.cfg, log)
	default:
		w.mode = newForkMode(&w.cfg, w.procs, log, stdout, stderr)
	}
	if cfg.Push.URL != "" {
		w.push = newPusher(cfg.Push, log)
	}
	return w, nil
}

// Run serves on the configured port until ctx ends: see Serve. Metrics are served until then too, while the end is drained.
func (w *Watchdog) Run(ctx context.Context) error {
	ln, err := net.Listen("tcp", ":"+strconv.Itoa(w.cfg.Port))
	if err != nil {
		return err
	}
	if w.cfg.MetricsPort > 0 {
		scrapes, endScrapes := context.WithCancel(context.WithoutCancel(ctx))
		var served sync.WaitGroup
		served.Go(func() { w.metrics.run(scrapes, w.cfg.MetricsPort, w.mode.serving, w.log) })
		defer served.Wait()
		defer endScrapes()
	}
	if w.cfg.ProbePort > 0 && w.cfg.ProbePort != w.cfg.Port {
		probes, err := net.Listen("tcp", ":"+strconv.Itoa(w.cfg.ProbePort))
		if err != nil {
			return errors.Join(err, ln.Close())
		}
		// Until the end, which the probes are to see.
		probed, endProbes := context.WithCancel(context.WithoutCancel(ctx))
		var served sync.WaitGroup
		served.Go(func() { w.serveProbes(probed, probes) })
		defer served.Wait()
		defer endProbes()
	}
	if w.cfg.HeapPort > 0 {
		heap, err := listenHeap(w.cfg.HeapPort)
		if err != nil {
			return errors.Join(err, ln.Close())
		}
		// Until the last invocation has ended.
		asked, endAsked := context.WithCancel(context.WithoutCancel(ctx))
		var served sync.WaitGroup
		served.Go(func() {
			if err := newHeapServer(w.cfg.Push.Token, w.log).run(asked, heap); err != nil {
				w.log.Error("the heap is not served any more", "err", err)
			}
		})
		defer served.Wait()
		defer endAsked()
	}
	return w.Serve(ctx, ln)
}

// Serve serves on ln until ctx ends, then shuts down in order and returns nil. It returns an error if the function cannot be
// started or can serve no longer. When it returns, nothing that it started is left.
func (w *Watchdog) Serve(ctx context.Context, ln net.Listener) error {
	background, endBackground := context.WithCancel(context.WithoutCancel(ctx))
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer endBackground()
	w.health.forget()
	tasks.Go(func() { w.giveBack(background) })
	if w.cfg.Reap {
		tasks.Go(func() { w.procs.reap(background) })
	}
	if err := w.mode.start(); err != nil {
		_ = ln.Close() // nobody was served yet
		return fmt.Errorf("start function: %w", err)
	}
	w.logStart(ln.Addr())
	w.health.open(w.log)

	calls, endCalls := context.WithCancel(background) // the parent of every request's context
	defer endCalls()
	srv := w.server(calls)
	front := make(chan error, 1)
	if m, ok := w.mode.(*httpMode); ok && !w.cfg.Beside {
		var err error
		if w.front, err = w.newFront(m, srv); err != nil {
			panic("watchdog: " + err.Error()) // what it is made of is ours
		}
		go func() { front <- w.front.Serve(ln) }()
	} else {
		go func() { front <- srv.Serve(ln) }()
	}
	function := make(chan error, 1)
	functionCtx, endFunction := context.WithCancel(background)
	defer endFunction()
	go func() { function <- w.mode.serve(functionCtx) }()
	if w.push != nil {
		tasks.Go(func() { w.push.run(functionCtx, w.mode.serving) })
	}

	err, functionEnded := w.wait(ctx, ln, front, function)
	_ = srv.Close() // whatever is still open was given its time
	if w.front != nil {
		_ = w.front.Close() // as well
	}
	endCalls()
	w.waitIdle(lastAnswers)
	if !functionEnded {
		endFunction()
		if ended := <-function; ended != nil && err == nil && !w.ending.Load() {
			err = ended
		}
	}
	return err
}

// wait returns when it is over, for one of three reasons: we were told to end, the function cannot serve, or the port is broken.
func (w *Watchdog) wait(ctx context.Context, ln net.Listener, front, function <-chan error) (err error, functionEnded bool) {
	select {
	case <-ctx.Done():
		w.shutDown(ln)
		return nil, false
	case err := <-function:
		w.health.close()
		w.announceEnd()
		w.drain(ln, lastAnswers)
		return err, true
	case err := <-front:
		w.health.close()
		return fmt.Errorf("serve: %w", err), false
	}
}

func (w *Watchdog) logStart(addr net.Addr) {
	for _, text := range w.cfg.warnings {
		w.log.Warn(text)
	}
	w.log.Info("serving", "mode", w.cfg.Mode, "dialect", w.cfg.Dialect, "address", addr.String(), "program", w.program(),
		"read_timeout", w.cfg.ReadTimeout.String(), "write_timeout", w.cfg.WriteTimeout.String(),
		"exec_timeout", w.cfg.ExecTimeout.String(), "healthcheck_interval", w.cfg.LameDuck.String(),
		"max_inflight", w.cfg.MaxInFlight, "park", w.cfg.Park.String(), "prefork", w.cfg.Prefork, "beside", w.cfg.Beside)
}

// program is what is served, for the log.
func (w *Watchdog) program() string {
	if w.cfg.Mode == StaticMode {
		return w.cfg.StaticPath
	}
	return w.cfg.Command[0]
}

// Signal passes a signal on to the process of HTTPMode, which may have a use for it. Forked processes come and go: a signal
// could only break an invocation that happens to run.
func (w *Watchdog) Signal(sig syscall.Signal) {
	if w.cfg.Mode == HTTPMode {
		w.procs.signalAll(sig)
	}
}

func (w *Watchdog) server(calls context.Context) *http.Server {
	srv := &http.Server{
		Handler:           http.HandlerFunc(w.route),
		BaseContext:       func(net.Listener) context.Context { return calls },
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:         w.conns.note,
		ReadTimeout:       w.cfg.ReadTimeout,
		ReadHeaderTimeout: lesser(headerTimeout, w.cfg.ReadTimeout),
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	if w.cfg.WriteTimeout > 0 {
		srv.WriteTimeout = w.cfg.WriteTimeout + writeGrace
	}
	if w.cfg.Mode == HTTPMode {
		// It gets one request of a connection. The next one is for package http1 to judge, on a connection of its own.
		srv.SetKeepAlivesEnabled(false)
	}
	return srv
}

// route does without http.ServeMux, which would redirect paths with "//" or ".." in them that the function shall see.
func (w *Watchdog) route(rw http.ResponseWriter, r *http.Request) {
	if serve := w.ownPath(r.URL.Path); serve != nil {
		serve(rw, r)
		return
	}
	if w.cfg.Beside {
		http.NotFound(rw, r) // the function has its callers where it listens
		return
	}
	w.invoke(rw, r)
}

func (w *Watchdog) invoke(to http.ResponseWriter, r *http.Request) {
	started := time.Now()
	rw := &closingWriter{ResponseWriter: to, ending: &w.ending}
	w.metrics.begin()
	defer func() { w.metrics.observe(r.Method, rw.outcome(), time.Since(started)) }()
	if !w.inFlight.enter() {
		h := rw.Header()
		h.Set("Content-Type", "text/plain")
		h.Set("X-OpenFaaS-Internal", "faas-middleware")
		h.Set("Retry-After", "1")
		rw.WriteHeader(http.StatusTooManyRequests)
		// A caller that went away needs no answer.
		_, _ = rw.Write(w.overLimit())
		return
	}
	defer w.inFlight.leave() // deferred, for an aborted answer is a panic
	if r.Header.Get("Upgrade") != "" {
		defer closeAtEnd(r.Context())()
	}
	w.mode.ServeHTTP(rw, r)
	rw.returned = true
}

// overLimit is what a caller is told when max_inflight is reached.
func (w *Watchdog) overLimit() []byte {
	return fmt.Appendf(nil, "Concurrent request limit exceeded. Max concurrent requests: %d\n", w.cfg.MaxInFlight)
}

type connKey struct{}

// closeAtEnd closes a request's connection when its context ends. Server.Close does not know of upgraded connections.
func closeAtEnd(ctx context.Context) (stop func() bool) {
	conn, ok := ctx.Value(connKey{}).(net.Conn)
	if !ok {
		panic("watchdog: a request without its connection")
	}
	return context.AfterFunc(ctx, func() {
		// It is given up: there is nobody to tell.
		_ = conn.Close()
	})
}

func (w *Watchdog) serveHealth(rw http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet:
		rw.WriteHeader(http.StatusMethodNotAllowed)
	case !w.health.ok():
		rw.WriteHeader(http.StatusServiceUnavailable)
	default:
		// A prober that went away needs no answer.
		_, _ = rw.Write([]byte("OK"))
	}
}

// serveReady tells whether the function may be given work now, and proves to the provider that it was asked of the right one.
func (w *Watchdog) serveReady(rw http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet:
		rw.WriteHeader(http.StatusMethodNotAllowed)
		return
	case !w.health.ok() || !w.mode.check(r.Context()):
		rw.WriteHeader(http.StatusServiceUnavailable)
		return
	case w.cfg.Dialect == Of && w.inFlight.full():
		rw.WriteHeader(http.StatusTooManyRequests)
		return
	}
	if challenge := r.Header.Get(readypush.ChallengeHeader); challenge != "" && w.cfg.Push.Token != (readypush.Token{}) {
		proof, err := w.cfg.Push.Token.Proof(challenge, localIP(r))
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		rw.Header().Set(readypush.ProofHeader, proof)
	}
	rw.WriteHeader(http.StatusOK)
}

// localIP is the address that the caller of r sees us at.
func localIP(r *http.Request) netip.Addr {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return local.AddrPort().Addr()
}
