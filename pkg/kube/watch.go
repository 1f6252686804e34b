package kube

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// watch starts the reflectors, one per kind. Whatever happens to the API server, they go on trying.
func (c *Cluster) watch(ctx context.Context, g *errgroup.Group) {
	ours := func(o *metav1.ListOptions) { o.LabelSelector = labelFunction }
	all := func(*metav1.ListOptions) {}
	type watched struct {
		client   rest.Interface
		resource string
		options  func(*metav1.ListOptions)
		kind     runtime.Object
		store    cache.ReflectorStore
	}
	kinds := []watched{
		{c.functions, resourceFunctions, all, &object{}, c.records},
		{c.core.CoreV1().RESTClient(), "pods", ours, &corev1.Pod{}, c.pods},
		{c.core.AppsV1().RESTClient(), "deployments", ours, &appsv1.Deployment{}, c.deployments},
		{c.core.CoreV1().RESTClient(), "services", ours, &corev1.Service{}, c.services},
		{c.core.CoreV1().RESTClient(), "namespaces", all, &corev1.Namespace{}, c.namespaces},
	}
	if c.cfg.Pool != nil {
		spares := func(o *metav1.ListOptions) { o.LabelSelector = labelSpare }
		kinds = append(kinds, watched{c.core.CoreV1().RESTClient(), "pods", spares, &corev1.Pod{}, c.spares})
	}
	if c.cfg.PrePull {
		pulls := func(o *metav1.ListOptions) { o.LabelSelector = labelPull }
		kinds = append(kinds, watched{c.core.CoreV1().RESTClient(), "pods", pulls, &corev1.Pod{}, c.pulls.pods})
	}
	for _, w := range kinds {
		logger := klog.New(logr.FromSlogHandler(c.log.Handler()).GetSink())
		reflector := cache.NewReflectorWithOptions(
			cache.NewFilteredListWatchFromClient(w.client, w.resource, metav1.NamespaceAll, w.options),
			w.kind, w.store, cache.ReflectorOptions{
				Name:            w.resource,
				TypeDescription: w.resource,
				Logger:          &logger,
				// Half a minute, the default bound, would be long to go on with yesterday's endpoints.
				Backoff: &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Cap: 5 * time.Second, Steps: 10},
			})
		g.Go(func() error {
			reflector.RunWithContext(klog.NewContext(ctx, logger))
			return nil
		})
	}
}
