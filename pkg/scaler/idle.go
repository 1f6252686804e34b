package scaler

import (
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// restsAfter is how long a function is looked at in each round when it has come to zero. All that may have to be done for it then
// shows in a few rounds.
const restsAfter = time.Minute

// idleClock remembers what a round must know of the rounds before it: since when a function has been up, and until when
// one that could not be changed is left alone. It belongs to one goroutine.
type idleClock struct {
	started time.Time
	round   uint64
	of      map[function.Ref]*upTime
}

type upTime struct {
	id string
	// since is when the function was first seen up; zero while it is at zero.
	since time.Time
	// zero is when it was first seen at zero; zero while it is up.
	zero time.Time
	// leaveUntil is when a failed change may be tried again.
	leaveUntil time.Time
	// round is the last in which the function was there.
	round uint64
	// trace is its load lately, and measured what had been counted when that was last looked at, at a time that is zero if it
	// never was.
	trace      trace
	measured   Load
	measuredAt time.Time
	// replicas is how many were wanted then, and needed how many the load needed.
	replicas, needed int
}

func newIdleClock(now time.Time) *idleClock {
	return &idleClock{started: now, of: make(map[function.Ref]*upTime)}
}

// observe notes the state of a function that can go to zero, and returns what is known of it.
func (c *idleClock) observe(f *function.Function, now time.Time) *upTime {
	up := c.of[f.Ref]
	if up == nil || up.id != f.ID {
		// Its first sight: up since its deploy, or since before we began, which is the same to us as our beginning. In a later round
		// it may have been at rest until now: no harm is done if it has just been deployed.
		up = &upTime{id: f.ID, since: later(c.started, f.Created)}
		if c.round > 0 {
			up.since = now
		}
		c.of[f.Ref] = up
	}
	up.round = c.round
	if f.Replicas > up.replicas {
		up.trace.risen = now
	}
	up.replicas = f.Replicas
	switch {
	case f.Replicas == 0:
		up.since = time.Time{}
		if up.zero.IsZero() {
			up.zero = now
		}
	case up.since.IsZero():
		up.since, up.zero = now, time.Time{}
	}
	return up
}

// unseen are the functions that this round has not looked at yet, of those that are remembered.
func (c *idleClock) unseen() []function.Ref {
	var list []function.Ref
	for ref, up := range c.of {
		if up.round != c.round {
			list = append(list, ref)
		}
	}
	return list
}

// sweep forgets functions that the last round did not see, returns them, and begins another.
func (c *idleClock) sweep() (gone []function.Ref) {
	for ref, up := range c.of {
		if up.round != c.round {
			delete(c.of, ref)
			gone = append(gone, ref)
		}
	}
	c.round++
	return gone
}
