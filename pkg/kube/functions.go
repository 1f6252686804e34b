package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// departureTimeout is how long a delete may take. It takes a fraction of a second, and half a minute where two
	// processors delete a hundred functions at once. It goes on when its caller is told that this was too long.
	departureTimeout = 2 * time.Minute
	// commandTimeout is how long a deploy waits to read an image's command, where that is needed.
	commandTimeout = 5 * time.Second
)

// Lookup finds a function. One that is being deleted is not found. Memory only.
func (c *Cluster) Lookup(ref function.Ref) (*function.Function, bool) {
	r := c.records.get(ref)
	if r == nil || !c.served(ref, r) {
		return nil, false
	}
	return r.fn, true
}

// served reports whether a record is one of a function to its callers. One that was never seen to be valid is, if it runs:
// it was valid then, by the rules of that time.
func (c *Cluster) served(ref function.Ref, r *record) bool {
	if r.deleting || !r.salvaged {
		return !r.deleting
	}
	d := c.deployments.get(ref)
	return d != nil && d.record == r.uid
}

// All gives the functions of all namespaces, in no order. Memory only.
func (c *Cluster) All() []*function.Function { return c.List("") }

// List gives the functions of a namespace, or of all if it is empty, in no order. Memory only.
func (c *Cluster) List(namespace string) []*function.Function {
	var list []*function.Function
	c.records.each(namespace, func(ref function.Ref, r *record) {
		if c.served(ref, r) {
			list = append(list, r.fn)
		}
	})
	return list
}

// Endpoints gives the replicas that may be given work now. Memory only.
func (c *Cluster) Endpoints(ref function.Ref) []function.Endpoint { return c.table.endpoints(ref) }

// MarkReady takes the word of a pod, which the caller has verified, that it serves: it is an endpoint at once, before the
// kubelet has noticed. told is what it said of its start. It reports false if the watch has told of no such pod, or of one that ends.
// Memory only.
func (c *Cluster) MarkReady(ref function.Ref, id, pod, ip string, told function.Startup) bool {
	if !c.table.push(ref, types.UID(id), pod, ip) {
		return false
	}
	c.starts.pushed(ref, pod, told, time.Now())
	if p := c.pods.get(function.Ref{Name: pod, Namespace: ref.Namespace}); p != nil && p.claim != nil && c.cfg.Pool != nil {
		c.cfg.Pool.Serves(string(p.uid))
		signal(c.refill)
	}
	return true
}

// Create makes the record of a function. It returns once the record is written and visible to Lookup; the rest happens
// behind it. The error is ErrExists if the name is taken, or wraps ErrInvalid.
func (c *Cluster) Create(ctx context.Context, spec function.Spec) error {
	fn, err := c.check(ctx, spec)
	if err != nil {
		return err
	}
	o := objectOf(fn.Spec)
	o.Finalizers = []string{finalizer}
	err = c.create(ctx, o)
	if old := c.records.get(spec.Ref); errors.Is(err, function.ErrExists) && old != nil && old.deleting {
		// Deleted by somebody, and about to be gone: the name is as good as free.
		if err := c.await(ctx, c.departure(spec.Ref, string(old.uid))); err != nil {
			return fmt.Errorf("deploy %q over one that is being deleted: %w", spec.Name, err)
		}
		err = c.create(ctx, o)
	}
	if err == nil {
		c.log.Info("function deployed", "function", spec.Name, "namespace", spec.Namespace)
	}
	return err
}

func (c *Cluster) create(ctx context.Context, o *object) error {
	made := new(object)
	err := c.functions.Post().Namespace(o.Namespace).Resource(resourceFunctions).Body(o).Do(ctx).Into(made)
	if err != nil {
		return translate(err, "function", o.Name)
	}
	return c.records.observe(made)
}

