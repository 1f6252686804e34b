package proxy

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// statusOf is the table of world.answerError.
func (w *world) statusOf(err error) int {
	rec := &statusOnly{}
	w.answerError(rec, nil, err)
	return rec.status
}

type statusOnly struct{ status int }

func (s *statusOnly) Header() http.Header         { return http.Header{} }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }

// newMeteredWorld is a world whose proxy tells Prometheus.
func newMeteredWorld(t *testing.T, edit func(*Config)) (*world, *prometheus.Registry) {
	t.Helper()
	var w *world
	w = newWorld(t, func(c *Config) {
		c.Status = func(err error) int { return w.statusOf(err) }
		c.Functions = func() (all []*function.Function) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, f := range w.functions {
				all = append(all, f)
			}
			return all
		}
		if edit != nil {
			edit(c)
		}
	})
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(w.proxy.Metrics()); err != nil {
		t.Fatal(err)
	}
	return w, registry
}

// series finds one series, by its labels in the order of their names.
func series(t *testing.T, from prometheus.Gatherer, name string, labels ...string) *dto.Metric {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
	next:
		for _, m := range family.GetMetric() {
			for i, l := range m.GetLabel() {
				if l.GetValue() != labels[i] {
					continue next
				}
			}
			return m
		}
	}
	return nil
}

func TestMetrics(t *testing.T) {
	w, registry := newMeteredWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/teapot" {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	other := function.Ref{Name: "other", Namespace: "dev"} // never called
	w.deploy(other)
	for range 3 {
		w.wantStatus("/function/echo", 200)
	}
	w.wantStatus("/function/echo.openfaas-fn/teapot", 418)
	w.wantStatus("/function/nobody", 404)
	w.await(func() bool { return w.proxy.Invocations(echo) == 4 })
	want := `
# HELP dc_proxy_ejections_total Replicas that failed several calls in a row and were left alone for a time.
# TYPE dc_proxy_ejections_total counter
dc_proxy_ejections_total{function_name="echo.openfaas-fn"} 0
# HELP dc_proxy_endpoint_cache_hits_total Calls whose function's endpoints were known.
# TYPE dc_proxy_endpoint_cache_hits_total counter
dc_proxy_endpoint_cache_hits_total 3
# HELP dc_proxy_endpoint_cache_misses_total Calls whose function's endpoints had to be read.
# TYPE dc_proxy_endpoint_cache_misses_total counter
dc_proxy_endpoint_cache_misses_total 1
# HELP dc_proxy_in_flight Calls that are at a replica.
# TYPE dc_proxy_in_flight gauge
dc_proxy_in_flight{function_name="echo.openfaas-fn"} 0
# HELP dc_proxy_rejected_total Calls that found the queue full.
# TYPE dc_proxy_rejected_total counter
dc_proxy_rejected_total{function_name="echo.openfaas-fn"} 0
# HELP dc_proxy_retries_total Calls that reached no replica and were tried again.
# TYPE dc_proxy_retries_total counter
dc_proxy_retries_total{function_name="echo.openfaas-fn"} 0
# HELP dc_proxy_waiting Calls that wait for a replica.
# TYPE dc_proxy_waiting gauge
dc_proxy_waiting{function_name="echo.openfaas-fn"} 0
# HELP dc_proxy_waiting_body_bytes Bytes of requests' bodies that were read as their calls waited, until those end.
# TYPE dc_proxy_waiting_body_bytes gauge
dc_proxy_waiting_body_bytes 0
# HELP gateway_function_invocation_inflight Calls that came and have not ended.
# TYPE gateway_function_invocation_inflight gauge
gateway_function_invocation_inflight{function_name="echo.openfaas-fn"} 0
# HELP gateway_function_invocation_started Calls that came.
# TYPE gateway_function_invocation_started counter
gateway_function_invocation_started{function_name="echo.openfaas-fn"} 4
# HELP gateway_function_invocation_total Calls that have ended, by status.
# TYPE gateway_function_invocation_total counter
gateway_function_invocation_total{code="200",function_name="echo.openfaas-fn"} 3
gateway_function_invocation_total{code="418",function_name="echo.openfaas-fn"} 1
# HELP gateway_service_count Replicas that are wanted.
# TYPE gateway_service_count gauge
gateway_service_count{function_name="echo.openfaas-fn"} 1
gateway_service_count{function_name="other.dev"} 0
`
	var names []string // all but the times
	for line := range strings.Lines(want) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			names = append(names, strings.Fields(name)[0])
		}
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(registry, "dc_proxy_phase_seconds", "dc_proxy_retries_total", "dc_proxy_in_flight"); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}

	seconds := series(t, registry, "gateway_functions_seconds", "200", echo.String()).GetHistogram()
	if seconds.GetSampleCount() != 3 || seconds.GetSampleSum() <= 0 {
		t.Errorf("gateway_functions_seconds %v", seconds)
	}
	var bounds []float64
	for _, b := range seconds.GetBucket() {
		bounds = append(bounds, b.GetUpperBound())
	}
	if fmt.Sprint(bounds) != fmt.Sprint(prometheus.DefBuckets) {
		t.Errorf("buckets %v, want Prometheus's default ones", bounds)
	}
	if n := series(t, registry, "dc_proxy_phase_seconds", echo.String(), "function").GetHistogram().GetSampleCount(); n != 4 {
		t.Errorf("%d calls have a time in the function, want 4", n)
	}
	// Connections are kept, so that not every call has made one.
	if n := series(t, registry, "dc_proxy_phase_seconds", echo.String(), "connect").GetHistogram().GetSampleCount(); n < 1 || n > 3 {
		t.Errorf("%d of 4 calls connected", n)
	}
	for _, phase := range []string{"queue", "wake"} {
		if m := series(t, registry, "dc_proxy_phase_seconds", echo.String(), phase); m != nil {
			t.Errorf("calls that did not wait have a time in phase %s: %v", phase, m)
		}
	}

	w.undeploy(echo)
	if m := series(t, registry, "gateway_function_invocation_total", "200", echo.String()); m != nil {
		t.Errorf("a deleted function has series: %v", m)
	}
	if n := series(t, registry, "dc_proxy_endpoint_cache_hits_total").GetCounter().GetValue(); n != 3 {
		t.Errorf("a counter fell to %v as a function was deleted", n)
	}
	if w.proxy.Invocations(echo) != 0 {
		t.Error("a deleted function has invocations")
	}
}

