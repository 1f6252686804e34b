package proxy

import (
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// call is one call of a function: where it is counted, where it has been, and what ends it. It belongs to one goroutine,
// except while it is in a queue: then the queue's activity may put it at an endpoint.
type call struct {
	p *Proxy
	f *function.Function
	// came is when the call came; waitUntil is when a wait for an endpoint ends.
	came, waitUntil time.Time

	// queue is the activity in whose queue the call was put, or nil. While it is set that activity's mu guards the fields
	// below.
	queue *activity
	// queued is false once the call was taken out of the queue; previous and next are its neighbours there.
	queued         bool
	previous, next *call
	// look gets a word when a waiter has something to look at: a place, or a change.
	look chan struct{}
	// refused are the endpoints that could not be reached since the last change.
	refused []*slot
	// pause is how long to wait at first before they are tried again.
	pause time.Duration
	// at is where the call is counted as in flight, or nil, slot is its endpoint there, and placed is since when. trial is
	// set if the endpoint's ejection depends on this call.
	at     *activity
	slot   *slot
	placed time.Time
	trial  bool

	// ahead is how much of the proxy's budget for bodies the call has.
	ahead int64
	// home is where the call was counted when it came, and is when it ends; nil before and after.
	home *activity
	// status is that of the answer, or of the error in its place.
	status int
	// phases are how long the call was in each.
	phases [phases]time.Duration
	// cold tells where the time went if the call waited for its endpoint to start, once that has answered; else nil.
	cold *coldStart
	// entry is for the access log, or nil.
	entry *accessEntry
}

func (p *Proxy) newCall(f *function.Function, now time.Time) *call {
	c := new(call)
	c.begin(p, f, now)
	return c
}

// begin makes a zero call one of f that came now.
func (c *call) begin(p *Proxy, f *function.Function, now time.Time) {
	c.p, c.f, c.came, c.waitUntil, c.pause = p, f, now, now.Add(p.cfg.WakeTimeout), firstPause
}

// run makes the call: it finds an endpoint and sends the request there by w, again and again until one is reached. The call is
// counted until end. The error is for the caller, who has no answer.
func (c *call) run(w way) error {
	err := c.attempts(w)
	if err != nil {
		c.status = c.p.cfg.Status(err)
		if c.entry != nil {
			c.entry.err = err
		}
	}
	return err
}

func (c *call) attempts(w way) error {
	for now := c.came; ; now = time.Now() {
		if err := c.acquire(w, now); err != nil {
			return err
		}
		if c.entry != nil {
			c.entry.endpoint = c.slot.endpoint
		}
		o := w.attempt(c)
		switch {
		case o.ended != nil:
			return o.ended
		case o.failed == nil:
			return nil
		}
		at := c.slot
		c.failed()
		if !o.again {
			return unreachable(c.f.Ref, o.failed)
		}
		c.refused, c.pause = append(c.refused, at), pauseAfter(o.failed)
	}
}

// answered notes that the endpoint has answered.
func (c *call) answered(status int) {
	c.status = status
	if c.phases[phaseWake] > 0 {
		c.splitWait(time.Now())
	}
	if c.slot.failures.Load() == 0 {
		return
	}
	a := c.at
	a.mu.Lock()
	defer a.mu.Unlock()
	c.slot.absolveLocked()
	a.dispatchLocked(time.Now())
}

// failed takes a call off an endpoint that it could not reach, or that broke off.
func (c *call) failed() {
	a, s, now := c.at, c.slot, time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.failures.Add(1) >= ejectAfter || c.trial && s.ejected {
		a.ejectLocked(s, now)
	}
	a.endLocked(c, now)
}

// keeps takes room for a body of so many bytes that is to be read before there is an endpoint. It is given back by end.
func (c *call) keeps(bytes int64) bool {
	if c.ahead == 0 && c.p.ahead.take(bytes) {
		c.ahead = bytes
	}
	return c.ahead > 0
}

// end takes back all that the call holds. It may be called again.
func (c *call) end() {
	if c.ahead > 0 {
		c.p.ahead.give(c.ahead)
		c.ahead = 0
	}
	if c.at != nil && c.at != c.home { // the function was forgotten and is there again
		c.at.end(c, false)
	}
	if c.home != nil {
		c.home.end(c, true)
	}
	if c.entry != nil {
		c.entry.logCall(c.p.cfg.AccessLog, c, time.Now())
		c.entry = nil
	}
}