// Update replaces what a function is, and restarts it even if nothing changed: a secret may have. How many replicas it has
// stays, unless a minimum is given. The error is ErrNotFound if there is none, or wraps ErrInvalid.
func (c *Cluster) Update(ctx context.Context, spec function.Spec) error {
	if _, ok := c.Lookup(spec.Ref); !ok {
		// Before anything else is said of it: clients create what they cannot update.
		o, err := c.getObject(ctx, spec.Ref)
		if err != nil {
			return err
		}
		if o.DeletionTimestamp != nil {
			return notFound(spec.Ref)
		}
	}
	fn, err := c.check(ctx, spec)
	if err != nil {
		return err
	}
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		o, err := c.getObject(ctx, spec.Ref)
		if err != nil {
			return err
		}
		if o.DeletionTimestamp != nil {
			return notFound(spec.Ref)
		}
		respecify(o, fn)
		written := new(object)
		err = c.functions.Put().Namespace(spec.Namespace).Resource(resourceFunctions).Name(spec.Name).Body(o).Do(ctx).Into(written)
		if err != nil {
			return err
		}
		return c.records.observe(written)
	})
	return translate(err, "function", spec.Name)
}

// respecify puts a new specification in a record.
func respecify(o *object, fn *function.Function) {
	replicas := o.Spec.Replicas
	o.Spec = objectOf(fn.Spec).Spec
	if n, err := strconv.Atoi(fn.Labels[function.LabelScaleMin]); err == nil && n > 0 {
		replicas = new(int32)
		*replicas = int32(fn.Policy.Scale.Initial())
	}
	o.Spec.Replicas = replicas
	if o.Annotations == nil {
		o.Annotations = make(map[string]string)
	}
	delete(o.Annotations, annotationScaled)
	o.Annotations[annotationRollout] = strconv.FormatInt(time.Now().UnixNano(), 10)
}

// Scale sets how many replicas a function is to have, within its bounds; 0 is always allowed. When it has returned,
// OnEndpoints has been told: after Scale to 0 no call need be given to a replica that is about to end.
func (c *Cluster) Scale(ctx context.Context, ref function.Ref, replicas int) error {
	return c.ScaleBecause(ctx, ref, replicas, "")
}

// ScaleBecause is Scale with a line that says why, which the function carries until the next.
func (c *Cluster) ScaleBecause(ctx context.Context, ref function.Ref, replicas int, why string) error {
	fn, ok := c.Lookup(ref)
	if !ok {
		return notFound(ref)
	}
	patch, err := scalePatch(fn, replicas, why)
	if err != nil {
		return err
	}
	written := new(object)
	err = c.functions.Patch(types.MergePatchType).Namespace(ref.Namespace).Resource(resourceFunctions).Name(ref.Name).
		Body(patch).Do(ctx).Into(written)
	if err != nil {
		return translate(err, "function", ref.Name)
	}
	if err := c.records.observe(written); err != nil {
		return err
	}
	// The watch may have been first, and not have come to this yet.
	c.table.mark(ref)
	c.table.told(ctx, ref)
	return nil
}

func scalePatch(fn *function.Function, replicas int, why string) ([]byte, error) {
	var scaled *string // null takes away what was said of another number
	if why != "" {
		scaled = &why
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": fn.ID, "annotations": map[string]any{annotationScaled: scaled}},
		"spec":     map[string]any{"replicas": fn.Policy.Scale.Clamp(replicas)},
	})
	if err != nil {
		return nil, fmt.Errorf("encode a number of replicas: %w", err)
	}
	return patch, nil
}

// Delete deletes a function and all that belongs to it, and returns once its name is free. Its last pods may still be
// finishing what was in flight. The error is ErrNotFound if there is none.
func (c *Cluster) Delete(ctx context.Context, ref function.Ref) error {
	o, err := c.identity(ctx, ref)
	if err != nil {
		return err
	}
	gone := c.departure(ref, string(o.uid))
	options := deletionOf(o.uid)
	err = c.functions.Delete().Namespace(ref.Namespace).Resource(resourceFunctions).Name(ref.Name).Body(&options).Do(ctx).Error()
	if err != nil {
		return translate(err, "function", ref.Name)
	}
	c.records.amend(ref, o.uid, func(r record) record {
		r.deleting = true
		return r
	})
	if err := c.await(ctx, gone); err != nil {
		return fmt.Errorf("delete %q: %w", ref.Name, err)
	}
	if o.deleting {
		return notFound(ref) // somebody else's delete was first
	}
	return nil
}

