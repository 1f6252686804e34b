package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/http1"
)

const (
	defaultTimeout     = time.Minute
	defaultWakeTimeout = time.Minute
	defaultCacheSize   = 16384
	defaultQueueDepth  = 1024
	defaultQueuedBytes = 64 << 20
)

// methods are those that OpenFaaS lets through to functions.
var methods = []string{
	http.MethodPost, http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions,
}

// Config joins a Proxy to the rest. Lookup, Endpoints and Error are needed.
type Config struct {
	// Lookup finds a function. It is asked for every call and must answer from memory.
	Lookup func(function.Ref) (*function.Function, bool)
	// Endpoints lists the endpoints of a function, from memory. It is asked when the cache has none.
	Endpoints func(function.Ref) []function.Endpoint
	// Wake sees to it that a function gets an endpoint and returns once that is under way, or was already. It is called by
	// each call that has to wait. An error ends the wait. nil wakes nothing: calls wait for endpoints that come by themselves.
	Wake func(context.Context, *function.Function) error
	// Reason says in one line why a function has no endpoint, or nothing. nil never knows.
	Reason func(function.Ref) string
	// Stuck says in one line, from memory, why a function that has no endpoint will not get one by itself, and how long that has
	// to last still for those who wait to be told so. nil never knows, and calls wait for as long as they may.
	Stuck func(function.Ref) (why string, in time.Duration)
	// ColdStart tells, from memory, how a replica came to serve. It is asked when a call that had to wait is answered. nil tells
	// nothing: no call is one of a cold start then.
	ColdStart func(ref function.Ref, replica string) function.ColdStart
	// Contract serves the call of a contract. The request is as the function is to see it, and has a path of the function's
	// own; it may be given to RoundTrip. idGiven says that its call id is the caller's, and not one that we made. nil serves
	// contracts as any function.
	Contract func(w http.ResponseWriter, r *http.Request, f *function.Function, idGiven bool)
	// Async accepts a call to be made later. The request is as the function is to see it; name is as the caller wrote it. nil has
	// no such calls.
	Async func(w http.ResponseWriter, r *http.Request, f *function.Function, name string)
	// Error answers a caller for an error. Nothing was written by then.
	Error func(http.ResponseWriter, *http.Request, error)
	// Status is the status that Error answers with, for metrics and the log. nil takes every error for a 500.
	Status func(error) int
	// Functions lists all functions, from memory, for metrics. nil leaves them without the number of their replicas.
	Functions func() []*function.Function
	// Managed tells whether a namespace holds functions. nil manages DefaultNamespace only.
	Managed func(namespace string) bool
	// DefaultNamespace is that of a name without one. Empty means openfaas-fn.
	DefaultNamespace string
	// Timeout is how long an endpoint may take for its answer, or for its headers if the answer is a stream. 0 means a
	// minute; negative is refused.
	Timeout time.Duration
	// WakeTimeout is how long a call may wait for an endpoint. 0 means a minute; negative is refused.
	WakeTimeout time.Duration
	// QueueDepth is how many calls of one function may wait for an endpoint at a time. 0 means 1024; negative is refused.
	QueueDepth int
	// QueuedBytes bounds what is kept in memory of the bodies of calls that wait, of all functions together. What finds no room is
	// left with its caller, whose leaving is then not noticed before its call has an endpoint. 0 means 64 MiB; negative is refused.
	QueuedBytes int64
	// CacheSize is how many functions' endpoints are cached. 0 means 16384; negative is refused.
	CacheSize int
	// Version ends the X-Served-By header, dc-provider/VERSION. Empty means dev.
	Version string
	// AccessLog gets a line for each call, at level Info, of the share AccessLogShare, from 0 to 1. nil means none.
	AccessLog      *slog.Logger
	AccessLogShare float64
	// Log gets what nobody else is told, at level Debug. nil means none.
	Log *slog.Logger
}

// Proxy takes calls to endpoints. It is an http.Handler for /function/, and answers plain calls with ServeExchange.
type Proxy struct {
	cfg Config
	// cache holds the functions whose endpoints are known, in the order of their last calls.
	cache      *lru.Cache[function.Ref, *activity]
	activities activities
	coldStarts coldStarts
	forwarder  *forwarder
	names      *names
	hops       sync.Pool // of *hop
	ahead      budget    // of QueuedBytes
	client     http1.Client
	dialer     net.Dialer
	servedBy   []byte
}

// New returns a Proxy. It starts nothing.
func New(cfg Config) (*Proxy, error) {
	if cfg.Lookup == nil || cfg.Endpoints == nil || cfg.Error == nil {
		return nil, errors.New("proxy: Lookup, Endpoints and Error are needed")
	}
	if cfg.Timeout < 0 || cfg.WakeTimeout < 0 {
		return nil, fmt.Errorf("proxy: timeouts of %v and %v", cfg.Timeout, cfg.WakeTimeout)
	}
	if !(cfg.AccessLogShare >= 0 && cfg.AccessLogShare <= 1) { // nor is it NaN
		return nil, fmt.Errorf("proxy: share %v of calls in the access log", cfg.AccessLogShare)
	}
	if cfg.QueueDepth < 0 {
		return nil, fmt.Errorf("proxy: queue of %d calls", cfg.QueueDepth)
	}
	if cfg.QueuedBytes < 0 {
		return nil, fmt.Errorf("proxy: queue of %d bytes", cfg.QueuedBytes)
	}
	p := &Proxy{cfg: cfg.withDefaults(), activities: activities{of: make(map[function.Ref]*activity)}}
	var err error
	if p.cache, err = lru.NewWithEvict(p.cfg.CacheSize, p.evict); err != nil {
		return nil, fmt.Errorf("proxy: cache of %d functions: %w", cfg.CacheSize, err)
	}
	p.ahead.size = p.cfg.QueuedBytes
	p.names, p.dialer.Timeout, p.servedBy = newNames(), dialTimeout, []byte("dc-provider/"+p.cfg.Version)
	p.forwarder = newForwarder(p.cfg.Log, p.tell, p.fail)
	return p, nil
}

