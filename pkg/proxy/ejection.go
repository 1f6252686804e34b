package proxy

import (
	"sync/atomic"
	"time"
)

const (
	// ejectAfter is how many calls in a row an endpoint must fail to be ejected: one may be the call's own fault, and a
	// refused one costs little.
	ejectAfter = 3
	// firstEjection doubles with each ejection, up to lastEjection. A container that crashed is back in a second or so. A
	// node that is gone costs each trial the dial timeout, and its endpoints leave the set after some 40 s.
	firstEjection = time.Second
	lastEjection  = time.Minute
)

// health is how an endpoint has fared: a circuit breaker with its three states, closed, open and half-open.
//
//	sound ── ejectAfter failures in a row, and another is sound ──► ejected ── time is over ──► on trial
//	  ▲ ▲                                                              ▲                          │ │ one call
//	  │ └── all others are ejected too ────────────────────────────────┤◄───────── failure ───────┘ │
//	  └────────────────────────────────────────────────────────────────┼───────── answer ───────────┘
//
// A failure is a connection that could not be made, or broke before the answer's headers came. An answer is none, whatever
// its status, for the function gave it. Nor is a deadline that passed: an endpoint that hangs has more calls in flight than
// the others and is shunned for that, and a function that is slow is so everywhere.
type health struct {
	// failures counts those in a row. It is changed with mu held and read without, so that an answer from an endpoint which
	// never failed needs no lock.
	failures atomic.Int32
	// ejected endpoints are not sound; until is when the ejection, or the last one, ends.
	ejected bool
	until   time.Time
	// ejections is how often it was ejected without a long time in between.
	ejections int
	// trying tells that the trial's call is under way.
	trying bool
}

// admits reports whether the endpoint may have a call.
func (h *health) admits(now time.Time) bool {
	return !h.ejected || !h.trying && !now.Before(h.until)
}

// tryLocked notes that a call is given to the endpoint, and reports whether that is its trial.
func (h *health) tryLocked() bool {
	h.trying = h.ejected
	return h.trying
}

func (h *health) absolveLocked() {
	h.failures.Store(0)
	h.ejected, h.trying = false, false
}

func (h *health) ejectLocked(now time.Time) {
	if now.Sub(h.until) > lastEjection {
		h.ejections = 0
	}
	pause := lastEjection
	if h.ejections < 6 { // 2^6 s is above a minute
		pause = min(firstEjection<<h.ejections, lastEjection)
	}
	h.ejections++
	h.ejected, h.until = true, now.Add(pause)
}

// ejectLocked ejects an endpoint if another is sound. If none is, it is no outlier: whatever is wrong is wrong with all,
// and those that were ejected before may be the better ones by now.
func (a *activity) ejectLocked(s *slot, now time.Time) {
	if s.ejected && now.Before(s.until) {
		return // by another call that failed
	}
	for _, other := range a.slots {
		if other != s && !other.retired && !other.ejected {
			s.ejectLocked(now)
			a.stats.ejected++
			return
		}
	}
	a.absolveAllLocked()
}

// absolveAllEjectedLocked ends all ejections when those that were sound have left.
func (a *activity) absolveAllEjectedLocked() {
	for _, s := range a.slots {
		if !s.retired && !s.ejected {
			return
		}
	}
	a.absolveAllLocked()
}

func (a *activity) absolveAllLocked() {
	for _, s := range a.slots {
		if s.ejected {
			s.absolveLocked()
		}
	}
}
