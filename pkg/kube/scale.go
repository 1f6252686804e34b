package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// A replica that is to go is marked by both: ours has all providers give it no work, and Kubernetes', of which a user may have
// set another value, has it go first when the ReplicaSet is made smaller: the lowest number does.
const (
	annotationLeaving      = function.ReservedPrefix + "leaving"
	annotationDeletionCost = corev1.PodDeletionCost
	lowestCost             = "-2147483648"
)

// scaleWorkload makes a Deployment that needs no other change have as many replicas as its record asks for. The replicas that
// are to go are endpoints no more before Kubernetes hears of it, and their calls go on. It may be cut off anywhere: the next
// round finds as many too many, of which some are marked, or marked ones of which none is too many.
func (c *Cluster) scaleWorkload(ctx context.Context, ref function.Ref, r *record, d *deployment) error {
	wanted := int32(r.fn.Replicas)
	pods := c.replicasOf(ref, r.uid)
	surplus := len(pods) - int(wanted)
	if err := c.markLeaving(ctx, ref, leavers(pods, surplus, d, c.emptiness(ref))); err != nil {
		return err
	}
	if d.replicas == wanted {
		return nil
	}
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, wanted)
	made, err := c.core.AppsV1().Deployments(ref.Namespace).Patch(ctx, ref.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return translate(err, "Deployment", ref.Name)
	}
	c.log.Info("function scaled", "function", ref.Name, "namespace", ref.Namespace, "replicas", wanted, "why", r.fn.Scaled)
	return c.deployments.observe(made)
}

// replica is a pod of a record with its name.
type replica struct {
	name string
	*pod
}

// replicasOf gives the pods of a record's Deployment that do not end yet.
func (c *Cluster) replicasOf(ref function.Ref, record types.UID) []replica {
	var list []replica
	for name, p := range c.table.podsOf(ref) {
		if p.record == record && !p.ending && p.claim == nil {
			list = append(list, replica{name, p})
		}
	}
	return list
}

// emptiness compares replicas by how soon they should go: those first that are marked already, then those with the fewest
// calls in flight, then the youngest.
func (c *Cluster) emptiness(ref function.Ref) func(a, b replica) int {
	marked := func(r replica) int {
		if r.leaving {
			return 0
		}
		return 1
	}
	return func(a, b replica) int {
		return cmp.Or(
			cmp.Compare(marked(a), marked(b)),
			cmp.Compare(c.cfg.InFlight(ref, a.name), c.cfg.InFlight(ref, b.name)),
			b.created.Compare(a.created),
			cmp.Compare(a.name, b.name),
		)
	}
}

// leavers tells for which replicas the mark has to change, and to what.
func leavers(pods []replica, surplus int, d *deployment, soonest func(a, b replica) int) map[string]bool {
	changes := make(map[string]bool)
	mark := func(r replica, leaving bool) {
		if r.leaving != leaving {
			changes[r.name] = leaving
		}
	}
	if surplus <= 0 {
		for _, r := range pods {
			mark(r, false)
		}
		return changes
	}
	if !d.settled() {
		return changes // it is Kubernetes that chooses between versions
	}
	// Kubernetes takes those first that are not ready.
	var serving []replica
	for _, r := range pods {
		if r.ready {
			serving = append(serving, r)
		}
	}
	slices.SortFunc(serving, soonest)
	surplus -= len(pods) - len(serving)
	for i, r := range serving {
		mark(r, i < surplus)
	}
	return changes
}

// settled reports whether no other version of the function is on its way.
func (d *deployment) settled() bool { return d.observed >= d.generation && d.updated == d.total }

// markLeaving sets and takes away marks, and returns when OnEndpoints has been told.
func (c *Cluster) markLeaving(ctx context.Context, ref function.Ref, changes map[string]bool) error {
	if len(changes) == 0 {
		return nil
	}
	g, gctx := errgroup.WithContext(ctx)
	for name, leaving := range changes {
		g.Go(func() error {
			patch, err := leavingPatch(leaving)
			if err != nil {
				return err
			}
			made, err := c.core.CoreV1().Pods(ref.Namespace).Patch(gctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
			if err != nil {
				return gone(err, "Pod", name)
			}
			return c.pods.observe(made)
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("choose the replicas that go: %w", err)
	}
	c.table.told(ctx, ref)
	return nil
}

func leavingPatch(leaving bool) ([]byte, error) {
	marks := map[string]any{annotationLeaving: nil, annotationDeletionCost: nil} // null takes it away
	if leaving {
		marks = map[string]any{annotationLeaving: "true", annotationDeletionCost: lowestCost}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": marks}})
	if err != nil {
		return nil, fmt.Errorf("encode a mark: %w", err)
	}
	return patch, nil
}
