package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// ensureWorkload makes the Deployment and the Service be as the record asks.
func (c *Cluster) ensureWorkload(ctx context.Context, ref function.Ref, r *record) (outcome, error) {
	var o outcome
	if d := c.deployments.get(ref); d != nil && d.record == r.uid && r.resolved() != nil {
		// Nothing but the number of replicas can have to change: no secret and no registry is asked for it.
		o.image = r.resolved()
		if d.inputs == inputsOf(r.fn, r.rollout, o.image) {
			if err := c.scaleWorkload(ctx, ref, r, d); err != nil {
				return o, err
			}
			p := plan{fn: r.fn}
			return o, c.ensureService(ctx, ref, r, &p)
		}
	}
	p, err := c.plan(ctx, r)
	if p != nil {
		o.image = p.image
	}
	if err != nil {
		return o, err
	}
	// Both at once: each costs the API server a write to disk, and a call may be waiting. One that fails does not cut off
	// the other, of which it would not be known whether it has been made.
	var g errgroup.Group
	g.Go(func() error { return c.ensureDeployment(ctx, ref, r, p) })
	g.Go(func() error { return c.ensureService(ctx, ref, r, p) })
	return o, g.Wait()
}

// plan finds out what the workload is rendered from. The plan is returned even with an error, with what was found so far.
func (c *Cluster) plan(ctx context.Context, r *record) (*plan, error) {
	p := &plan{
		fn: r.fn, rollout: r.rollout, image: r.resolved(),
		watchdogImage: c.cfg.WatchdogImage, readyURL: c.cfg.ReadyURL, readyKey: c.cfg.ReadyKey, callTimeout: c.cfg.CallTimeout,
	}
	if _, err := parseImage(r.fn.Image); err != nil {
		return p, err
	}
	if err := checkResources(r.fn); err != nil {
		return p, err
	}
	secrets, err := c.secretsOf(ctx, r.fn)
	if err != nil {
		return p, err
	}
	var pull []*corev1.Secret
	p.mounted, pull = splitSecrets(secrets)
	for _, s := range pull {
		p.pull = append(p.pull, s.Name)
	}
	if p.image == nil {
		image, err := c.resolution(ctx, r.fn, r.rollout, pull)
		p.image = &image
		if err != nil {
			return p, err
		}
	}
	p.inputs = inputsOf(r.fn, r.rollout, p.image)
	if r.fn.Policy.Watchdog() {
		p.watchdog, err = c.watchdogMethod(ctx, nodeSelector(r.fn.Constraints))
	} else {
		p.sleepAction, err = c.nodes.sleepAction(ctx)
	}
	return p, err
}

// resolution asks the registries. Not reaching one is an error only if the image's own command is needed; otherwise it is
// noted, since the nodes may well have the image.
func (c *Cluster) resolution(ctx context.Context, fn *function.Function, rollout string, pull []*corev1.Secret) (resolution, error) {
	image := resolution{Reference: fn.Image, Rollout: rollout}
	keys, err := newKeyring(pull)
	if err != nil {
		return image, function.Invalidf("%s", err)
	}
	f, err := c.images.resolve(ctx, fn.Image, keys, c.nodes.arch(ctx))
	image.Digest, image.User = f.digest, f.user
	for _, s := range pull {
		image.PullSecrets = append(image.PullSecrets, s.Name)
	}
	if err != nil {
		image.Problem = err.Error()
	}
	if !fn.Policy.Watchdog() {
		image.Command = f.command // for a spare
	}
	if !needsCommand(fn) {
		return image, nil
	}
	switch {
	case !f.configured && err != nil:
		return image, function.Invalidf("without a process to run, the image's own command has to be read: %s", image.Problem)
	case len(f.command) == 0:
		return image, function.Invalidf("image %s has neither ENTRYPOINT nor CMD: give the process to run", fn.Image)
	}
	image.Command = f.command
	return image, nil
}

func (c *Cluster) ensureDeployment(ctx context.Context, ref function.Ref, r *record, p *plan) error {
	client := c.core.AppsV1().Deployments(ref.Namespace)
	d := c.deployments.get(ref)
	rendered := p.deployment()
	switch {
	case d == nil:
		made, err := client.Create(ctx, rendered, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return taken(ctx, "Deployment", ref, r.uid, client.Get, c.deployments.observe)
		}
		if err != nil {
			return translate(err, "Deployment", ref.Name)
		}
		c.log.Info("function started", "function", ref.Name, "namespace", ref.Namespace, "replicas", r.fn.Replicas)
		return c.deployments.observe(made)
	case d.record != r.uid:
		return notOurs("Deployment", ref)
	default:
		made, err := client.Update(ctx, rendered, metav1.UpdateOptions{})
		if err != nil {
			return translate(err, "Deployment", ref.Name)
		}
		c.log.Info("function updated", "function", ref.Name, "namespace", ref.Namespace)
		return c.deployments.observe(made)
	}
}

