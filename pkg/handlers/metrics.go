package handlers

import (
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes is how many may read the metrics at once; more are told to come again.
const maxScrapes = 8

// metrics counts the requests of the management routes, under the names of OpenFaaS's provider. Calls of functions are
// counted by the data plane.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(to prometheus.Registerer) (*metrics, error) {
	labels := []string{"code", "method", "path"}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "provider_http_requests_total", Help: "Requests of the API, by status, method and route.",
		}, labels),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "provider_http_request_duration_seconds", Help: "Time of the API's requests, by status, method and route.",
		}, labels),
	}
	if to == nil {
		return m, nil
	}
	if err := to.Register(m.requests); err != nil {
		return nil, err
	}
	return m, to.Register(m.seconds)
}

// measured counts what a route answers, by the part of its path that is the same for all: names would make a series each.
func (m *metrics) measured(rt route, next http.Handler) http.Handler {
	answers := m.answersOf(rt.method, rt.path)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun, tracked := time.Now(), &trackedWriter{ResponseWriter: w}
		defer func() {
			status := tracked.status
			if status == 0 {
				status = http.StatusOK
			}
			answers.count(status, begun)
		}()
		next.ServeHTTP(tracked, r)
	})
}

// answers are those of one route.
type answers struct {
	metrics      *metrics
	method, path string
	last         atomic.Pointer[series]
}

func (m *metrics) answersOf(method, path string) *answers {
	path, _, _ = strings.Cut(path, "{")
	return &answers{metrics: m, method: method, path: strings.TrimRight(path, "/")}
}

// count counts one to a request that was begun then.
func (a *answers) count(status int, begun time.Time) {
	s := a.last.Load()
	if s == nil || s.status != status {
		code := strconv.Itoa(status)
		s = &series{status, a.metrics.requests.WithLabelValues(code, a.method, a.path), a.metrics.seconds.WithLabelValues(code, a.method, a.path)}
		a.last.Store(s)
	}
	s.requests.Inc()
	s.seconds.Observe(time.Since(begun).Seconds())
}

// series are those of one route and status. A route remembers the last, which most of its answers have, for to look them up costs more than
// to count.
type series struct {
	status   int
	requests prometheus.Counter
	seconds  prometheus.Observer
}

// Metrics answers the listener that Prometheus asks, on which there is no more to be had. It asks for no credentials, as
// OpenFaaS's does not: the port is for inside the cluster.
func Metrics(registry *prometheus.Registry, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.InstrumentMetricHandler(registry, promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		Registry: registry,
		// Each takes memory by the number of functions, and nobody says who asks.
		MaxRequestsInFlight: maxScrapes,
	})))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		_, _ = io.WriteString(w, "OK") // a caller that is gone needs no answer
	})
	return mux
}
