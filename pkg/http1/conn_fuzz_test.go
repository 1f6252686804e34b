package http1

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// served is what a server's handler saw, in order.
type served struct {
	mu   sync.Mutex
	list []string
}

func (s *served) add(method, target string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, fmt.Sprintf("%s %s %q", method, target, body))
}

// take returns what there is and forgets it.
func (s *served) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list
	s.list = nil
	return list
}

// Of what comes on one connection, both servers make the same requests, as far as ours goes on: whatever is one request to the one is
// not two to the other.
func FuzzConnection(f *testing.F) {
	for _, r := range strictRows {
		f.Add([]byte(wire(r.request) + "GET /second HTTP/1.1\r\nHost: x\r\n\r\n"))
	}
	var ours, theirs served
	s := startServer(f, ServerConfig{Handler: func(x *Exchange) {
		if body, err := io.ReadAll(x.Body()); err == nil {
			ours.add(string(x.Method), string(x.Target), body)
			x.Answer(http.StatusOK, nil)
		}
	}})
	ln := listen(f)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			theirs.add(r.Method, r.RequestURI, body)
		}
	})}
	go srv.Serve(ln)
	f.Cleanup(func() { srv.Close() })

	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 16<<10 {
			return
		}
		exhaust(t, s.address, data)
		got := ours.take()
		exhaust(t, ln.Addr().String(), data)
		want := theirs.take()
		if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("served %q, net/http %q", got, want)
		}
	})
}

// exhaust sends all of data to a server and waits until it has closed the connection.
func exhaust(t *testing.T, address string, data []byte) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	conn.Write(data) // it may be closed before all was sent
	conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, conn) // it may be reset
}
