//go:build !race

package proxy

import "testing"

// TestServeExchange_AllocatesNothing makes calls of a hot function: no more is allocated than a collection may cause that empties the
// pools. The race detector does so at random.
func TestServeExchange_AllocatesNothing(t *testing.T) {
	call := hotCall(t, "POST /function/echo/a HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody")
	if average := testing.AllocsPerRun(2000, call); average != 0 { // a whole number, rounded down
		t.Errorf("%v allocations for each call", average)
	}
}
