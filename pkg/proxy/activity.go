package proxy

import (
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
}

// activity is what must not be lost of a function while it exists: the counts, the waiters, the retired endpoints. It is
// kept outside the LRU, so that an eviction costs a look-up and nothing else.
type activity struct {
	mu       sync.Mutex
	load     Load
	inFlight map[string]int // by address; only of endpoints that have a call
	// retired are endpoints that get nothing new because they are about to go, or nil.
	retired map[function.Endpoint]bool
	// version counts changes, so that a list read without mu is not put over a newer one.
	version uint64
	// changed is closed at the next change; nil while nobody waits.
	changed chan struct{}
	// gone says that the function was forgotten and whoever holds this must get the activity anew.
	gone bool
}

// startLocked counts a call at an endpoint.
func (a *activity) startLocked(address string, now time.Time) {
	a.load.InFlight++
	a.load.LastActivity = now
	a.inFlight[address]++
}

// queueLocked counts a call that waits, unqueueLocked one that does no more.
func (a *activity) queueLocked(now time.Time) {
	a.load.Waiting++
	a.load.LastActivity = now
}

func (a *activity) unqueueLocked(now time.Time) {
	a.load.Waiting--
	a.load.LastActivity = now
}

// end is the opposite of startLocked.
func (a *activity) end(address string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.load.InFlight--
	a.load.LastActivity = now
	if a.inFlight[address]--; a.inFlight[address] == 0 {
		delete(a.inFlight, address)
	}
}

// changeLocked lets all waiters look again.
func (a *activity) changeLocked() {
	a.version++
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// watchLocked gives the channel that is closed at the next change.
func (a *activity) watchLocked() <-chan struct{} {
	if a.changed == nil {
		a.changed = make(chan struct{})
	}
	return a.changed
}

// activities holds the activity of every function that was called since it was deployed.
type activities struct {
	mu sync.RWMutex
	of map[function.Ref]*activity
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
		a = &activity{inFlight: make(map[string]int)}
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
	a.changeLocked()
}