func (c Config) withDefaults() Config {
	if c.DefaultNamespace == "" {
		c.DefaultNamespace = stockNamespace
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.WakeTimeout == 0 {
		c.WakeTimeout = defaultWakeTimeout
	}
	if c.QueueDepth == 0 {
		c.QueueDepth = defaultQueueDepth
	}
	if c.QueuedBytes == 0 {
		c.QueuedBytes = defaultQueuedBytes
	}
	if c.CacheSize == 0 {
		c.CacheSize = defaultCacheSize
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Wake == nil {
		c.Wake = func(context.Context, *function.Function) error { return nil }
	}
	if c.Reason == nil {
		c.Reason = func(function.Ref) string { return "" }
	}
	if c.Stuck == nil {
		c.Stuck = func(function.Ref) (string, time.Duration) { return "", 0 }
	}
	if c.Status == nil {
		c.Status = func(error) int { return http.StatusInternalServerError }
	}
	if c.Managed == nil {
		c.Managed = func(namespace string) bool { return namespace == c.DefaultNamespace }
	}
	return c
}

// ServeHTTP answers /function/NAME[.NAMESPACE][/rest].
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(methods, r.Method) {
		w.Header().Set(headerInternal, internal)
		w.WriteHeader(http.StatusMethodNotAllowed) // without a body, as OpenFaaS
		return
	}
	id := identify(r)
	f, out, err := p.admit(r, id)
	switch {
	case err != nil:
		p.fail(w, r, id, err)
		p.logRefused(r, id, err)
	case f.Policy.Heap && p.cfg.Contract != nil:
		p.tell(w.Header(), id)
		p.cfg.Contract(w, out, f, id.given)
	default:
		c := p.newCall(f, id.came)
		c.entry = p.newEntry(out, id.callID)
		defer c.end()
		p.forwarder.serve(&use{id: id, call: c, w: w, in: r}, out)
	}
}

// admit finds the function that r calls, and makes of r what the function is to see.
func (p *Proxy) admit(r *http.Request, id identity) (*function.Function, *http.Request, error) {
	rt, err := parseRoute(r.URL.EscapedPath())
	if err != nil {
		return nil, nil, err
	}
	ref := rt.ref(p.cfg.DefaultNamespace, p.cfg.Managed)
	f, ok := p.cfg.Lookup(ref)
	if !ok {
		return nil, nil, notFound(ref)
	}
	out, err := outgoing(r, rt, id)
	return f, out, err
}

// RoundTrip makes one call of f: it waits, wakes and retries as ServeHTTP does, and has the same deadlines. Of r's URL
// only path and query count; headers go as they are, without those of one connection. It closes r.Body. The caller
// closes the body of the answer. An error is one of this package, or wraps function.ErrNotFound or function.ErrInvalid;
// reading a body of known length fails with ErrTimeout when the deadline passes.
func (p *Proxy) RoundTrip(ctx context.Context, f *function.Function, r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	c := p.newCall(f, time.Now())
	c.entry = p.newEntry(r, r.Header.Get(headerCallID))
	var answer *http.Response
	var err error
	if e := newErrand(ctx, c, r); e != nil {
		answer, err = e.run()
	} else {
		answer, err = p.travel(ctx, c, r)
	}
	if err != nil {
		return nil, err
	}
	setContentType(answer, r.Header)
	return answer, nil
}

// travel makes a call through net/http.
func (p *Proxy) travel(ctx context.Context, c *call, r *http.Request) (*http.Response, error) {
	r = r.Clone(ctx)
	stripHopByHop(r.Header)
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header.Set("User-Agent", "") // or http.Transport puts its own
	}
	t := newTrip(c, r)
	answer, err := t.run()
	if err != nil {
		t.end()
		return nil, err
	}
	stripHopByHop(answer.Header)
	answer.Body = &endingBody{ReadCloser: answer.Body, trip: t}
	return answer, nil
}

// Close closes idle connections to endpoints. It is called when the listeners have drained.
func (p *Proxy) Close() {
	p.forwarder.transport.CloseIdleConnections()
	all, _, _ := p.activities.snapshot()
	for _, a := range all {
		a.closeIdle()
	}
}

// tell adds to the headers of an answer what callers are told of every call, where the function has not said it.
func (p *Proxy) tell(h http.Header, id identity) {
	setDefault(h, headerCallID, id.callID)
	setDefault(h, headerStartTime, id.start)
	setDefault(h, headerServedBy, string(p.servedBy))
}

// logRefused writes the access log's line for a request that is no call of a function, and becomes none.
func (p *Proxy) logRefused(r *http.Request, id identity, cause error) {
	e := p.newEntry(r, id.callID)
	if e == nil {
		return
	}
	e.err = cause
	var ref function.Ref
	if rt, err := parseRoute(r.URL.EscapedPath()); err == nil {
		ref = rt.ref(p.cfg.DefaultNamespace, p.cfg.Managed)
	}
	e.log(p.cfg.AccessLog, ref, p.cfg.Status(cause), time.Since(id.came))
}

// fail answers for an error; err is logged by the hook.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, id identity, err error) {
	p.tell(w.Header(), id)
	w.Header().Set(headerInternal, internal)
	p.cfg.Error(w, r, err)
}
