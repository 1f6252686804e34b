package proxy

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/http1"
)

// slot is one endpoint of a function and how it fares. Its activity's mu guards it.
type slot struct {
	endpoint function.Endpoint
	inFlight int
	// retired endpoints get nothing new because they are about to go.
	retired bool
	// unlisted ones have left the set, and are kept for the calls that they still have.
	unlisted bool
	// startTold is set once its start was counted.
	startTold bool
	// pool has the connections of package http1 to it, and is nil before the first call that goes that way. It is read and set
	// without mu.
	pool atomic.Pointer[http1.Pool]
	health
}

// pickLocked returns the endpoint that is to have the next call, or nil if there is none for a call that these endpoints
// refused: the one with fewer calls in flight of two drawn at random. Two choices come close to the best without looking
// at all, and do not send every call of a moment to the same newcomer. Where neither may be used all are looked at, for a
// place that is free must be found.
func (a *activity) pickLocked(refused []*slot, now time.Time) *slot {
	if n := len(a.slots); n > 1 {
		i := rand.IntN(n)
		j := rand.IntN(n - 1)
		if j >= i {
			j++
		}
		if s := a.lighterLocked(a.slots[i], a.slots[j], refused, now); s != nil {
			return s
		}
	}
	a.absolveAllEjectedLocked()
	var best *slot
	for _, s := range a.slots {
		best = a.lighterLocked(best, s, refused, now)
	}
	return best
}

// lighterLocked returns the one of two endpoints that has fewer calls and may have one more, or nil.
func (a *activity) lighterLocked(x, y *slot, refused []*slot, now time.Time) *slot {
	if x != nil && !a.usableLocked(x, refused, now) {
		x = nil
	}
	if !a.usableLocked(y, refused, now) {
		return x
	}
	if x == nil || y.inFlight < x.inFlight {
		return y
	}
	return x
}

func (a *activity) usableLocked(s *slot, refused []*slot, now time.Time) bool {
	return !s.retired && (a.limit == 0 || s.inFlight < a.limit) && s.admits(now) && !slices.Contains(refused, s)
}

// outlook is what a call that found no place has to expect.
type outlook struct {
	// busy tells that there are endpoints which have only to take fewer calls, or come back from their ejection: nobody
	// need be woken.
	busy bool
	// refused and retired tell that there are endpoints which the call does not use.
	refused, retired bool
	// ejected is when the first ejected endpoint comes back; zero if none is ejected.
	ejected time.Time
}

// phase is what a call waits for.
func (o outlook) phase() int {
	if o.busy {
		return phaseQueue
	}
	return phaseWake
}

func (a *activity) outlookLocked(refused []*slot) outlook {
	var o outlook
	for _, s := range a.slots {
		switch {
		case s.retired:
			o.retired = true
		case slices.Contains(refused, s):
			o.refused = true
		default:
			o.busy = true
			if s.ejected && !s.trying && (o.ejected.IsZero() || s.until.Before(o.ejected)) {
				o.ejected = s.until
			}
		}
	}
	return o
}
