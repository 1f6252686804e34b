package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/http1"
	"github.com/dragonchain/dc-provider/pkg/invoke"
	"github.com/dragonchain/dc-provider/pkg/proxy"
	"github.com/dragonchain/dc-provider/pkg/scaler"
)

// newTestProvider has a real store and proxy, and one function that has no endpoint.
func newTestProvider(t *testing.T, f *function.Function) *provider {
	t.Helper()
	store := newOpenStore(t, filepath.Join(t.TempDir(), "heap.db"))
	calls, err := proxy.New(proxy.Config{
		Lookup:      func(function.Ref) (*function.Function, bool) { return f, true },
		Endpoints:   func(function.Ref) []function.Endpoint { return nil },
		Error:       func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusServiceUnavailable) },
		WakeTimeout: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	scaling, err := scaler.New(scaler.Config{
		Functions:   func() []*function.Function { return []*function.Function{f} },
		Lookup:      func(function.Ref) (*function.Function, bool) { return f, true },
		Load:        func(function.Ref) scaler.Load { return scaler.Load{} },
		Quiesce:     calls.Quiesce,
		Resume:      calls.Resume,
		SetReplicas: func(context.Context, function.Ref, int, string) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	contracts, err := invoke.New(invoke.Config{
		Store: store, Queue: store, Call: calls.RoundTrip, Error: func(http.ResponseWriter, *http.Request, error) {},
		Lookup: func(function.Ref) (*function.Function, bool) { return f, true },
	})
	if err != nil {
		t.Fatal(err)
	}
	return &provider{store: store, proxy: calls, contracts: contracts, scaler: scaling, metrics: prometheus.NewRegistry(), log: slog.New(slog.DiscardHandler)}
}

func newFunction(heap bool) *function.Function {
	return &function.Function{
		Spec:   function.Spec{Ref: function.Ref{Name: "ledger", Namespace: "openfaas-fn"}},
		Policy: function.Policy{Heap: heap},
		ID:     "1",
	}
}

// wantHeap checks the keys of f's heap.
func (p *provider) wantHeap(t *testing.T, f *function.Function, want ...string) {
	t.Helper()
	keys, _, err := p.store.List(t.Context(), f.Heap(), "", "", heapstore.MaxListLimit)
	if err != nil || !slices.Equal(keys, want) {
		t.Errorf("the heap has %q, %v, want %q", keys, err, want)
	}
}

func (p *provider) wantNoHeap(t *testing.T, f *function.Function) {
	t.Helper()
	if keys, _, err := p.store.List(t.Context(), f.Heap(), "", "", heapstore.MaxListLimit); !errors.Is(err, heapstore.ErrNoHeap) {
		t.Errorf("the heap has %q, %v, want %v", keys, err, heapstore.ErrNoHeap)
	}
}

func (p *provider) deploy(t *testing.T, f *function.Function) {
	t.Helper()
	if err := p.onDeploy(t.Context(), f); err != nil {
		t.Fatalf("onDeploy: %v", err)
	}
}

func TestOnDeploy_HeapsAreForContracts(t *testing.T) {
	f := newFunction(false)
	p := newTestProvider(t, f)
	p.deploy(t, f)
	p.wantNoHeap(t, f)
}

func TestOnDeploy_AgainKeepsWhatIsInTheHeap(t *testing.T) {
	f := newFunction(true)
	p := newTestProvider(t, f)
	p.deploy(t, f)
	p.wantHeap(t, f)
	if err := p.store.Commit(t.Context(), f.Heap(), function.Commit{Writes: []function.HeapWrite{{Key: "a", Value: []byte("1")}}}); err != nil {
		t.Fatal(err)
	}
	p.deploy(t, f)
	p.wantHeap(t, f, "a")
}

func TestOnDelete_LeavesNothing(t *testing.T) {
	for _, test := range []struct {
		name string
		// heap says whether the function is a contract still.
		heap bool
	}{
		{"of a contract", true},
		{"of what was a contract once", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			contract := newFunction(true)
			p := newTestProvider(t, contract)
			p.deploy(t, contract)
			if err := p.store.Commit(t.Context(), contract.Heap(), function.Commit{Writes: []function.HeapWrite{{Key: "a", Value: []byte("1")}}}); err != nil {
				t.Fatal(err)
			}
			p.proxy.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/function/ledger", nil))
			if p.proxy.Load(contract.Ref).LastActivity.IsZero() {
				t.Fatal("the call was not counted")
			}
			for range 2 { // it is repeated where a delete is cut off
				if err := p.onDelete(t.Context(), newFunction(test.heap)); err != nil {
					t.Fatalf("onDelete: %v", err)
				}
			}
			p.wantNoHeap(t, contract)
			if load := p.proxy.Load(contract.Ref); load != (proxy.Load{}) {
				t.Errorf("the proxy knows it still: %+v", load)
			}
		})
	}
}

func TestOnDelete_HeapThatCannotBeDroppedIsAnError(t *testing.T) {
	f := newFunction(true)
	p := newTestProvider(t, f)
	p.deploy(t, f)
	if err := p.store.close(); err != nil {
		t.Fatal(err)
	}
	if err := p.onDelete(t.Context(), f); !errors.Is(err, heapstore.ErrClosed) {
		t.Errorf("onDelete: %v, want %v", err, heapstore.ErrClosed)
	}
}

// A call that waits on the gateway's listener for a replica is told of it through the provider's.
func TestServe_ProviderListenerOutlivesTheGateways(t *testing.T) {
	p := &provider{log: slog.New(slog.DiscardHandler), cfg: config{
		gatewayListen: freeAddress(t), providerListen: freeAddress(t), drainTimeout: time.Minute,
	}}
	arrived, ready := make(chan struct{}), make(chan struct{})
	waits := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-ready
	})
	tells := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/dc/ready" {
			close(ready)
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	draining := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- p.serve(ctx, waits, tells, (*http1.Exchange).Pass, func(context.Context) error { close(draining); return nil })
	}()
	wantAnswer(t, p.cfg.providerListen)

	answered := make(chan error, 1)
	go func() {
		response, err := get(p.cfg.gatewayListen)
		if err == nil {
			err = response.Body.Close()
		}
		answered <- err
	}()
	<-arrived
	stop()
	<-draining
	response, err := http.Get("http://" + p.cfg.providerListen + "/dc/ready")
	if err != nil {
		close(ready)
		t.Fatalf("the ready push while the gateway drains: %v", err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("the call that waited: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// A provider whose pod was deleted has no successor yet: it serves as before until there is one, and no longer than it may.
func TestServe_UntilThereIsASuccessor(t *testing.T) {
	for name, wait := range map[string]time.Duration{"one comes": time.Minute, "none comes": 300 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			looking, ready := make(chan struct{}), make(chan struct{})
			p := &provider{
				log: slog.New(slog.DiscardHandler),
				cfg: config{
					gatewayListen: freeAddress(t), providerListen: freeAddress(t), drainTimeout: time.Minute, ownPod: "old", successorWait: wait,
				},
				succeeded: func(ctx context.Context) error {
					close(looking)
					select {
					case <-ready:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				},
			}
			ctx, stop := context.WithCancel(t.Context())
			draining := make(chan struct{})
			ended := make(chan error, 1)
			hello := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
			go func() {
				ended <- p.serve(ctx, hello, hello, (*http1.Exchange).Pass, func(context.Context) error { close(draining); return nil })
			}()
			wantAnswer(t, p.cfg.gatewayListen)
			stop()
			<-looking
			if wait == time.Minute {
				for range 20 {
					response, err := get(p.cfg.gatewayListen)
					if err != nil {
						t.Fatalf("call while there is nobody else: %v", err)
					}
					if response.Close {
						t.Error("the caller was told to leave, though there is nobody else")
					}
					if err := response.Body.Close(); err != nil {
						t.Error(err)
					}
				}
				select {
				case <-draining:
					t.Error("it drains before another one is ready")
				default:
				}
				close(ready)
			}
			<-draining
			if err := <-ended; err != nil {
				t.Errorf("serve: %v", err)
			}
		})
	}
}

// A pod that is told to end may get its signal before this process can hear it.
func TestHeed(t *testing.T) {
	for name, test := range map[string]struct {
		pod          string
		ending, ends bool
	}{
		"told to end":     {"old", true, true},
		"not told to end": {"old", false, false},
		"in no pod":       {"", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := &provider{log: slog.New(slog.DiscardHandler), cfg: config{ownPod: test.pod}, ending: func(context.Context) bool { return test.ending }}
			ctx, end := context.WithCancel(t.Context())
			defer end()
			if p.heed(t.Context(), ctx, end); (ctx.Err() != nil) != test.ends {
				t.Errorf("ended: %t", ctx.Err() != nil)
			}
		})
	}
	// Nobody answers, and the signal comes.
	p := &provider{log: slog.New(slog.DiscardHandler), cfg: config{ownPod: "old"}, ending: func(ctx context.Context) bool { <-ctx.Done(); return false }}
	ctx, end := context.WithCancel(t.Context())
	end()
	p.heed(t.Context(), ctx, func() { t.Error("ended twice") })
}

func TestServe_EndlessCallsAreCutOnBothListeners(t *testing.T) {
	p := &provider{log: slog.New(slog.DiscardHandler), cfg: config{
		gatewayListen: freeAddress(t), providerListen: freeAddress(t), drainTimeout: time.Millisecond,
	}}
	arrived := make(chan struct{})
	endless := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.serve(ctx, endless, endless, (*http1.Exchange).Pass, nothing) }()
	cut := make(chan error, 2)
	for _, address := range []string{p.cfg.gatewayListen, p.cfg.providerListen} {
		go func() {
			response, err := get(address)
			if err == nil {
				err = response.Body.Close()
			}
			cut <- err
		}()
		<-arrived
	}
	stop()
	for range 2 {
		if err := <-cut; err == nil {
			t.Error("an endless call was answered")
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestServe_OneListenerThatFailsEndsTheOther(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, cfg := range map[string]config{
		"gateway":  {gatewayListen: taken.Addr().String(), providerListen: freeAddress(t)},
		"provider": {gatewayListen: freeAddress(t), providerListen: taken.Addr().String()},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.drainTimeout = time.Minute
			p := &provider{log: slog.New(slog.DiscardHandler), cfg: cfg}
			if err := p.serve(t.Context(), http.NotFoundHandler(), http.NotFoundHandler(), (*http1.Exchange).Pass, nothing); err == nil {
				t.Error("served on an address that is taken")
			}
		})
	}
}

func nothing(context.Context) error { return nil }

// wantAnswer asks until the address accepts connections.
func wantAnswer(t *testing.T, address string) {
	t.Helper()
	response, err := get(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("%s: status %d, %v", address, response.StatusCode, err)
	}
}

// What Prometheus gets, as it reads it, and that the listener ends when it is told to.
func TestServeMetrics(t *testing.T) {
	f := newFunction(false)
	p := newTestProvider(t, f)
	if err := p.registerMetrics(); err != nil {
		t.Fatal(err)
	}
	p.proxy.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/function/ledger", nil))
	p.cfg.metricsListen = freeAddress(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.serveMetrics(ctx) }()
	var answer *http.Response
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		var err error
		if answer, err = http.Get("http://" + p.cfg.metricsListen + "/metrics"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{
		"dc_build_info", "gateway_function_invocation_total", "gateway_function_invocation_started", "dc_proxy_phase_seconds",
		"go_goroutines", "process_resident_memory_bytes", "promhttp_metric_handler_requests_total",
	} {
		if families[name] == nil {
			t.Errorf("no %s", name)
		}
	}
	for _, l := range families["gateway_function_invocation_total"].GetMetric()[0].GetLabel() {
		if l.GetName() == "function_name" && l.GetValue() != "ledger.openfaas-fn" {
			t.Errorf("function_name %q", l.GetValue())
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestOnDelete_DropsTheQueue(t *testing.T) {
	f := newFunction(false)
	p := newTestProvider(t, f)
	if err := p.store.Enqueue(t.Context(), function.Item{Function: f.Heap(), Due: time.Now()}, function.QueueBounds{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.onDelete(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	if depths, err := p.store.Depths(t.Context()); err != nil || len(depths) != 0 {
		t.Errorf("the queue has %v, %v", depths, err)
	}
}

func TestOnDeploy_RefusesASchedule(t *testing.T) {
	f := newFunction(false)
	f.Policy.Schedule.Cron = "61 * * * *"
	if err := newTestProvider(t, f).onDeploy(t.Context(), f); !errors.Is(err, function.ErrInvalid) {
		t.Errorf("onDeploy: %v, want ErrInvalid", err)
	}
}
