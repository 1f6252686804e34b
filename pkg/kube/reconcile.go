package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	retryMin = 50 * time.Millisecond
	retryMax = 30 * time.Second
	// settle is how long a change of pods waits before the status is written, so that one write tells of several.
	settle = 200 * time.Millisecond
	// statusPause is how long the status of a function that was woken may wait for the pods that come up for calls.
	statusPause = 2 * time.Second
	// roundTimeout bounds one round for one function.
	roundTimeout = time.Minute
)

// The events that have a function looked at. All do the same: what is to be done is told by what is there.

func (c *Cluster) recordChanged(ref function.Ref, before, after *record) {
	if after == nil || before != nil && before.uid != after.uid {
		c.departed(string(before.uid))
	}
	switch {
	case after == nil || after.fn.Replicas == 0:
		c.starts.forget(ref, "")
	case before == nil || before.fn.Replicas == 0:
		c.starts.mark(ref, "", function.PhaseRecord, time.Now())
	}
	c.index.update(ref, c.records.get)
	c.table.mark(ref)
	if pullsDiffer(before, after) {
		signal(c.pulls.changed)
	}
	c.cfg.OnProblem(ref)
	if after == nil || before == nil || before.generation != after.generation || before.rollout != after.rollout ||
		before.uid != after.uid || before.deleting != after.deleting {
		c.rounds().Add(ref)
	}
}

func (c *Cluster) podChanged(key function.Ref, before, after *pod) {
	now := c.pods.get(key)
	for _, p := range []*pod{before, after} {
		if p == nil {
			continue
		}
		if now != nil && now.function == p.function {
			if !now.ending {
				c.starts.observe(p.function, key.Name, now, time.Now())
			}
			c.table.set(p.function, key.Name, now)
		} else {
			c.starts.forget(p.function, key.Name)
			c.table.set(p.function, key.Name, nil)
		}
		c.cfg.OnProblem(p.function)
		c.rounds().AddAfter(p.function, settle)
	}
}

func (c *Cluster) deploymentChanged(ref function.Ref, before, after *deployment) {
	c.cfg.OnProblem(ref)
	if before != nil && after != nil {
		c.rounds().AddAfter(ref, settle)
		return
	}
	c.rounds().Add(ref)
}

func (c *Cluster) serviceChanged(ref function.Ref, _, after *service) {
	if after == nil {
		c.rounds().Add(ref)
	}
}

// work reconciles one function after another until its queue is shut down.
func (c *Cluster) work(ctx context.Context, q refQueue) {
	for {
		ref, shutdown := q.Get()
		if shutdown {
			return
		}
		c.round(ctx, q, ref)
		q.Done(ref)
	}
}

func (c *Cluster) round(ctx context.Context, q refQueue, ref function.Ref) {
	limited, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	err := c.reconcile(limited, ref)
	switch {
	case err == nil:
		q.Forget(ref)
	case ctx.Err() != nil: // we are to end
	case errors.Is(err, function.ErrInvalid):
		// Said in the function's status; it is looked at again, since a missing secret may come.
		q.AddRateLimited(ref)
	default:
		c.log.Warn("reconciling will be tried again", "function", ref.Name, "namespace", ref.Namespace, "err", err)
		q.AddRateLimited(ref)
	}
}

// reconcile compares what a record asks for with what is there, and acts on the difference.
func (c *Cluster) reconcile(ctx context.Context, ref function.Ref) error {
	r := c.records.get(ref)
	if err := c.sweep(ctx, ref, r); err != nil {
		return err
	}
	switch {
	case r == nil:
		return nil
	case r.deleting:
		return c.finalize(ctx, ref, r)
	}
	o, err := c.apply(ctx, ref, r)
	if err != nil && !errors.Is(err, function.ErrInvalid) {
		o.waiting = oneLine(err.Error())
	}
	if errors.Is(err, function.ErrInvalid) {
		o.mend = err.Error()
	}
	// The record may have changed meanwhile, by ourselves if by nobody else. Another one of that name has its own round.
	uid, generation := r.uid, r.generation
	if r = c.records.get(ref); r == nil || r.deleting || r.uid != uid {
		return nil
	}
	if o.image == nil {
		o.image = r.status.image
	}
	o.unclaimable = c.unclaimable(ctx, r, o.image)
	o.pulled = c.pulls.of(ctx, ref, r, o.image)
	// No event tells that something did not happen.
	if next := nextTrouble(c.table.podsOf(ref), r.uid, time.Now()); next > 0 {
		c.rounds().AddAfter(ref, next)
	}
	s := c.judge(ref, r, o)
	s.observed = generation // what was asked for since has another round
	if left := c.statusWaits(ref, r, o, time.Now()); left > 0 && err == nil {
		c.rounds().AddAfter(ref, left)
		return nil
	}
	return errors.Join(err, c.writeStatus(ctx, ref, r, s))
}

// statusWaits is how long the status of a function that was woken still waits: to write it takes as much of the control plane as the
// claim itself does, beside pods for which calls wait, and once it serves there is more to say. What is wrong waits for nothing.
func (c *Cluster) statusWaits(ref function.Ref, r *record, o outcome, now time.Time) time.Duration {
	if !o.claimed {
		return 0
	}
	var left time.Duration
	for _, p := range c.claims(ref, r.uid) {
		left = max(left, statusPause-now.Sub(p.claim.since))
	}
	if left <= 0 || !c.waking(now) {
		return 0
	}
	return min(left, statusPause) // a claim's time may be another machine's
}

