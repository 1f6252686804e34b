package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dragonchain/dc-provider/pkg/kube"
)

var (
	pullsDesc = prometheus.NewDesc("dc_kube_image_pulls",
		"Images that nodes are pulling ahead of a wake, and that they cannot pull at present.", []string{"state"}, nil)
	pullsTotalDesc = prometheus.NewDesc("dc_kube_image_pulls_total", "Pulls ahead of a wake that have ended, by result.", []string{"result"}, nil)
)

// imagePulls tells Prometheus of the images that are pulled ahead.
type imagePulls struct{ cluster *kube.Cluster }

// Describe implements prometheus.Collector.
func (imagePulls) Describe(to chan<- *prometheus.Desc) {
	to <- pullsDesc
	to <- pullsTotalDesc
}

// Collect implements prometheus.Collector.
func (p imagePulls) Collect(to chan<- prometheus.Metric) {
	running, failing, pulled, failed := p.cluster.ImagePulls()
	to <- prometheus.MustNewConstMetric(pullsDesc, prometheus.GaugeValue, float64(running), "pulling")
	to <- prometheus.MustNewConstMetric(pullsDesc, prometheus.GaugeValue, float64(failing), "failing")
	to <- prometheus.MustNewConstMetric(pullsTotalDesc, prometheus.CounterValue, float64(pulled), "pulled")
	to <- prometheus.MustNewConstMetric(pullsTotalDesc, prometheus.CounterValue, float64(failed), "failed")
}
