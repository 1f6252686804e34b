// Command ourcontracts is the way of a contract's call without a cluster: the data plane, the invoker, the API and a store in a
// file, joined as cmd/dc-provider joins them. Its functions are made up and all at one endpoint.
//
//	plain      a function
//	contract   a contract
//	serial     a contract that runs one invocation at a time
//
// /noop is a handler on the same server that does nothing: it answers what a heap's key holds. /noop-passed is one behind net/http's.
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	_ "net/http/pprof"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
	"github.com/dragonchain/dc-provider/pkg/handlers"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
	"github.com/dragonchain/dc-provider/pkg/http1"
	"github.com/dragonchain/dc-provider/pkg/invoke"
	"github.com/dragonchain/dc-provider/pkg/proxy"
)

const (
	namespace   = "openfaas-fn"
	user        = "admin"
	password    = "bench"
	headTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
)

// options are what the command line says.
type options struct {
	address, debug, endpoint, file string
	hold                           bool
}

func main() {
	var o options
	flag.StringVar(&o.address, "addr", "127.0.0.1:8080", "`address` to listen on")
	flag.StringVar(&o.debug, "debug", "", "`address` for profiles; none without it")
	flag.StringVar(&o.endpoint, "endpoint", "127.0.0.1:8082", "`address` of the functions")
	flag.StringVar(&o.file, "db", "heap.db", "`file` of the store")
	flag.BoolVar(&o.hold, "hold", false, "accept asynchronous invocations and make none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	listener, err := net.Listen("tcp", o.address)
	if err == nil {
		err = run(ctx, o, listener)
	}
	if err != nil {
		log.Fatal("ourcontracts: ", err)
	}
}

// run answers on listener, and closes it.
func run(ctx context.Context, o options, listener net.Listener) (err error) {
	defer listener.Close()
	store, err := bolt.Open(o.file, bolt.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	functions, err := newFunctions()
	if err != nil {
		return err
	}
	for _, f := range functions {
		if err := store.Create(ctx, f.Heap()); err != nil {
			return err
		}
	}
	p, contracts, err := join(o, functions, store)
	if err != nil {
		return err
	}
	defer p.Close()
	api, err := newAPI(functions, store, p)
	if err != nil {
		return err
	}
	parts, ctx := errgroup.WithContext(ctx)
	if !o.hold {
		parts.Go(func() error { return contracts.Run(ctx, ctx) })
	}
	if o.debug != "" {
		go func() { log.Print("profiles: ", http.ListenAndServe(o.debug, nil)) }()
	}
	parts.Go(func() error { return serve(ctx, listener, api, p) })
	return parts.Wait()
}

// records are the functions by name. What else the API asks of a cluster no scenario asks for.
type records map[function.Ref]*function.Function

func newFunctions() (records, error) {
	all := records{}
	for name, annotations := range map[string]map[string]string{
		"plain":    nil,
		"contract": {function.AnnotationHeap: "true"},
		"serial":   {function.AnnotationHeap: "true", function.AnnotationOrder: "serial"},
	} {
		ref := function.Ref{Name: name, Namespace: namespace}
		// More than any scenario has in flight: what is measured is the way of a call, not its wait.
		f, err := function.New(function.Spec{Ref: ref, Image: "bench", Labels: map[string]string{"com.openfaas.max_inflight": "4096"}, Annotations: annotations})
		if err != nil {
			return nil, err
		}
		f.ID, f.Replicas, f.Created = name, 1, time.Now()
		all[ref] = f
	}
	return all, nil
}

// Lookup is the data plane's.
func (r records) Lookup(ref function.Ref) (*function.Function, bool) { f, ok := r[ref]; return f, ok }

// join makes the data plane and the invoker, as package main of cmd/dc-provider does.
func join(o options, functions records, store *bolt.Store) (p *proxy.Proxy, contracts *invoke.Invoker, err error) {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	fail := handlers.ErrorWriter(log)
	if p, err = proxy.New(proxy.Config{
		Lookup: functions.Lookup,
		Endpoints: func(ref function.Ref) []function.Endpoint {
			return []function.Endpoint{{Address: o.endpoint, Replica: ref.Name + "-0"}}
		},
		Contract: func(w http.ResponseWriter, r *http.Request, f *function.Function, idGiven bool) {
			contracts.ServeContract(w, r, f, idGiven)
		},
		Async: func(w http.ResponseWriter, r *http.Request, f *function.Function, name string) {
			contracts.ServeAsync(w, r, f, name)
		},
		Error:  fail,
		Status: handlers.Status,
		Log:    log,
	}); err != nil {
		return nil, nil, err
	}
	const most = 1 << 30 // what is accepted and not made yet is no error here
	contracts, err = invoke.New(invoke.Config{
		Store: store, Queue: store, Call: p.RoundTrip, Error: fail, Status: handlers.Status, Lookup: functions.Lookup,
		HeapURL: heapURL(), Log: log,
		Bounds: function.QueueBounds{Items: most, TotalItems: most, Bytes: most, TotalBytes: most},
	})
	return p, contracts, err
}

// heapURL is made for each call of a contract, as the provider makes it.
func heapURL() func(f *function.Function, id string) string {
	urls := readypush.NewHeapURLs([]byte("bench"), netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 8081))
	return func(f *function.Function, id string) string { return urls.URL(f.Ref.String(), f.ID, id) }
}

// newAPI has the routes of heaps.
func newAPI(functions records, store *bolt.Store, p *proxy.Proxy) (*handlers.API, error) {
	return handlers.New(handlers.Config{
		Functions:   lookupOnly{functions, nil},
		Secrets:     struct{ handlers.Secrets }{},
		Namespaces:  managed{},
		Logs:        struct{ unaskedLogs }{},
		Heaps:       store,
		Invoke:      p,
		Async:       http.HandlerFunc(p.ServeAsync),
		Credentials: func() (string, string) { return user, password },
	})
}

// serveExchange answers as the gateway's listener does, and /noop.
func serveExchange(x *http1.Exchange, api *handlers.API, p *proxy.Proxy) {
	switch {
	case string(x.Target) == "/noop":
		x.ToClient.Add("Content-Type", "application/json")
		if err := x.Answer(http.StatusOK, []byte(noop)); err != nil {
			log.Print("write: ", err)
		}
	case api.ServeExchange(x):
	default:
		p.ServeExchange(x)
	}
}

// serveHTTP answers what serveExchange passes on, and /noop-passed as serveExchange does /noop.
func serveHTTP(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
	if r.URL.Path != "/noop-passed" {
		gateway.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(noop)))
	if _, err := io.WriteString(w, noop); err != nil {
		log.Print("write: ", err)
	}
}

