package handlers

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// queueMetrics tells what is in the queue, of functions that have something there.
type queueMetrics struct {
	depths                  func() map[function.Heap]function.Depth
	waiting, messages, dead *prometheus.Desc
}

// QueueMetrics makes metrics of the queue's depths, which depths tells from memory.
func QueueMetrics(depths func() map[function.Heap]function.Depth) prometheus.Collector {
	describe := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{"function_name"}, nil)
	}
	return &queueMetrics{
		depths:   depths,
		waiting:  describe("dc_invoke_queued", "Asynchronous invocations that wait or run."),
		messages: describe("dc_invoke_messages", "Callbacks that are not delivered yet."),
		dead:     describe("dc_invoke_dead_letters", "Invocations and callbacks that are tried no more."),
	}
}

// Describe is prometheus.Collector's.
func (m *queueMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.waiting
	to <- m.messages
	to <- m.dead
}

// Collect is prometheus.Collector's.
func (m *queueMetrics) Collect(to chan<- prometheus.Metric) {
	// A function that was deployed again has two records for a moment.
	of := map[function.Ref]function.Depth{}
	for h, d := range m.depths() {
		sum := of[h.Ref]
		sum.Waiting, sum.Messages, sum.Dead = sum.Waiting+d.Waiting, sum.Messages+d.Messages, sum.Dead+d.Dead
		of[h.Ref] = sum
	}
	for ref, d := range of {
		to <- prometheus.MustNewConstMetric(m.waiting, prometheus.GaugeValue, float64(d.Waiting), ref.String())
		to <- prometheus.MustNewConstMetric(m.messages, prometheus.GaugeValue, float64(d.Messages), ref.String())
		to <- prometheus.MustNewConstMetric(m.dead, prometheus.GaugeValue, float64(d.Dead), ref.String())
	}
}
