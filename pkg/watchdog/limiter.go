package watchdog

import "sync"

// limiter counts the invocations in flight, refuses those above its limit, and tells when none is left.
type limiter struct {
	max int // 0 means no limit

	mu       sync.Mutex
	inFlight int
	served   uint64        // have left
	idle     chan struct{} // closed when nothing is in flight; nil unless somebody waits for that
	begun    chan struct{} // closed when the next is admitted; nil unless somebody waits for that
}

func newLimiter(most int) *limiter {
	return &limiter{max: most}
}

// enter admits one invocation, which must leave, or refuses it.
func (l *limiter) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.max > 0 && l.inFlight >= l.max {
		return false
	}
	l.inFlight++
	if l.begun != nil {
		close(l.begun)
		l.begun = nil
	}
	return true
}

// after returns a channel that is closed once there is, or has been, an invocation after so many.
func (l *limiter) after(served uint64) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	begun := l.begun
	if begun == nil {
		begun = make(chan struct{})
		if l.inFlight > 0 || l.served > served {
			close(begun)
		} else {
			l.begun = begun
		}
	}
	return begun
}

func (l *limiter) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	l.served++
	if l.inFlight == 0 && l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
}

// counts tells how many are in flight, and how many have been.
func (l *limiter) counts() (inFlight int, served uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight, l.served
}

// full tells whether enter would refuse.
func (l *limiter) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.max > 0 && l.inFlight >= l.max
}

// empty returns a channel that is closed once nothing is in flight, and how much is.
func (l *limiter) empty() (<-chan struct{}, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	idle := l.idle
	if idle == nil {
		idle = make(chan struct{})
		if l.inFlight == 0 {
			close(idle)
		} else {
			l.idle = idle
		}
	}
	return idle, l.inFlight
}