const noop = `{"owner":"somebody","balance":1000,"last":"2026-01-02T03:04:05Z"}`

// lookupOnly is what the heap's routes ask of the records.
type lookupOnly struct {
	known records
	handlers.Functions
}

// Lookup is handlers.Functions'.
func (l lookupOnly) Lookup(ref function.Ref) (*function.Function, bool) { return l.known.Lookup(ref) }

// managed has one namespace.
type managed struct{ unasked }

// unasked are the parts of a cluster that no scenario asks, under names that their methods do not have.
type (
	unasked     = handlers.Namespaces
	unaskedLogs = handlers.Logs
)

// Managed is handlers.Namespaces'.
func (managed) Managed(name string) bool { return name == namespace }

// serve answers as cmd/dc-provider does, until ctx ends.
func serve(ctx context.Context, listener net.Listener, api *handlers.API, p *proxy.Proxy) error {
	gateway := api.Gateway()
	passed := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serveHTTP(w, r, gateway) })
	rest := &http.Server{Handler: passed, ReadHeaderTimeout: headTimeout, IdleTimeout: idleTimeout}
	handler := func(x *http1.Exchange) { serveExchange(x, api, p) }
	server, err := http1.NewServer(http1.ServerConfig{Handler: handler, Rest: rest, HeadTimeout: headTimeout, IdleTimeout: idleTimeout})
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return errors.Join(rest.Close(), server.Close())
	}
}
