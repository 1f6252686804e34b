package scaler

import (
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// metrics is what the scaler tells Prometheus of the functions that have replicas, while it runs: of several providers only
// the one that scales tells.
type metrics struct {
	lookup    func(function.Ref) (*function.Function, bool)
	available func(function.Ref) int

	mu sync.Mutex
	of map[function.Ref]*scaled

	wanted, needed, actual, changes *prometheus.Desc
}

// scaled is what is told of one function.
type scaled struct {
	wanted, needed int
	changes        map[string]uint64 // by reason
}

func newMetrics(lookup func(function.Ref) (*function.Function, bool), available func(function.Ref) int) metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"function_name"}, labels...), nil)
	}
	return metrics{
		lookup:    lookup,
		available: available,
		of:        make(map[function.Ref]*scaled),
		wanted:    desc("dc_scaler_desired_replicas", "Replicas that the function is to have."),
		needed:    desc("dc_scaler_needed_replicas", "Replicas that the load of the window needs; there may be more until they have gone step by step."),
		actual:    desc("dc_scaler_actual_replicas", "Replicas that may be given work."),
		changes: desc("dc_scaler_changes_total", "Changes of the number of replicas, by reason: rps, capacity or cpu, the load; burst, a load that "+
			"came at once; bounds, the labels; idle, no call.", "reason"),
	}
}

// Metrics returns what the scaler tells Prometheus.
func (s *Scaler) Metrics() prometheus.Collector { return &s.metrics }

func (m *metrics) look(f *function.Function, needed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.findLocked(f.Ref)
	s.wanted, s.needed = f.Replicas, needed
}

// rest is look for a function at zero, of which nothing is told that has told nothing yet.
func (m *metrics) rest(ref function.Ref) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.of[ref]; s != nil {
		s.wanted, s.needed = 0, 0
	}
}

func (m *metrics) changed(ref function.Ref, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.findLocked(ref).changes[reason]++
}

func (m *metrics) findLocked(ref function.Ref) *scaled {
	s := m.of[ref]
	if s == nil {
		s = &scaled{changes: make(map[string]uint64)}
		m.of[ref] = s
	}
	return s
}

// forget drops the series of a function that has gone.
func (m *metrics) forget(ref function.Ref) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, ref)
}

// sweep drops the series of functions that have gone when nobody looked at them.
func (m *metrics) sweep() {
	m.mu.Lock()
	refs := slices.Collect(maps.Keys(m.of))
	m.mu.Unlock()
	for _, ref := range refs {
		if _, there := m.lookup(ref); !there {
			m.forget(ref)
		}
	}
}

func (m *metrics) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.of)
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.wanted, m.needed, m.actual, m.changes} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	of := make(map[function.Ref]scaled, len(m.of))
	for ref, s := range m.of {
		of[ref] = scaled{s.wanted, s.needed, maps.Clone(s.changes)}
	}
	m.mu.Unlock()
	for ref, s := range of {
		if _, there := m.lookup(ref); !there {
			continue // a round forgets it
		}
		name := ref.String()
		to <- prometheus.MustNewConstMetric(m.wanted, prometheus.GaugeValue, float64(s.wanted), name)
		to <- prometheus.MustNewConstMetric(m.needed, prometheus.GaugeValue, float64(s.needed), name)
		if m.available != nil {
			to <- prometheus.MustNewConstMetric(m.actual, prometheus.GaugeValue, float64(m.available(ref)), name)
		}
		for reason, n := range s.changes {
			to <- prometheus.MustNewConstMetric(m.changes, prometheus.CounterValue, float64(n), name, reason)
		}
	}
}
