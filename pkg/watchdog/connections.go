package watchdog

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// connections knows the state of every connection, for an end that loses nothing.
//
// http.Server.Shutdown would not do: a request that it has read but not yet handed over is dropped (Go 1.26, conn.serve), it does
// not know upgraded connections, and it waits five seconds for one that has never carried a request.
type connections struct {
	mu      sync.Mutex
	state   map[net.Conn]connection
	changed chan struct{} // closed at the next change
}

type connection struct {
	state http.ConnState
	since time.Time
}

func newConnections() *connections {
	return &connections{state: map[net.Conn]connection{}, changed: make(chan struct{})}
}

// note is the server's ConnState hook.
func (c *connections) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(c.state, conn) // an upgraded one counts as in flight
	} else {
		c.state[conn] = connection{state, time.Now()}
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// closeIdle closes those that have been between two requests for a moment: what began to be answered before the end was announced could not
// say that its connection is closed, and its client may be about to send the next request. It returns how many carry a request, how many
// have carried none yet, when the next may be closed (0 if there is none), and a channel that is closed when that changes.
func (c *connections) closeIdle() (busy, fresh int, next time.Duration, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn, is := range c.state {
		switch is.state {
		case http.StateIdle:
			if left := firstBytes - time.Since(is.since); left > 0 {
				next = lesser(next, left)
				continue
			}
			_ = conn.Close() // nothing is on its way
		case http.StateNew:
			fresh++
		default:
			busy++
		}
	}
	return busy, fresh, next, c.changed
}
