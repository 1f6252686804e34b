package lambda

import (
	"errors"
	"fmt"
)

// state is what a runtime process is doing.
type state int

const (
	starting state = iota // it has not asked for an event yet
	failed                // it has told that its init went wrong, and will exit
	ready                 // it waits for an event
	running               // it has an event
	replying              // its answer is being read
	replied               // it has answered, and may still be busy
	dead                  // it has exited, or was killed
)

var stateNames = [...]string{"Starting", "InitFailed", "Ready", "Running", "Replying", "Replied", "Dead"}

func (s state) String() string { return stateNames[s] }

// errRequestID is a reply to an invocation that the process does not have, or has no more.
var errRequestID = errors.New("invalid request id")

// transitionError is an event that has no place in a state.
type transitionError struct {
	from  state
	event string
}

func (e *transitionError) Error() string {
	return fmt.Sprintf("state transition is not allowed: %s while %s", e.event, e.from)
}

// machine is the state of one runtime process. Each event is a function; an event that has no place in the state is an error and
// changes nothing.
//
//	          next          given           reply            answered          next
//	starting ─────► ready ─────────► running ─────► replying ─────────► replied ─────► ready
//	   │ initError                      ▲  brokeOff    │
//	   ▼                                └──────────────┘            exited, from any: dead
//	failed
type machine struct {
	state state
	id    string // of the invocation that it has, from running to replied
}

// next: it asks for an event, and so tells that it is done with the last one. again tells that it has one already, which it has lost.
func (m *machine) next() (again bool, err error) {
	switch m.state {
	case starting, ready, replied:
		m.state, m.id = ready, ""
		return false, nil
	case running:
		return true, nil
	}
	return false, &transitionError{m.state, "next"}
}

// given: an event was handed to it.
func (m *machine) given(id string) error {
	if m.state != ready {
		return &transitionError{m.state, "an event"}
	}
	m.state, m.id = running, id
	return nil
}

// reply: it begins to answer, with a response or an error. The id is looked at before the state.
func (m *machine) reply(id string) error {
	if m.id == "" || id != m.id {
		return errRequestID
	}
	if m.state != running {
		return &transitionError{m.state, "a reply"}
	}
	m.state = replying
	return nil
}

// answered: its answer was read to the end.
func (m *machine) answered() error {
	if m.state != replying {
		return &transitionError{m.state, "the end of a reply"}
	}
	m.state = replied
	return nil
}

// brokeOff: its answer ended before its end. It may try again.
func (m *machine) brokeOff() error {
	if m.state != replying {
		return &transitionError{m.state, "a broken reply"}
	}
	m.state = running
	return nil
}

// initError: it cannot start.
func (m *machine) initError() error {
	if m.state != starting {
		return &transitionError{m.state, "an init error"}
	}
	m.state = failed
	return nil
}

// exited: it is no more. It returns the state in which that happened.
func (m *machine) exited() state {
	from := m.state
	m.state, m.id = dead, ""
	return from
}
