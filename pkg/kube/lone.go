package kube

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// annotationLone says that a pod was made for one wake, by no Deployment, and when.
	annotationLone = function.ReservedPrefix + "lone"
	// wakeLife is how long a pod that was made for a wake counts as on its way up.
	wakeLife = 5 * time.Second
)

// makeLone gives a function that was just woken, and gets no spare, a pod. A Deployment would come to the same pod by way of two
// controllers, with a ReplicaSet, a Service and its endpoints beside it: several times the work, for what may be one short call.
// What the pod becomes then is what becomes of claimed ones. It reports whether there is a pod; where not, the Deployment's status
// will tell why.
func (c *Cluster) makeLone(ctx context.Context, ref function.Ref, r *record) bool {
	if r.resolved() == nil {
		return false
	}
	log := c.log.With("function", ref.Name, "namespace", ref.Namespace)
	p, err := c.plan(ctx, r)
	if err != nil {
		log.Debug("no lone pod", "err", err)
		return false
	}
	pod := p.lonePod(time.Now())
	c.keepAway(ctx, &pod.Spec)
	made, err := c.core.CoreV1().Pods(ref.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err == nil {
		err = c.pods.observe(made)
	}
	if err != nil {
		log.Debug("no lone pod", "err", err)
		return false
	}
	log.Info("function started in a pod of its own", "replica", made.Name)
	return true
}

// lonePod renders a pod as the Deployment would have it.
func (p *plan) lonePod(now time.Time) *corev1.Pod {
	template := p.podTemplate()
	annotations := maps.Clone(template.Annotations)
	annotations[annotationInputs], annotations[annotationLone] = p.inputs, now.UTC().Format(time.RFC3339Nano)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: p.fn.Name + "-", Namespace: p.fn.Namespace,
			Labels: template.Labels, Annotations: annotations, OwnerReferences: p.meta().OwnerReferences,
		},
		Spec: template.Spec,
	}
}

// waking reports whether a pod is on its way up for a call that waits.
func (c *Cluster) waking(now time.Time) bool {
	if c.cfg.Pool.Starting() {
		return true
	}
	lone := make(map[string]function.Ref)
	c.pods.each("", func(key function.Ref, p *pod) {
		if p.claim != nil && p.claim.lone && !p.ready && !p.ending && now.Sub(p.claim.since) < wakeLife {
			lone[key.Name] = p.function
		}
	})
	for name, ref := range lone {
		if !c.isEndpoint(ref, name) {
			return true
		}
	}
	return false
}