// How each end of a call is counted, and how long it was where.
func TestMetrics_Ends(t *testing.T) {
	w, registry := newMeteredWorld(t, func(c *Config) {
		c.WakeTimeout, c.QueueDepth = 1500*time.Millisecond, 1 // long enough to be seen while one waits
	})
	// An answer may be read before its call is counted, so that what is looked at comes after an await.
	ended := func(ref function.Ref, n uint64) { w.await(func() bool { return w.proxy.Invocations(ref) == n }) }
	count := func(name string, want float64, labels ...string) {
		t.Helper()
		m := series(t, registry, name, labels...)
		if got := m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount()); m == nil || got != want {
			t.Errorf("%s %v: %v, want %v", name, labels, m, want)
		}
	}
	ref := func(name string) function.Ref { return function.Ref{Name: name, Namespace: "openfaas-fn"} }

	asleep := ref("asleep")
	w.deploy(asleep)
	w.wantStatus("/function/asleep", 503)
	ended(asleep, 1)
	count("gateway_function_invocation_total", 1, "503", asleep.String())
	count("dc_proxy_phase_seconds", 1, asleep.String(), "wake")
	if m := series(t, registry, "gateway_functions_seconds", "503", asleep.String()); m != nil {
		t.Errorf("the time of a wake was recorded as the function's: %v", m)
	}

	broken := ref("broken")
	w.deploy(broken, (&breaker{}).ServeHTTP)
	for range 4 {
		w.wantStatus("/function/broken", 502)
	}
	ended(broken, 4)
	count("gateway_function_invocation_total", 4, "502", broken.String())

	refusingSome, begin := ref("refusing"), time.Now()
	w.deploy(refusingSome, hello)
	w.setEndpoints(refusingSome, append(w.list(refusingSome), refusing(t))...)
	for range 50 {
		w.wantStatus("/function/refusing", 200)
	}
	ended(refusingSome, 50)
	count("gateway_function_invocation_total", 50, "200", refusingSome.String())
	// Each trial of the ejected one is a retry and an ejection more; there is at most one a second.
	trials := float64(time.Since(begin)/firstEjection) + 1
	retries := series(t, registry, "dc_proxy_retries_total", refusingSome.String()).GetCounter().GetValue()
	ejections := series(t, registry, "dc_proxy_ejections_total", refusingSome.String()).GetCounter().GetValue()
	if retries < ejectAfter || retries > ejectAfter+trials || ejections < 1 || ejections > 1+trials {
		t.Errorf("%v retries and %v ejections in %v", retries, ejections, time.Since(begin))
	}

	full := ref("full")
	release := make(chan struct{})
	w.deploy(full).Policy.MaxInFlight = 1
	w.setEndpoints(full, w.replica("full-0", func(http.ResponseWriter, *http.Request) { <-release }))
	statuses := make(chan int, 2)
	for range 2 {
		go func() {
			answer, _ := w.request("GET", "/function/full", "")
			statuses <- answer.StatusCode
		}()
	}
	w.await(func() bool { return w.proxy.Load(full).Waiting == 1 })
	w.wantStatus("/function/full", 429) // the queue is full
	count("dc_proxy_rejected_total", 1, full.String())
	if got := <-statuses; got != 429 {
		t.Errorf("the call that waited for too long got %d", got)
	}
	close(release)
	<-statuses
	ended(full, 3)
	count("gateway_function_invocation_total", 2, "429", full.String())
	count("gateway_function_invocation_total", 1, "200", full.String())
	count("dc_proxy_phase_seconds", 1, full.String(), "queue")
}