// identity finds the record of a function, in memory or, where memory may be behind, by asking.
func (c *Cluster) identity(ctx context.Context, ref function.Ref) (*record, error) {
	if r := c.records.get(ref); r != nil {
		return r, nil
	}
	o, err := c.getObject(ctx, ref)
	if err != nil {
		return nil, err
	}
	if err := c.records.observe(o); err != nil {
		return nil, err
	}
	return newRecord(o, nil), nil
}

func (c *Cluster) await(ctx context.Context, gone <-chan struct{}) error {
	timeout := time.NewTimer(departureTimeout)
	defer timeout.Stop()
	select {
	case <-gone:
		return nil
	case <-timeout.C:
		return fmt.Errorf("not gone after %s: %w", departureTimeout, context.DeadlineExceeded)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// check refuses what cannot be deployed, as far as that can be told without deploying it.
func (c *Cluster) check(ctx context.Context, spec function.Spec) (*function.Function, error) {
	fn, err := function.New(spec)
	if err != nil {
		return nil, err
	}
	if !c.Managed(spec.Namespace) {
		return nil, errUnmanaged(spec.Namespace)
	}
	if _, err := parseImage(spec.Image); err != nil {
		return nil, err
	}
	if err := checkResources(fn); err != nil {
		return nil, err
	}
	secrets, err := c.secretsOf(ctx, fn)
	if err != nil {
		return nil, err
	}
	if needsCommand(fn) {
		// Only here does a deploy wait for a registry. The reconciler gets the same answer from memory.
		ctx, cancel := context.WithTimeout(ctx, commandTimeout)
		defer cancel()
		_, pull := splitSecrets(secrets)
		if _, err := c.resolution(ctx, fn, "", pull); err != nil {
			return nil, err
		}
	}
	return fn, nil
}

// current tells the table which record pods have to belong to, and whether any are wanted.
func (c *Cluster) current(ref function.Ref) (uid types.UID, wanted bool) {
	r := c.records.get(ref)
	if r == nil {
		return "", false
	}
	return r.uid, !r.deleting && r.fn.Replicas > 0
}

func (c *Cluster) getObject(ctx context.Context, ref function.Ref) (*object, error) {
	if function.CheckName(ref.Name) != nil || function.CheckNamespace(ref.Namespace) != nil {
		return nil, notFound(ref) // nothing can have such a name, and some of them would lead to other resources
	}
	o := new(object)
	err := c.functions.Get().Namespace(ref.Namespace).Resource(resourceFunctions).Name(ref.Name).Do(ctx).Into(o)
	if err != nil {
		return nil, translate(err, "function", ref.Name)
	}
	return o, nil
}

// editFinalizers changes the finalizers of a record. If it was being deleted and none is left, it is gone.
func (c *Cluster) editFinalizers(ctx context.Context, ref function.Ref, r *record, edit func([]string) []string) error {
	version, list := r.version, append([]string{}, r.finalizers...)
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"uid": r.uid, "resourceVersion": version, "finalizers": edit(list),
		}})
		if err != nil {
			return fmt.Errorf("encode finalizers: %w", err)
		}
		o := new(object)
		err = c.functions.Patch(types.MergePatchType).Namespace(ref.Namespace).Resource(resourceFunctions).Name(ref.Name).
			Body(patch).Do(ctx).Into(o)
		if err == nil {
			if o.DeletionTimestamp != nil && len(o.Finalizers) == 0 {
				c.records.forget(ref, r.uid)
				return nil
			}
			return c.records.observe(o)
		}
		if apierrors.IsConflict(err) {
			// Whatever else changed, a status or a label, is no reason not to.
			fresh, getErr := c.getObject(ctx, ref)
			if getErr != nil {
				return getErr
			}
			if fresh.UID != r.uid {
				return notFound(ref)
			}
			version, list = fresh.ResourceVersion, fresh.Finalizers
			return err
		}
		return translate(err, "function", ref.Name)
	})
}

func notFound(ref function.Ref) error {
	return function.NotFoundf("function %q not found in namespace %q", ref.Name, ref.Namespace)
}
