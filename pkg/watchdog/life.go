package watchdog

import (
	"fmt"
	"time"
)

// lifeState is what the process of HTTPMode is doing.
type lifeState int

const (
	booting   lifeState = iota // it runs, and nothing listens at its address
	listening                  // it was heard, and has refused no connection since
	parking                    // it is being ended, and will be started again by the next request
	parked                     // there is none
	called                     // there is none, and a request waits for it
	waking                     // it was started for a request, and has not been heard yet
	ended                      // it has exited; nothing follows
)

var lifeStateNames = [...]string{"booting", "listening", "parking", "parked", "called", "waking", "ended"}

func (s lifeState) String() string { return lifeStateNames[s] }

// able tells whether a request would be served, be it after a wake.
func (s lifeState) able() bool { return s != booting && s != ended }

// lifeError is an event that has no place in a state.
type lifeError struct {
	from  lifeState
	event string
}

func (e *lifeError) Error() string { return fmt.Sprintf("%s while %s", e.event, e.from) }

// life is the process of HTTPMode as a state machine. Each event is a function; an event that has no place in the state is an error
// and changes nothing.
//
//	            heard               idle             stopped            wanted           started
//	booting ◄──────────► listening ──────► parking ──────────► parked ──────────► called ─────────► waking
//	           refused       ▲                ▲                  ▲                  │                │  │
//	                         │                │                  └──── stopped ─────┘                │  │
//	                         │                └────────────────────── exited ────────────────────────┘  │
//	                         └─────────────────────────── heard ────────────────────────────────────────┘
//
//	exited, from booting and listening: ended        over, from any: ended
type life struct{ state lifeState }

func (l *life) move(event string, to lifeState, from ...lifeState) error {
	for _, s := range from {
		if l.state == s {
			l.state = to
			return nil
		}
	}
	return &lifeError{l.state, event}
}

// heard: it can serve.
func (l *life) heard() error { return l.move("heard", listening, booting, waking) }

// refused: nothing listens any more.
func (l *life) refused() error { return l.move("refused", booting, listening) }

// idle: it has had nothing to do for so long that it is to be ended.
func (l *life) idle() error { return l.move("idle", parking, listening) }

// stopped: nothing of it is left, or it could not be started.
func (l *life) stopped() error { return l.move("stopped", parked, parking, called) }

// wanted: a request waits for it.
func (l *life) wanted() error { return l.move("wanted", called, parked) }

// started: it was started for a request.
func (l *life) started() error { return l.move("started", waking, called) }

// exited: it has ended by itself. One that was woken and never heard may be woken again; one that has served may not: it has ended as
// it would have without being parked.
func (l *life) exited() error {
	if l.state == waking {
		return l.move("exited", parking, waking)
	}
	return l.move("exited", ended, booting, listening)
}

// over: the watchdog ends.
func (l *life) over() { l.state = ended }

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// backoff is the pause after a process could not be started, so many times in a row before.
func backoff(failures int) time.Duration {
	if failures > 6 {
		return lastPause
	}
	return min(firstPause<<failures, lastPause)
}