func TestMetrics_CallThatTimesOut(t *testing.T) {
	w, registry := newMeteredWorld(t, func(c *Config) { c.Timeout = 50 * time.Millisecond })
	w.deploy(echo, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w.wantStatus("/function/echo", 504)
	w.await(func() bool { return w.proxy.Invocations(echo) == 1 })
	if h := series(t, registry, "gateway_functions_seconds", "504", echo.String()).GetHistogram(); h.GetSampleCount() != 1 || h.GetSampleSum() < 0.05 {
		t.Errorf("time %v", h)
	}
}

func TestMetrics_StatusesAreBounded(t *testing.T) {
	var s stats
	for code := 100; code < 1000; code++ {
		s.codeLocked(code).count++
	}
	if len(s.codes) != maxCodes+1 || s.codeLocked(otherCode).count != 900-maxCodes {
		t.Errorf("%d statuses are told apart, %d calls had another", len(s.codes), s.codeLocked(otherCode).count)
	}
}

// A call that comes while its function is deleted may leave an activity; the next scrape does not.
func TestMetrics_ScrapeForgetsWhatIsGone(t *testing.T) {
	w, registry := newMeteredWorld(t, nil)
	w.deploy(echo, hello)
	w.wantStatus("/function/echo", 200)
	w.await(func() bool { return w.proxy.Load(echo).InFlight == 0 })
	w.mu.Lock()
	delete(w.functions, echo)
	w.mu.Unlock()
	if m := series(t, registry, "gateway_function_invocation_total", "200", echo.String()); m != nil {
		t.Errorf("%v", m)
	}
	if w.proxy.activities.find(echo) != nil {
		t.Error("its activity is kept")
	}
}

// What a function costs that was called once, beyond its record.
func TestActivity_HeapPerIdleFunction(t *testing.T) {
	const count, limitBytes = 2000, 2048
	p := newPlane(t, 0, 1, nil)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	for i := range count {
		f := &function.Function{Spec: function.Spec{Ref: function.Ref{Name: fmt.Sprintf("contract-%d", i), Namespace: "openfaas-fn"}}, ID: "1"}
		c := p.proxy.newCall(f, time.Now())
		if placed, _, err := c.place(c.came); !placed {
			t.Fatal(err)
		}
		c.phases = [phases]time.Duration{0, time.Second, time.Millisecond, time.Millisecond}
		c.status = http.StatusOK
		c.end()
	}
	each := (heap() - before) / count
	t.Logf("%d bytes for each function", each)
	if each > limitBytes {
		t.Errorf("%d bytes for each function, at most %d are allowed", each, limitBytes)
	}
	runtime.KeepAlive(p)
}
