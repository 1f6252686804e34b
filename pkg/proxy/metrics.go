package proxy

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dragonchain/dc-provider/pkg/function"
)

var (
	// gatewayBounds are Prometheus's default ones, which OpenFaaS's dashboards expect.
	gatewayBounds = [...]time.Duration{
		5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
		250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
	}
	// phaseBounds are the goals for the time to the first byte of hot functions, parked ones, and those at zero with and
	// without a pool; and beyond them what is slow enough to look for.
	phaseBounds = [...]time.Duration{
		100 * time.Microsecond, 300 * time.Microsecond, time.Millisecond, 3 * time.Millisecond, 5 * time.Millisecond,
		20 * time.Millisecond, 50 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond, 600 * time.Millisecond,
		1200 * time.Millisecond, 5 * time.Second, 20 * time.Second, time.Minute,
	}
	phaseNames = [phases]string{phaseQueue: "queue", phaseWake: "wake", phaseConnect: "connect", phaseFunction: "function"}
)

// metrics is what the proxy tells Prometheus, read from the activities when it is asked. So a function has series from its
// first call to its end, and a name that no function has gets none.
type metrics struct {
	p *Proxy

	// OpenFaaS's.
	total, started, seconds, inFlightAll, replicas *prometheus.Desc
	// Our own.
	phase, inFlight, waiting, retried, ejected, rejected, hits, misses, bodies, coldStart *prometheus.Desc
}

// Metrics returns what the proxy tells Prometheus.
func (p *Proxy) Metrics() prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	const name = "function_name" // NAME.NAMESPACE, always
	return &metrics{
		p:           p,
		total:       desc("gateway_function_invocation_total", "Calls that have ended, by status.", name, "code"),
		started:     desc("gateway_function_invocation_started", "Calls that came.", name),
		seconds:     desc("gateway_functions_seconds", "Time of calls, without what they waited for a replica.", name, "code"),
		inFlightAll: desc("gateway_function_invocation_inflight", "Calls that came and have not ended.", name),
		replicas:    desc("gateway_service_count", "Replicas that are wanted.", name),
		phase: desc("dc_proxy_phase_seconds", "Time that calls spent in a phase, of those that spent any there: in the queue because every replica "+
			"was full; waiting for a replica to come; connecting; and from the connection to the function's first byte.", name, "phase"),
		inFlight: desc("dc_proxy_in_flight", "Calls that are at a replica.", name),
		waiting:  desc("dc_proxy_waiting", "Calls that wait for a replica.", name),
		retried:  desc("dc_proxy_retries_total", "Calls that reached no replica and were tried again.", name),
		ejected:  desc("dc_proxy_ejections_total", "Replicas that failed several calls in a row and were left alone for a time.", name),
		rejected: desc("dc_proxy_rejected_total", "Calls that found the queue full.", name),
		hits:     desc("dc_proxy_endpoint_cache_hits_total", "Calls whose function's endpoints were known."),
		misses:   desc("dc_proxy_endpoint_cache_misses_total", "Calls whose function's endpoints had to be read."),
		bodies:   desc("dc_proxy_waiting_body_bytes", "Bytes of requests' bodies that were read as their calls waited, until those end."),
		coldStart: desc("dc_proxy_cold_start_seconds", "Time of cold starts, from the first call that waited for a replica to the first byte of its "+
			"answer, by the phase in which the replica was meanwhile. Its kind is claim for a spare of the warm pool, pod for a new pod.", "kind", "phase"),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.total, m.started, m.seconds, m.inFlightAll, m.replicas,
		m.phase, m.inFlight, m.waiting, m.retried, m.ejected, m.rejected, m.hits, m.misses, m.bodies, m.coldStart,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	if m.p.cfg.Functions != nil {
		for _, f := range m.p.cfg.Functions() {
			to <- prometheus.MustNewConstMetric(m.replicas, prometheus.GaugeValue, float64(f.Replicas), f.Ref.String())
		}
	}
	all, hits, misses := m.p.activities.snapshot()
	for ref, a := range all {
		a.mu.Lock()
		load, s, gone := a.load, a.stats.clone(), a.gone
		a.mu.Unlock()
		hits += s.hits // those of one that was dropped since are in no other sum
		misses += s.misses
		switch _, found := m.p.cfg.Lookup(ref); {
		case gone:
		case found:
			m.collect(to, ref, load, s)
		default:
			// A call that came while the function was deleted has made an activity after Forget.
			m.p.activities.dropUnused(ref)
		}
	}
	to <- prometheus.MustNewConstMetric(m.hits, prometheus.CounterValue, float64(hits))
	to <- prometheus.MustNewConstMetric(m.misses, prometheus.CounterValue, float64(misses))
	to <- prometheus.MustNewConstMetric(m.bodies, prometheus.GaugeValue, float64(m.p.ahead.taken.Load()))
	for series, h := range m.p.coldStarts.snapshot() {
		to <- h.metric(m.coldStart, phaseBounds[:], string(series.kind), string(series.phase))
	}
}

// collect tells of one function.
func (m *metrics) collect(to chan<- prometheus.Metric, ref function.Ref, load Load, s stats) {
	name := ref.String()
	gauge := func(d *prometheus.Desc, n int) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), name)
	}
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), append([]string{name}, labels...)...)
	}
	gauge(m.inFlightAll, load.InFlight+load.Waiting)
	gauge(m.inFlight, load.InFlight)
	gauge(m.waiting, load.Waiting)
	counter(m.started, s.started)
	counter(m.retried, s.retried)
	counter(m.ejected, s.ejected)
	counter(m.rejected, s.rejected)
	for _, c := range s.codes {
		code := strconv.Itoa(c.code)
		if c.code == otherCode {
			code = "other"
		}
		counter(m.total, c.count, code)
		if c.seconds.buckets != nil {
			to <- c.seconds.metric(m.seconds, gatewayBounds[:], name, code)
		}
	}
	for i, h := range s.phases {
		if h.buckets != nil {
			to <- h.metric(m.phase, phaseBounds[:], name, phaseNames[i])
		}
	}
}

func (h *histogram) metric(d *prometheus.Desc, bounds []time.Duration, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(bounds))
	var n uint64
	for i, bound := range bounds {
		n += h.buckets[i]
		buckets[bound.Seconds()] = n
	}
	n += h.buckets[len(bounds)]
	return prometheus.MustNewConstHistogram(d, n, h.sum.Seconds(), buckets, labels...)
}