// apply makes what the record asks for. An error that wraps ErrInvalid is for a user to mend.
func (c *Cluster) apply(ctx context.Context, ref function.Ref, r *record) (o outcome, err error) {
	if r.problem != "" {
		return outcome{mend: r.problem}, nil
	}
	if !c.Managed(ref.Namespace) {
		return outcome{mend: errUnmanaged(ref.Namespace).Error()}, nil
	}
	if r, err = c.claim(ctx, ref, r); err != nil {
		return o, err
	}
	if err := c.prepare(ctx, r); err != nil {
		return o, err
	}
	if r.fn.Replicas == 0 {
		c.unsteady(r.uid)
		c.unrescue(r.uid)
		if err := c.removeWorkload(ctx, ref, r.uid); err != nil {
			return o, err
		}
		return c.lookAhead(ctx, r), nil
	}
	c.rescue(ctx, ref, r)
	if c.servedByClaims(ctx, ref, r) {
		return outcome{image: r.resolved(), claimed: true}, errors.Join(c.trimClaims(ctx, ref, r), c.resizeClaims(ctx, ref, r))
	}
	if o, err = c.ensureWorkload(ctx, ref, r); err != nil {
		return o, err
	}
	return o, c.dropClaims(ctx, ref, r)
}

// lookAhead finds out what the next wake of a function at zero will have to know of its image, where a spare may serve that
// wake, or where the nodes are to pull it. What it does not find out then is found out by the wake.
func (c *Cluster) lookAhead(ctx context.Context, r *record) (o outcome) {
	claims := c.cfg.Pool != nil && unclaimableAsAsked(r.fn, c.cfg.Pool.Limits) == ""
	if r.resolved() != nil || !claims && !c.cfg.PrePull {
		return o
	}
	p, err := c.plan(ctx, r)
	if err == nil {
		o.image = p.image
	}
	return o
}

// claim puts our finalizer on a record that was not made by us.
func (c *Cluster) claim(ctx context.Context, ref function.Ref, r *record) (*record, error) {
	if slices.Contains(r.finalizers, finalizer) {
		return r, nil
	}
	err := c.editFinalizers(ctx, ref, r, func(list []string) []string {
		if slices.Contains(list, finalizer) {
			return list
		}
		return append(list, finalizer)
	})
	if err != nil {
		return nil, err
	}
	if claimed := c.records.get(ref); claimed != nil && claimed.uid == r.uid {
		return claimed, nil
	}
	return nil, fmt.Errorf("record is gone: %w", function.ErrConflict)
}

// prepare calls OnDeploy once for every policy of a record.
func (c *Cluster) prepare(ctx context.Context, r *record) error {
	c.mu.Lock()
	policy, done := c.prepared[r.fn.ID]
	c.mu.Unlock()
	if done && policy == r.fn.Policy {
		return nil
	}
	if err := c.cfg.OnDeploy(ctx, r.fn); err != nil {
		return fmt.Errorf("prepare the deployment: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prepared[r.fn.ID] = r.fn.Policy
	return nil
}

// finalize takes away all that belongs to a record that is being deleted, and then the record.
func (c *Cluster) finalize(ctx context.Context, ref function.Ref, r *record) error {
	if !slices.Contains(r.finalizers, finalizer) {
		return nil // we never had it, or have let go of it
	}
	if err := c.removeWorkload(ctx, ref, r.uid); err != nil {
		return err
	}
	if err := c.cfg.OnDelete(ctx, r.fn); err != nil {
		return fmt.Errorf("delete what belongs to the function: %w", err)
	}
	err := c.editFinalizers(ctx, ref, r, func(list []string) []string {
		return slices.DeleteFunc(list, func(f string) bool { return f == finalizer })
	})
	if err != nil && !errors.Is(err, function.ErrNotFound) {
		return err
	}
	c.log.Info("function deleted", "function", ref.Name, "namespace", ref.Namespace)
	return nil
}

// sweep removes what belongs to other records than the current one, if there is one: Kubernetes' controllers, working from
// caches of their own, may have made a pod just after we had deleted its siblings, and a request that was cut off may have
// been carried out.
func (c *Cluster) sweep(ctx context.Context, ref function.Ref, r *record) error {
	strays := make(map[types.UID]bool)
	for _, p := range c.table.podsOf(ref) {
		if !p.ending {
			strays[p.record] = true
		}
	}
	if d := c.deployments.get(ref); d != nil {
		strays[d.record] = true
	}
	if s := c.services.get(ref); s != nil {
		strays[s.record] = true
	}
	delete(strays, "") // somebody else's
	if r != nil {
		delete(strays, r.uid)
	}
	if len(strays) == 0 {
		return nil
	}
	current, err := c.getObject(ctx, ref)
	switch {
	case errors.Is(err, function.ErrNotFound):
	case err != nil:
		return err
	case strays[current.UID]:
		return c.records.observe(current) // it is our cache that is behind
	}
	for uid := range strays {
		if err := c.removeWorkload(ctx, ref, uid); err != nil {
			return err
		}
	}
	return nil
}

// departed tells whoever waits for a record to be gone.
func (c *Cluster) departed(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.prepared, id)
	delete(c.woken, types.UID(id))
	delete(c.steady, types.UID(id))
	delete(c.given, types.UID(id))
	delete(c.unfits, types.UID(id))
	delete(c.rescues, types.UID(id))
	if gone := c.departures[id]; gone != nil {
		close(gone)
		delete(c.departures, id)
	}
}

// departure returns a channel that is closed when the record with that identity is gone.
func (c *Cluster) departure(ref function.Ref, id string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	gone := c.departures[id]
	if gone == nil {
		gone = make(chan struct{})
		// Under the lock, so that a departure between the look and the note is not missed.
		if r := c.records.get(ref); r == nil || string(r.uid) != id {
			close(gone)
			return gone
		}
		c.departures[id] = gone
	}
	return gone
}
