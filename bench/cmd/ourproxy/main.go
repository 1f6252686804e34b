// Command ourproxy is the data plane alone: pkg/proxy with functions that are made up, all at one endpoint, and no cluster.
//
// The functions are f0, f1 and so on. On the address of -debug are /debug/pprof and /heap, the bytes of the heap that are in use
// after a collection.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	_ "net/http/pprof"
	"runtime"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/http1"
	"github.com/dragonchain/dc-provider/pkg/proxy"
)

const (
	namespace   = "openfaas-fn"
	headTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
	frontSpin   = 250 * time.Microsecond
)

func main() {
	address := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	debug := flag.String("debug", "", "`address` for profiles and the size of the heap; none without it")
	behind := flag.String("endpoint", "127.0.0.1:8082", "`address` of the functions")
	known := flag.Int("functions", 1, "`number` of functions")
	flag.Parse()
	if err := run(*address, *debug, *behind, *known); err != nil {
		log.Fatal("ourproxy: ", err)
	}
}

// newProxy knows so many functions, all at one endpoint.
func newProxy(behind string, known int) (*proxy.Proxy, error) {
	functions := map[function.Ref]*function.Function{}
	// More than any scenario has in flight: what is measured is the way of a call, not its wait.
	labels := map[string]string{"com.openfaas.max_inflight": "4096"}
	for i := range known {
		ref := function.Ref{Name: fmt.Sprintf("f%d", i), Namespace: namespace}
		f, err := function.New(function.Spec{Ref: ref, Image: "bench", Labels: labels})
		if err != nil {
			return nil, err
		}
		f.ID, f.Replicas, f.Created = ref.Name, 1, time.Now()
		functions[ref] = f
	}
	return proxy.New(proxy.Config{
		Lookup: func(ref function.Ref) (*function.Function, bool) { f, ok := functions[ref]; return f, ok },
		// A list of its own for each, as it would come from a cluster.
		Endpoints: func(ref function.Ref) []function.Endpoint {
			return []function.Endpoint{{Address: behind, Replica: ref.Name + "-0"}}
		},
		Error: func(w http.ResponseWriter, _ *http.Request, err error) { http.Error(w, err.Error(), status(err)) },
	})
}

func run(address, debug, behind string, known int) error {
	p, err := newProxy(behind, known)
	if err != nil {
		return err
	}
	defer p.Close()
	failed := make(chan error, 2)
	if debug != "" {
		http.HandleFunc("/heap", heap)
		go func() { failed <- http.ListenAndServe(debug, nil) }()
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	// As cmd/dc-provider serves it.
	server, err := http1.NewServer(http1.ServerConfig{
		Handler:     p.ServeExchange,
		Rest:        &http.Server{Handler: p, ReadHeaderTimeout: headTimeout, IdleTimeout: idleTimeout},
		HeadTimeout: headTimeout,
		IdleTimeout: idleTimeout,
		Spin:        frontSpin,
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	go func() { failed <- server.Serve(listener) }()
	return <-failed
}

func status(err error) int {
	if errors.Is(err, function.ErrNotFound) {
		return http.StatusNotFound
	}
	return http.StatusBadGateway
}

// heap answers with what is in use. Twice, because what the first collection finalizes is freed by the second.
func heap(w http.ResponseWriter, _ *http.Request) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintln(w, m.HeapAlloc)
}
