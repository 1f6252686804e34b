package proxy

import (
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Quiesce retires all endpoints of a function and reports true if no call is in flight or waiting; otherwise it changes
// nothing. New calls then wait, and ask for a wake, until there is an endpoint that was not retired or Resume is called.
// A retired endpoint that leaves the set is no longer retired when it comes back.
func (p *Proxy) Quiesce(ref function.Ref) bool {
	f, ok := p.cfg.Lookup(ref)
	if !ok {
		return false
	}
	a, _ := p.lockEndpoints(f, time.Now())
	defer a.mu.Unlock()
	if a.load.InFlight > 0 || a.load.Waiting > 0 {
		return false
	}
	for _, s := range a.slots {
		s.retired = true
	}
	return true
}

// Look has those who wait for a function look again. It is to be called when what Config.Stuck says may have changed.
func (p *Proxy) Look(ref function.Ref) {
	if a := p.activities.find(ref); a != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.nudgeLocked()
	}
}

// Resume undoes Quiesce: retired endpoints take calls again.
func (p *Proxy) Resume(ref function.Ref) {
	a := p.activities.find(ref)
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	resumed := false
	for _, s := range a.slots {
		resumed = resumed || s.retired
		s.retired = false
	}
	if resumed {
		a.version++
		a.dispatchLocked(time.Now())
		a.nudgeLocked()
	}
}
