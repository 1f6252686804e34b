package handlers

import (
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
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
	path, _, _ := strings.Cut(rt.path, "{")
	path = strings.TrimRight(path, "/")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun, tracked := time.Now(), &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			code := strconv.Itoa(tracked.status)
			m.requests.WithLabelValues(code, rt.method, path).Inc()
			m.seconds.WithLabelValues(code, rt.method, path).Observe(time.Since(begun).Seconds())
		}()
		next.ServeHTTP(tracked, r)
	})
}

// statusWriter remembers the status of an answer. Optional interfaces are reached by http.ResponseController.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

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
