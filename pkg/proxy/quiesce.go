package proxy

import "github.com/dragonchain/dc-provider/pkg/function"

// Load tells what a function has to do now. It does not block.
func (p *Proxy) Load(ref function.Ref) Load {
	a := p.activities.find(ref)
	if a == nil {
		return Load{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.load
}

// Quiesce retires all endpoints of a function and reports true if no call is in flight or waiting; otherwise it changes
// nothing. New calls then wait, and ask for a wake, until there is an endpoint that was not retired or Resume is called.
// A retired endpoint that leaves the set is no longer retired when it comes back.
func (p *Proxy) Quiesce(ref function.Ref) bool {
	f, ok := p.cfg.Lookup(ref)
	if !ok {
		return false
	}
	a, list := p.lockEndpoints(f)
	defer a.mu.Unlock()
	if a.load.InFlight > 0 || a.load.Waiting > 0 {
		return false
	}
	a.retired = make(map[function.Endpoint]bool, len(list))
	for _, e := range list {
		a.retired[e] = true
	}
	return true
}

// Resume undoes Quiesce: retired endpoints take calls again.
func (p *Proxy) Resume(ref function.Ref) {
	a := p.activities.find(ref)
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.retired) == 0 {
		return
	}
	a.retired = nil
	a.changeLocked()
}
