package main

import "sync"

// meetings is where two requests find each other by an id.
type meetings struct {
	mu sync.Mutex
	at map[string]chan []byte
}

func newMeetings() *meetings { return &meetings{at: map[string]chan []byte{}} }

// of gives the channel that belongs to id, the same to everybody who asks.
func (m *meetings) of(id string) chan []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.at[id]
	if !ok {
		c = make(chan []byte)
		m.at[id] = c
	}
	return c
}