func (c *Cluster) ensureService(ctx context.Context, ref function.Ref, r *record, p *plan) error {
	client := c.core.CoreV1().Services(ref.Namespace)
	s := c.services.get(ref)
	switch {
	case s == nil:
		made, err := client.Create(ctx, p.service(), metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return taken(ctx, "Service", ref, r.uid, client.Get, c.services.observe)
		}
		if err != nil {
			return translate(err, "Service", ref.Name)
		}
		return c.services.observe(made)
	case s.record != r.uid:
		return notOurs("Service", ref)
	case maps.Equal(s.annotations, p.annotations()):
		return nil
	}
	patch, err := json.Marshal([]map[string]any{{"op": "add", "path": "/metadata/annotations", "value": p.annotations()}})
	if err != nil {
		return fmt.Errorf("encode annotations: %w", err)
	}
	made, err := client.Patch(ctx, ref.Name, types.JSONPatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return translate(err, "Service", ref.Name)
	}
	return c.services.observe(made)
}

// taken looks at what has the name already: ours, of which our cache does not know yet, or somebody else's.
func taken[T metav1.Object](ctx context.Context, kind string, ref function.Ref, record types.UID,
	get func(context.Context, string, metav1.GetOptions) (T, error), observe func(any) error,
) error {
	found, err := get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("%s %q: %w", kind, ref.Name, err)
	}
	if found.GetLabels()[labelRecord] != string(record) {
		return notOurs(kind, ref)
	}
	return observe(found)
}

func notOurs(kind string, ref function.Ref) error {
	return function.Invalidf("namespace %q holds a %s %q that is not this function's: delete it, or choose another name", ref.Namespace, kind, ref.Name)
}

// removeWorkload deletes the Deployment, the Service, the ReplicaSets and the pods of a record, each by itself: Kubernetes'
// garbage collector would get there too, but in its own time. Pods get their grace to finish what is in flight.
func (c *Cluster) removeWorkload(ctx context.Context, ref function.Ref, record types.UID) error {
	g, gctx := errgroup.WithContext(ctx)
	if s := c.services.get(ref); s != nil && s.record == record {
		g.Go(func() error {
			err := c.core.CoreV1().Services(ref.Namespace).Delete(gctx, ref.Name, deletionOf(s.uid))
			return forgotten(c.services, ref, s.uid, gone(err, "Service", ref.Name))
		})
	}
	if d := c.deployments.get(ref); d != nil && d.record == record {
		g.Go(func() error {
			err := c.core.AppsV1().Deployments(ref.Namespace).Delete(gctx, ref.Name, deletionOf(d.uid))
			if err = forgotten(c.deployments, ref, d.uid, gone(err, "Deployment", ref.Name)); err != nil {
				return err
			}
			c.log.Info("function stopped", "function", ref.Name, "namespace", ref.Namespace)
			return c.removeReplicaSets(gctx, ref, record)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return c.removePods(ctx, ref, record)
}

func (c *Cluster) removePods(ctx context.Context, ref function.Ref, record types.UID) error {
	g, ctx := errgroup.WithContext(ctx)
	for name, p := range c.table.podsOf(ref) {
		if p.record != record || p.ending {
			continue
		}
		g.Go(func() error { return c.deletePod(ctx, ref, name, p) })
	}
	return g.Wait()
}

func (c *Cluster) removeReplicaSets(ctx context.Context, ref function.Ref, record types.UID) error {
	client := c.core.AppsV1().ReplicaSets(ref.Namespace)
	list, err := client.List(ctx, metav1.ListOptions{
		LabelSelector: labelRecord + "=" + string(record),
		// From the API server's cache: one that is missed there is the garbage collector's.
		ResourceVersion: "0",
	})
	if err != nil {
		return fmt.Errorf("list ReplicaSets of %s: %w", ref, err)
	}
	for i := range list.Items {
		set := &list.Items[i]
		if err := gone(client.Delete(ctx, set.Name, deletionOf(set.UID)), "ReplicaSet", set.Name); err != nil {
			return err
		}
	}
	return nil
}

// deletionOf deletes one object and no other of the same name, at once, and has what hangs on it deleted behind it.
func deletionOf(uid types.UID) metav1.DeleteOptions {
	background := metav1.DeletePropagationBackground
	return metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &uid}}
}

// forgotten takes a deleted object out of its mirror before the watch does, so that a wake right after is not misled.
func forgotten[T any](m *mirror[T], ref function.Ref, uid types.UID, err error) error {
	if err == nil {
		m.forget(ref, uid)
	}
	return err
}

// gone is the error of a deletion; what is not there any more, or is another object by now, is as good as deleted.
func gone(err error, kind, name string) error {
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("delete %s %q: %w", kind, name, err)
}
