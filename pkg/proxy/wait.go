package proxy

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// firstPause and lastPause bound the wait before endpoints that refused connections are tried again without a change:
	// a process that crashed and is back before its readiness was seen to be lost causes none.
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
	// silentPause is that pause where an endpoint did not even refuse, as one does not whose node is lost. To connect would take as long
	// again, in which the call would not see the replica that takes its place: a look at the node takes a second, a claim half of one.
	silentPause = 2 * time.Second
	// retiredFor is how long a waiter whose wake is under way lets retired endpoints go unused that are listed still. If
	// a wake overtook the going to zero they never left, and no change will tell.
	retiredFor = 2 * time.Second
)

var errWaitedTooLong = errors.New("wake deadline passed")

// acquire counts the call at an endpoint, at once or after a wait.
func (c *call) acquire(w way, now time.Time) error {
	placed, o, err := c.place(now)
	if placed || err != nil {
		return err
	}
	defer c.leave()
	for pause := c.pause; !placed; pause = max(c.pause, min(2*pause, lastPause)) {
		err := c.await(w, o, pause)
		since, phase := now, o.phase()
		now = time.Now()
		c.phases[phase] += now.Sub(since)
		if err != nil {
			return err
		}
		if placed, o, err = c.place(now); err != nil {
			return err
		}
		if placed && c.placed.After(since) {
			c.phases[phase] -= now.Sub(c.placed) // it had its place before it looked
		}
	}
	return nil
}

// pauseAfter is how long a call waits that could not reach an endpoint, if no other comes.
func pauseAfter(failed error) time.Duration {
	if silent := net.Error(nil); errors.As(failed, &silent) && silent.Timeout() {
		return silentPause
	}
	return firstPause
}

// await returns nil when it is worth looking again.
func (c *call) await(w way, o outlook, pause time.Duration) error {
	ctx, cancel := context.WithDeadlineCause(w.caller(), c.waitUntil, errWaitedTooLong)
	defer cancel()
	// The call is counted as waiting by now. A Quiesce that did not see it came before, and what Lookup and Wake find here
	// includes what followed from that.
	var patience time.Duration
	if !o.busy {
		if err := c.wake(ctx); err != nil {
			return c.giveUp(ctx, o, err)
		}
		why, in := c.p.cfg.Stuck(c.f.Ref)
		if why != "" && in <= 0 {
			return noEndpoint(c.f.Ref, why, nil)
		}
		patience = in
	}
	if err := w.readAhead(c.waitUntil); err != nil {
		return err
	}
	if err := c.sleep(ctx, o, pause, patience); err != nil {
		return c.giveUp(ctx, o, err)
	}
	return nil
}

// place counts the call at an endpoint, or else as waiting for one, in one step with looking.
func (c *call) place(now time.Time) (placed bool, o outlook, err error) {
	a, hit := c.lockActivity(now)
	defer a.mu.Unlock()
	if c.home == nil {
		c.home = a
		a.stats.countLocked(hit)
	}
	if c.queue == nil {
		if len(c.refused) > 0 {
			a.stats.retried++
		}
		a.limit = c.f.Policy.MaxInFlight
		if a.queue.first == nil {
			if s := a.pickLocked(c.refused, now); s != nil {
				a.startLocked(c, s, now)
				return true, outlook{}, nil
			}
		}
		if c.look == nil {
			c.look = make(chan struct{}, 1)
		}
		if !a.queueLocked(c, c.p.cfg.QueueDepth, now) {
			a.stats.rejected++
			return false, outlook{}, queueFull(c.f.Ref, a.queue.length)
		}
	} else if c.queued {
		c.refused = nil // it waited, and may try them again
	}
	a.dispatchLocked(now)
	if !c.queued {
		c.queue = nil
		return true, outlook{}, nil
	}
	return false, a.outlookLocked(c.refused), nil
}

// lockActivity returns the activity of the call's function with its mu held. If the call was put in a queue, and is there
// still or was given a place, it is that queue's.
func (c *call) lockActivity(now time.Time) (a *activity, hit bool) {
	for {
		if c.queue == nil {
			return c.p.lockEndpoints(c.f, now)
		}
		c.queue.mu.Lock()
		if !c.queue.gone || c.slot != nil {
			return c.queue, true
		}
		// The function was forgotten, and everybody sent out of its queue.
		c.queue.mu.Unlock()
		c.queue = nil
	}
}

// nudge tells a waiter to look.
func (c *call) nudge() {
	select {
	case c.look <- struct{}{}:
	default: // it has not looked since the last time
	}
}

// nudgeLocked tells all waiters that something has changed.
func (a *activity) nudgeLocked() {
	for c := a.queue.first; c != nil; c = c.next {
		c.nudge()
	}
}

// wake looks the function up anew, because it may have been deleted, replaced or sent to zero since, and wakes it.
func (c *call) wake(ctx context.Context) error {
	f, ok := c.p.cfg.Lookup(c.f.Ref)
	if !ok {
		// If this call came while the function was deleted, it made an activity after Forget. If the function is there
		// again already, that may be the new one's and in use.
		c.p.activities.dropUnused(c.f.Ref)
		return notFound(c.f.Ref)
	}
	c.f = f
	return c.p.cfg.Wake(ctx, f)
}

// sleep returns nil when it is worth looking again. patience is after what time that is so though nothing changes, or 0.
func (c *call) sleep(ctx context.Context, o outlook, pause, patience time.Duration) error {
	var again, stuck <-chan time.Time
	if patience > 0 {
		stuck = time.After(patience)
	}
	switch {
	case o.refused:
		again = time.After(pause)
	case !o.ejected.IsZero():
		again = time.After(time.Until(o.ejected))
	case o.retired && !o.busy:
		again = time.After(retiredFor)
	}
	select {
	case <-c.look:
	case <-stuck:
	case <-again:
		if o.retired && !o.busy && !o.refused {
			c.p.Resume(c.f.Ref)
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// giveUp tells why the wait ended: the deadline, the caller, or else err.
func (c *call) giveUp(ctx context.Context, o outlook, err error) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errWaitedTooLong) && o.busy:
		return queueTooSlow(c.f.Ref)
	case errors.Is(cause, errWaitedTooLong):
		return noEndpoint(c.f.Ref, c.p.cfg.Reason(c.f.Ref), nil)
	case cause != nil:
		return canceled(cause)
	case errors.Is(err, function.ErrNotFound):
		return notFound(c.f.Ref)
	default:
		return noEndpoint(c.f.Ref, c.p.cfg.Reason(c.f.Ref), err)
	}
}

// leave takes the call out of its queue, if it is in one, and gives back the place that it may have got as it left.
func (c *call) leave() {
	a := c.queue
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if c.queued {
		a.unqueueLocked(c, now)
	} else if c.slot != nil {
		a.endLocked(c, now)
	}
	c.queue = nil
}
