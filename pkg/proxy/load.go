package proxy

import (
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Load tells what a function has to do now. It does not block.
func (p *Proxy) Load(ref function.Ref) Load {
	a := p.activities.find(ref)
	if a == nil {
		return Load{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.loadLocked(time.Now())
}

// Loads calls visit for every function that has a call, or had one at or after since. visit must not call the Proxy.
func (p *Proxy) Loads(since time.Time, visit func(function.Ref, Load)) {
	all, _, _ := p.activities.snapshot()
	now := time.Now()
	for ref, a := range all {
		a.mu.Lock()
		load, gone := a.loadLocked(now), a.gone
		a.mu.Unlock()
		if !gone && (load.InFlight+load.Waiting > 0 || !load.LastActivity.Before(since)) {
			visit(ref, load)
		}
	}
}

// InFlightAt tells how many calls are at one replica of a function.
func (p *Proxy) InFlightAt(ref function.Ref, replica string) int {
	a := p.activities.find(ref)
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, s := range a.slots {
		if s.endpoint.Replica == replica {
			n += s.inFlight
		}
	}
	return n
}

// loadLocked is the load with the calls that are under way counted up to now.
func (a *activity) loadLocked(now time.Time) Load {
	load := a.load
	load.Started = a.stats.started
	if calls := load.InFlight + load.Waiting; calls > 0 {
		load.CallTime += max(0, now.Sub(load.LastActivity)) * time.Duration(calls)
	}
	return load
}
