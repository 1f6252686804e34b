package proxy

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// firstPause and lastPause bound the wait before endpoints that refused connections are tried again without a change:
	// a process that crashed and is back before its readiness was seen to be lost causes none.
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
	// retiredFor is how long a waiter whose wake is under way lets retired endpoints go unused that are listed still. If
	// a wake overtook the going to zero they never left, and no change will tell.
	retiredFor = 2 * time.Second
)

var errWaitedTooLong = errors.New("wake deadline passed")

// placement is the outcome of looking for an endpoint.
type placement struct {
	endpoint function.Endpoint
	ok       bool
	// changed is closed when it is worth looking again.
	changed <-chan struct{}
	// refused and retired tell that there are endpoints which the call does not use.
	refused, retired bool
}

// place counts the call at an endpoint, or else as waiting, in one step with looking.
func (c *call) place() placement {
	a, list := c.p.lockEndpoints(c.f)
	defer a.mu.Unlock()
	var at placement
	if len(a.retired) > 0 || len(c.refused) > 0 {
		list = slices.DeleteFunc(slices.Clone(list), func(e function.Endpoint) bool {
			retired, refused := a.retired[e], slices.Contains(c.refused, e)
			at.retired, at.refused = at.retired || retired, at.refused || refused
			return retired || refused
		})
	}
	now := time.Now()
	if len(list) == 0 {
		if c.queue != a { // one that was forgotten is read by nobody
			c.queue = a
			a.queueLocked(now)
		}
		at.changed = a.watchLocked()
		return at
	}
	if c.queue == a {
		a.unqueueLocked(now)
	}
	c.queue = nil
	at.ok, at.endpoint = true, pick(list, a.inFlight)
	a.startLocked(at.endpoint.Address, now)
	c.at, c.address = a, at.endpoint.Address
	return at
}

// acquire counts the call at an endpoint, at once or after a wait.
func (c *call) acquire(ctx context.Context, body *sentBody) (function.Endpoint, error) {
	at := c.place()
	if at.ok {
		return at.endpoint, nil
	}
	defer c.stopWaiting()
	caller := ctx
	ctx, cancel := context.WithDeadlineCause(caller, c.waitUntil, errWaitedTooLong)
	defer cancel()
	for pause := firstPause; !at.ok; pause = min(2*pause, lastPause) {
		// The call is counted as waiting by now. A Quiesce that did not see it came before, and what Lookup and Wake find
		// here includes what followed from that.
		if err := c.wake(ctx); err != nil {
			return function.Endpoint{}, c.giveUp(ctx, err)
		}
		if err := body.readAhead(c.waitUntil); err != nil {
			return function.Endpoint{}, bodyFailure(caller, err)
		}
		if err := c.sleep(ctx, at, pause); err != nil {
			return function.Endpoint{}, c.giveUp(ctx, err)
		}
		at = c.place()
	}
	return at.endpoint, nil
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

// sleep returns nil when it is worth looking again.
func (c *call) sleep(ctx context.Context, at placement, pause time.Duration) error {
	var again <-chan time.Time
	switch {
	case at.refused:
		again = time.After(pause)
	case at.retired:
		again = time.After(retiredFor)
	}
	select {
	case <-at.changed:
	case <-again:
		if !at.refused {
			c.p.Resume(c.f.Ref)
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	c.refused = nil
	return nil
}

// giveUp tells why the wait ended: the deadline, the caller, or else err.
func (c *call) giveUp(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
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

// stopWaiting takes the call out of its queue, if it is in one.
func (c *call) stopWaiting() {
	if c.queue == nil {
		return
	}
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	c.queue.unqueueLocked(time.Now())
	c.queue = nil
}
