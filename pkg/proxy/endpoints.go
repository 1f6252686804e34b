package proxy

import (
	"slices"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// emptyFor is how long an empty list is believed. Events replace it at once; the limit is for an event that never came.
const emptyFor = time.Second

// endpointSet is what the cache holds of a function. It is immutable.
type endpointSet struct {
	// id is the identity of the record that the endpoints belong to.
	id   string
	list []function.Endpoint
	// until is when an empty list is read again; zero for others.
	until time.Time
}

func newEndpointSet(id string, list []function.Endpoint, now time.Time) endpointSet {
	set := endpointSet{id: id, list: list}
	if len(list) == 0 {
		set.until = now.Add(emptyFor)
	}
	return set
}

func (s endpointSet) valid(id string, now time.Time) bool {
	return s.id == id && (s.until.IsZero() || now.Before(s.until))
}

// SetEndpoints replaces the endpoints of the function that ref and id name, and lets waiters look again. It is meant for
// events, and must be called after Config.Endpoints gives the same list, in order for each function. It keeps the slice.
func (p *Proxy) SetEndpoints(ref function.Ref, id string, list []function.Endpoint) {
	a := p.activities.find(ref)
	if a == nil {
		// Nobody has called it yet. Its first call reads the list, so that functions which are never called cost nothing.
		// A list that outlived an activity would be believed for good.
		p.cache.Remove(ref)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		p.cache.Remove(ref)
		return
	}
	p.cache.Add(ref, newEndpointSet(id, list, time.Now()))
	for e := range a.retired {
		if !slices.Contains(list, e) {
			delete(a.retired, e)
		}
	}
	a.changeLocked()
}

// lockEndpoints returns f's activity with its mu held, and its endpoints: those in the cache, or else those that memory
// has. A list read meanwhile is dropped if an event was faster.
func (p *Proxy) lockEndpoints(f *function.Function) (*activity, []function.Endpoint) {
	for {
		now := time.Now()
		a := p.activities.lock(f.Ref)
		if set, ok := p.cache.Get(f.Ref); ok && set.valid(f.ID, now) {
			return a, set.list
		}
		version := a.version
		a.mu.Unlock()

		list := p.cfg.Endpoints(f.Ref)

		a.mu.Lock()
		if !a.gone && a.version == version {
			p.cache.Add(f.Ref, newEndpointSet(f.ID, list, now))
			return a, list
		}
		a.mu.Unlock()
	}
}

// Forget drops all that is kept of a function. Calls in flight go on; waiters end with function.ErrNotFound unless the
// function is there again.
func (p *Proxy) Forget(ref function.Ref) {
	p.activities.drop(ref)
	p.cache.Remove(ref)
}
