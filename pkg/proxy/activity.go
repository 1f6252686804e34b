package proxy

import (
	"maps"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Load is what a function has to do.
type Load struct {
	// InFlight is how many calls are at an endpoint, Waiting how many wait for one.
	InFlight, Waiting int
	// LastActivity is when a call last came or ended; zero if none did.
	LastActivity time.Time
	// Started is how many calls have come, and CallTime how long all of them together have been here. Both begin at zero when
	// the function is deployed, or when this process begins.
	Started  uint64
	CallTime time.Duration
}

// passLocked has time pass until now, as far as it has not: calls that are here have been here for longer. It must come before
// their number changes.
func (l *Load) passLocked(now time.Time) {
	if calls := l.InFlight + l.Waiting; calls > 0 {
		// A time that was taken before the lock was may be older than the last one.
		l.CallTime += max(0, now.Sub(l.LastActivity)) * time.Duration(calls)
	}
	if now.After(l.LastActivity) {
		l.LastActivity = now
	}
}

// activity is what the proxy knows of a function while it exists: its endpoints and how they fare, the counts, the waiters.
// Only the list of endpoints may be lost, which the LRU of functions takes from those that were not called lately.
//
// One mutex guards all of it. It is held for well under a microsecond, twice in a call's life, and makes looking for an
// endpoint, holding it to its limit and counting the call one step, as it makes one step of a call's end and handing its
// place to the next waiter. Three counters that are exact each by itself would let a limit be passed between two of them.
type activity struct {
	mu   sync.Mutex
	load Load
	// limit is how many calls one endpoint is given at a time; 0 is no limit.
	limit int

	// slots are the endpoints, and leaving those that are listed no more and have a call.
	slots, leaving []*slot
	// known tells that slots are the endpoints of the record id; until, if it is not zero, is when they are read again.
	known bool
	id    string
	until time.Time
	// version counts changes, so that a list read without mu is not put over a newer one.
	version uint64

	// touched is when the LRU was last told of a call, zero if it forgot the function. evicted tells that the list is to be
	// dropped when it is not used any more.
	touched time.Time
	evicted bool

	queue queue
	stats stats
	// gone says that the function was forgotten and whoever holds this must get the activity anew.
	gone bool
}

// startLocked counts a call at an endpoint, and tells it so if it waited.
func (a *activity) startLocked(c *call, s *slot, now time.Time) {
	a.load.passLocked(now)
	a.load.InFlight++
	s.inFlight++
	c.trial = s.tryLocked()
	c.at, c.slot, c.placed = a, s, now
}

// endLocked is the opposite of startLocked, and gives what it frees to the next in the queue.
func (a *activity) endLocked(c *call, now time.Time) {
	a.load.passLocked(now)
	a.load.InFlight--
	c.slot.inFlight--
	if c.trial {
		c.slot.trying, c.trial = false, false
	}
	if c.slot.unlisted && c.slot.inFlight == 0 {
		a.leaveLocked(c.slot)
	}
	c.at, c.slot = nil, nil
	a.dispatchLocked(now)
	if a.evicted && !a.busyLocked() {
		a.dropListLocked()
	}
}

// end takes a call off the endpoint where it is, and counts it if this is its home.
func (a *activity) end(c *call, home bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if home {
		a.stats.recordLocked(c, now)
		c.home = nil
	}
	if c.at == a {
		a.endLocked(c, now)
	}
}

// queueLocked lets a call wait for its turn, unless depth calls wait already.
func (a *activity) queueLocked(c *call, depth int, now time.Time) bool {
	if a.queue.length >= depth {
		return false
	}
	a.queue.insert(c)
	c.queue = a
	a.load.passLocked(now)
	a.load.Waiting++
	return true
}

// unqueueLocked takes a call out of the queue.
func (a *activity) unqueueLocked(c *call, now time.Time) {
	a.queue.remove(c)
	a.load.passLocked(now)
	a.load.Waiting--
}

// dispatchLocked gives free places to those who wait, in the order in which they came. It must follow whatever may have
// freed one, so that no call which comes afterwards finds a place that somebody waits for.
func (a *activity) dispatchLocked(now time.Time) {
	for c := a.queue.first; c != nil; {
		next := c.next
		s := a.pickLocked(c.refused, now)
		switch {
		case s != nil:
			a.unqueueLocked(c, now)
			a.startLocked(c, s, now)
			c.nudge()
		case len(c.refused) == 0:
			return // and nobody behind finds more
		}
		c = next
	}
}

// busyLocked reports whether the endpoints are of use now, or must be remembered as retired.
func (a *activity) busyLocked() bool {
	if a.load.InFlight > 0 || a.load.Waiting > 0 {
		return true
	}
	for _, s := range a.slots {
		if s.retired {
			return true
		}
	}
	return false
}

// activities holds the activity of every function that was called since it was deployed.
type activities struct {
	mu sync.RWMutex
	of map[function.Ref]*activity
	// hits and misses are those of functions that were dropped, so that the sum of all never falls.
	hits, misses uint64
}

// snapshot lists all activities, and gives the hits and misses of those that were dropped before.
func (s *activities) snapshot() (all map[function.Ref]*activity, hits, misses uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.of), s.hits, s.misses
}

// find returns the activity of a function, or nil.
func (s *activities) find(ref function.Ref) *activity {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.of[ref]
}

// lock returns the activity of a function, made if need be, with its mu held.
func (s *activities) lock(ref function.Ref) *activity {
	for {
		a := s.find(ref)
		if a == nil {
			a = s.make(ref)
		}
		a.mu.Lock()
		if !a.gone {
			return a
		}
		a.mu.Unlock()
	}
}

func (s *activities) make(ref function.Ref) *activity {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.of[ref]
	if a == nil {
		a = &activity{}
		s.of[ref] = a
	}
	return a
}

// drop forgets a function. Calls in flight end on the activity that they began on; waiters are woken, to find out.
func (s *activities) drop(ref function.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.of[ref]; a != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		s.dropLocked(ref, a)
	}
}

// dropUnused is drop for a function that has no call in flight.
func (s *activities) dropUnused(ref function.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.of[ref]; a != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.load.InFlight == 0 {
			s.dropLocked(ref, a)
		}
	}
}

// dropLocked needs the mu of both.
func (s *activities) dropLocked(ref function.Ref, a *activity) {
	delete(s.of, ref)
	a.gone = true
	for _, s := range a.slots {
		s.closeIdle()
	}
	s.hits += a.stats.hits
	s.misses += a.stats.misses
	for a.queue.first != nil {
		c := a.queue.first
		a.queue.remove(c)
		c.nudge()
	}
	a.load.Waiting = 0
}
