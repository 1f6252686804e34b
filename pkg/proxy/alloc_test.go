//go:build !race

package proxy

import (
	"bytes"
	"net"
	"net/http"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// TestServeExchange_AllocatesNothing makes calls of a hot function, by a client and an endpoint that allocate nothing: no more is allocated
// than a collection may cause that empties the pools. The race detector does so at random.
func TestServeExchange_AllocatesNothing(t *testing.T) {
	endpoint := cannedEndpoint(t)
	f := &function.Function{Spec: function.Spec{Ref: echo}, ID: "1", Replicas: 1}
	p, err := New(Config{
		Lookup:    func(function.Ref) (*function.Function, bool) { return f, true },
		Endpoints: func(function.Ref) []function.Endpoint { return []function.Endpoint{{Address: endpoint}} },
		Error: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	front := newFront(t, p, p, false)
	defer front.Close()
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := []byte("POST /function/echo/a HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody")
	buf := make([]byte, 4<<10)
	average := testing.AllocsPerRun(2000, func() {
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil || !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200 ")) || !bytes.HasSuffix(buf[:n], []byte("hello")) {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	})
	if average != 0 { // a whole number, rounded down
		t.Errorf("%v allocations for each call", average)
	}
}
