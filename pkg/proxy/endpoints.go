package proxy

import (
	"slices"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// emptyFor is how long an empty list is believed. Events replace it at once; the limit is for an event that never came.
	emptyFor = time.Second
	// touchEvery is how often the LRU is told that a function is called. Its order is no better than that, and a call does
	// not need its lock, which all functions share.
	touchEvery = time.Second
)

// knows reports whether the endpoints of the record id are known.
func (a *activity) knows(id string, now time.Time) bool {
	return a.known && a.id == id && (a.until.IsZero() || now.Before(a.until))
}

// setLocked replaces the endpoints. One that stays keeps its calls and its history; one that comes begins anew, but has the
// calls that it still had when it left.
func (a *activity) setLocked(id string, list []function.Endpoint, now time.Time) {
	before := make(map[function.Endpoint]*slot, len(a.slots)+len(a.leaving))
	for _, s := range a.leaving {
		before[s.endpoint] = s
	}
	for _, s := range a.slots {
		before[s.endpoint] = s
		s.unlisted = true
	}
	slots := make([]*slot, 0, len(list))
	for _, e := range list {
		s := before[e]
		switch {
		case s == nil:
			s = &slot{endpoint: e}
			before[e] = s
		case !s.unlisted:
			continue // it is listed twice
		case slices.Contains(a.leaving, s):
			s.absolveLocked()
		}
		s.unlisted = false
		slots = append(slots, s)
	}
	a.leaving = nil
	for _, s := range before {
		if s.unlisted {
			s.closeIdle()
		}
		if s.unlisted && s.inFlight > 0 {
			a.leaving = append(a.leaving, s)
		}
	}
	a.slots, a.known, a.id, a.until = slots, true, id, time.Time{}
	if len(list) == 0 {
		a.until = now.Add(emptyFor)
	}
	a.version++
	a.dispatchLocked(now)
}

// leaveLocked drops an endpoint that has left and has no call any more.
func (a *activity) leaveLocked(s *slot) {
	s.closeIdle()
	if i := slices.Index(a.leaving, s); i >= 0 {
		a.leaving = slices.Delete(a.leaving, i, i+1)
	}
}

// dropListLocked forgets the endpoints, of which none is in use.
func (a *activity) dropListLocked() {
	for _, s := range a.slots {
		s.closeIdle()
	}
	a.slots, a.known, a.evicted = nil, false, false
}

// SetEndpoints replaces the endpoints of the function that ref and id name, and lets waiters look again. It is meant for
// events, and must be called after Config.Endpoints gives the same list, in order for each function.
func (p *Proxy) SetEndpoints(ref function.Ref, id string, list []function.Endpoint) {
	// Of a function that nobody has called, or not lately, the next call reads the list: those cost nothing.
	a := p.activities.find(ref)
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return
	}
	if !a.known && a.load.Waiting == 0 {
		a.version++
		return
	}
	a.setLocked(id, list, time.Now())
	a.nudgeLocked()
}

// lockEndpoints returns f's activity with its mu held and f's endpoints in it: those that it has, or else those that memory
// has, which is a miss. A list read meanwhile is dropped if an event was faster.
func (p *Proxy) lockEndpoints(f *function.Function, now time.Time) (a *activity, hit bool) {
	for hit = true; ; hit = false {
		a = p.activities.lock(f.Ref)
		if now.Sub(a.touched) >= touchEvery {
			a.touched, a.evicted = now, false
			a.mu.Unlock()
			p.cache.Add(f.Ref, a) // evicts another, whose mu that takes
			a = p.activities.lock(f.Ref)
		}
		if a.knows(f.ID, now) {
			return a, hit
		}
		version := a.version
		a.mu.Unlock()

		list := p.cfg.Endpoints(f.Ref)

		a.mu.Lock()
		if !a.gone && a.version == version {
			a.setLocked(f.ID, list, now)
			return a, false
		}
		a.mu.Unlock()
	}
}

// evict is the LRU's: a function has to give up its list. It is called without a lock held.
func (p *Proxy) evict(_ function.Ref, a *activity) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.touched = time.Time{}
	if a.evicted = a.busyLocked(); !a.evicted {
		a.dropListLocked()
	}
}

// Forget drops all that is kept of a function. Calls in flight go on; waiters end with function.ErrNotFound unless the
// function is there again.
func (p *Proxy) Forget(ref function.Ref) {
	p.activities.drop(ref)
	p.cache.Remove(ref)
}
