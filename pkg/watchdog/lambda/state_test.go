package lambda

import (
	"errors"
	"strings"
	"testing"
)

func TestMachine(t *testing.T) {
	events := map[string]func(*machine) error{
		"next":        func(m *machine) error { _, err := m.next(); return err },
		"given":       func(m *machine) error { return m.given("a") },
		"reply":       func(m *machine) error { return m.reply("a") },
		"foreign":     func(m *machine) error { return m.reply("b") },
		"answered":    (*machine).answered,
		"brokeOff":    (*machine).brokeOff,
		"initError":   (*machine).initError,
		"exited":      func(m *machine) error { m.exited(); return nil },
		"reply-empty": func(m *machine) error { return m.reply("") },
	}
	tests := []struct {
		name, events string // the last may be refused
		want         state
		id, state    bool // refused for its id, for the state
	}{
		{"starts", "", starting, false, false},
		{"asks", "next", ready, false, false},
		{"asks twice", "next next", ready, false, false},
		{"gets an event", "next given", running, false, false},
		{"asks again with an event", "next given next", running, false, false},
		{"answers", "next given reply", replying, false, false},
		{"has answered", "next given reply answered", replied, false, false},
		{"asks after its answer", "next given reply answered next", ready, false, false},
		{"breaks off and answers again", "next given reply brokeOff reply", replying, false, false},
		{"fails to start", "initError", failed, false, false},
		{"exits", "next given exited", dead, false, false},
		{"reply before the first event", "reply", starting, true, false},
		{"reply without an id", "reply-empty", starting, true, false},
		{"reply to another's", "next given foreign", running, true, false},
		{"reply to another's after the answer", "next given reply answered foreign", replied, true, false},
		{"reply after next", "next given reply answered next reply", ready, true, false},
		{"second reply", "next given reply answered reply", replied, false, true},
		{"second reply at once", "next given reply reply", replying, false, true},
		{"next while answering", "next given reply next", replying, false, true},
		{"next after an init error", "initError next", failed, false, true},
		{"init error after next", "next initError", ready, false, true},
		{"event for a busy one", "next given given", running, false, true},
		{"end of no answer", "next given answered", running, false, true},
		{"break of no answer", "next given brokeOff", running, false, true},
		{"anything after the end", "exited next", dead, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m machine
			var err error
			for _, event := range strings.Fields(tt.events) {
				if err != nil {
					t.Fatalf("refused before the last event: %v", err)
				}
				err = events[event](&m)
			}
			var transition *transitionError
			if m.state != tt.want || errors.Is(err, errRequestID) != tt.id || errors.As(err, &transition) != tt.state {
				t.Errorf("%s with %v, want %s", m.state, err, tt.want)
			}
		})
	}
}
