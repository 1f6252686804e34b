package watchdog

import (
	"net"
	"net/http"
	"sync"
)

// connections knows the state of every connection, for an end that loses nothing.
//
// http.Server.Shutdown would not do: a request that it has read but not yet handed over is dropped (Go 1.26, conn.serve), it does
// not know upgraded connections, and it waits five seconds for one that has never carried a request.
type connections struct {
	mu      sync.Mutex
	state   map[net.Conn]http.ConnState
	changed chan struct{} // closed at the next change
}

func newConnections() *connections {
	return &connections{state: map[net.Conn]http.ConnState{}, changed: make(chan struct{})}
}

// note is the server's ConnState hook.
func (c *connections) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(c.state, conn) // an upgraded one counts as in flight
	} else {
		c.state[conn] = state
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// closeIdle closes those between two requests. It returns how many carry a request, how many have carried none yet, and a channel
// that is closed when that changes.
func (c *connections) closeIdle() (busy, fresh int, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn, state := range c.state {
		switch state {
		case http.StateIdle:
			_ = conn.Close() // nothing is on its way
		case http.StateNew:
			fresh++
		default:
			busy++
		}
	}
	return busy, fresh, c.changed
}
