package kube

import (
	"context"
	"fmt"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// successorLook is between two looks at who serves. It is asked only while a provider ends.
const successorLook = 250 * time.Millisecond

// Ending reports whether a pod was told to end. An API server that does not answer is asked again until ctx ends, which is
// answered false, as is a pod that there is not.
//
// A program that is its container's first process hears no signal before it has asked for it: the kernel drops those that
// would end such a process. The kubelet sends SIGTERM once, and one that missed it in its first milliseconds would be left
// until it is killed. But the pod is told to end before its processes are, so that a look at it tells, once signals are heard.
func (c *Cluster) Ending(ctx context.Context, namespace, pod string) bool {
	look := time.NewTicker(successorLook)
	defer look.Stop()
	for {
		found, err := c.core.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
		switch {
		case err == nil:
			return found.DeletionTimestamp != nil
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
			return false // it was started by hand, or what gave us the leave is gone
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return false
		}
	}
}

// AwaitSuccessor returns nil when a Service in a namespace has an endpoint that is ready besides the pod of that name, or when
// nobody can come by the Service any more because it is gone; otherwise the error of ctx when that ends. Until then
// Kubernetes sends callers to the pod itself, though it is told to end, for as long as it says that it is ready: see
// https://kep.k8s.io/1669. An API server that does not answer is asked again.
func (c *Cluster) AwaitSuccessor(ctx context.Context, namespace, service, pod string) error {
	look := time.NewTicker(successorLook)
	defer look.Stop()
	var last error
	for {
		done, err := c.succeeded(ctx, namespace, service, pod)
		if done {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			if last != nil {
				return fmt.Errorf("%w; %w", ctx.Err(), last)
			}
			return ctx.Err()
		}
	}
}

func (c *Cluster) succeeded(ctx context.Context, namespace, service, pod string) (bool, error) {
	slices, err := c.core.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: discoveryv1.LabelServiceName + "=" + service,
	})
	switch {
	case apierrors.IsForbidden(err):
		return true, nil // what gave us the leave is gone: all of the installation is going
	case err != nil:
		return false, fmt.Errorf("list endpoints of Service %q: %w", service, err)
	case len(slices.Items) == 0:
		return true, nil
	}
	for i := range slices.Items {
		for _, e := range slices.Items[i].Endpoints {
			// Absent means ready, as the field is documented.
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready
			if ready && (e.TargetRef == nil || e.TargetRef.Name != pod) {
				return true, nil
			}
		}
	}
	return false, nil
}
