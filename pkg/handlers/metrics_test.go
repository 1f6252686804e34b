package handlers_test

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/handlers"
)

func TestMetrics_OfTheRoutes(t *testing.T) {
	w := newWorld()
	cfg := w.config(t)
	registry := prometheus.NewPedanticRegistry()
	cfg.Metrics = registry
	api := newAPI(t, cfg)
	w.put(t, function.Spec{Ref: function.Ref{Name: "cow", Namespace: "fns"}, Image: "cow"}, function.Status{})
	for name, h := range listeners(api) {
		call(h, "GET", "/system/function/cow", "")
		call(h, "GET", "/system/function/nobody-"+name, "")
		call(h, "DELETE", "/system/namespace/nobody-"+name, `{}`)
		call(h, "GET", "/function/cow", "")
		call(h, "GET", "/healthz", "")
		call(h, "GET", "/nowhere", "")
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/system/functions", nil)) // without credentials
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP provider_http_requests_total Requests of the API, by status, method and route.
# TYPE provider_http_requests_total counter
provider_http_requests_total{code="200",method="GET",path="/system/function"} 2
provider_http_requests_total{code="401",method="GET",path="/system/functions"} 2
provider_http_requests_total{code="404",method="DELETE",path="/system/namespace"} 2
provider_http_requests_total{code="404",method="GET",path="/system/function"} 2
`), "provider_http_requests_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry, "provider_http_request_duration_seconds"); n != 4 || err != nil {
		t.Errorf("%d series of times, %v", n, err)
	}
	if _, err := handlers.New(cfg); err == nil {
		t.Error("the same metrics were registered twice")
	}
}

func TestMetrics_Listener(t *testing.T) {
	registry := prometheus.NewRegistry()
	prometheus.WrapRegistererWith(nil, registry).MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "cows"}, func() float64 { return 7 }))
	h := handlers.Metrics(registry, slog.New(slog.DiscardHandler))
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/metrics", 200, "\ncows 7\n"},
		{"GET", "/healthz", 200, "OK"},
		{"POST", "/healthz", 405, ""},
		{"HEAD", "/healthz", 405, ""},
		{"GET", "/system/functions", 404, "not found"},
	} {
		got := httptest.NewRecorder()
		h.ServeHTTP(got, httptest.NewRequest(tt.method, tt.path, nil))
		if got.Code != tt.status || !strings.Contains(got.Body.String(), tt.body) {
			t.Errorf("%s %s: %d, %q", tt.method, tt.path, got.Code, got.Body)
		}
	}
}

func TestFunctions_InvocationCount(t *testing.T) {
	w := newWorld()
	cfg := w.config(t)
	cow := function.Ref{Name: "cow", Namespace: "fns"}
	cfg.Invocations = func(ref function.Ref) uint64 {
		if ref != cow {
			return 0
		}
		return 3
	}
	w.put(t, function.Spec{Ref: cow, Image: "cow"}, function.Status{})
	w.put(t, function.Spec{Ref: function.Ref{Name: "dog", Namespace: "fns"}, Image: "dog"}, function.Status{})
	for name, h := range listeners(newAPI(t, cfg)) {
		for path, want := range map[string]int{"/system/functions": 1, "/system/function/cow": 1, "/system/function/dog": 0} {
			got := call(h, "GET", path, "").Body.String()
			if strings.Count(got, `"invocationCount":3`) != want || strings.Count(got, "invocationCount") != want {
				t.Errorf("%s %s: %s", name, path, got)
			}
		}
	}
}
