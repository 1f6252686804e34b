package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/http1"
	"github.com/dragonchain/dc-provider/test/freeport"
)

// serving is a server on a free address whose calls to /wait last until release is closed.
type serving struct {
	*server
	address          string
	arrived, release chan struct{}
}

func startServing(t *testing.T, way string) *serving {
	t.Helper()
	s := &serving{arrived: make(chan struct{}, 1), release: make(chan struct{})}
	serve := func(path string, ctx context.Context) {
		if path == "/wait" {
			s.arrived <- struct{}{}
			select {
			case <-s.release:
			case <-ctx.Done():
			}
		}
	}
	var calls func(*http1.Exchange)
	switch way {
	case passedOn:
		calls = (*http1.Exchange).Pass
	case byHTTP1:
		calls = func(x *http1.Exchange) {
			if x.Has("Upgrade") {
				x.Pass()
				return
			}
			serve(string(x.Target), x.Context())
			if err := x.Answer(http.StatusOK, []byte("done")); err != nil && x.Err() == nil {
				t.Error(err)
			}
		}
	}
	var err error
	s.server, err = listen(quietLog, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve(r.URL.Path, r.Context())
		io.WriteString(w, "done")
	}), calls)
	if err != nil {
		t.Fatal(err)
	}
	s.address = s.listener.Addr().String()
	t.Cleanup(func() { s.end() })
	return s
}

// The ways that a request may go through a listener.
const (
	netHTTP  = "net/http alone"
	passedOn = "passed on to net/http"
	byHTTP1  = "package http1"
)

func eachWay(t *testing.T, test func(t *testing.T, s *serving)) {
	for _, way := range []string{netHTTP, passedOn, byHTTP1} {
		t.Run(way, func(t *testing.T) { test(t, startServing(t, way)) })
	}
}

func (s *serving) call(path string) string {
	response, err := http.Get("http://" + s.address + path)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body) // a cut body is not "done"
	return string(body)
}

// drainInBackground returns when new connections are refused.
func (s *serving) drainInBackground(t *testing.T, ctx context.Context) (ended chan error) {
	t.Helper()
	ended = make(chan error, 1)
	go func() { ended <- s.drain(ctx) }()
	for {
		conn, err := net.Dial("tcp", s.address)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return ended
		}
		if err == nil {
			conn.Close()
		}
	}
}

// A call in flight when the end is asked for is answered, while new connections are refused.
func TestServer_DrainsCallsInFlight(t *testing.T) {
	eachWay(t, func(t *testing.T, s *serving) {
		answered := make(chan string, 1)
		go func() { answered <- s.call("/wait") }()
		<-s.arrived
		ended := s.drainInBackground(t, t.Context())
		close(s.release)
		if body := <-answered; body != "done" {
			t.Errorf("the call in flight was answered %q", body)
		}
		if err := <-ended; err != nil {
			t.Errorf("drain: %v", err)
		}
	})
}

// An upgraded connection is in flight as long as its handler.
func TestServer_DrainsUpgradedConnections(t *testing.T) {
	hijacked, release := make(chan struct{}), make(chan struct{})
	s, err := listen(quietLog, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		close(hijacked)
		<-release
		io.WriteString(conn, "the last message")
	}), (*http1.Exchange).Pass)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	<-hijacked
	ended := (&serving{server: s, address: s.listener.Addr().String()}).drainInBackground(t, t.Context())
	select {
	case err := <-ended:
		t.Errorf("drained with an upgraded connection open: %v", err)
	default:
	}
	close(release)
	if got, err := io.ReadAll(conn); string(got) != "the last message" {
		t.Errorf("read %q, %v", got, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("drain: %v", err)
	}
}

// The request of a connection that was made before the listener closed, and that comes after it, is answered.
func TestServer_DrainAnswersARequestThatWasOnItsWay(t *testing.T) {
	eachWay(t, func(t *testing.T, s *serving) {
		waiting := make(chan string, 1)
		go func() { waiting <- s.call("/wait") }() // holds the drain open, so that nothing depends on time
		<-s.arrived
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		s.accepted(t)
		s.announce()
		ended := s.drainInBackground(t, t.Context())
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("the request was lost: %v", err)
		}
		if !response.Close {
			t.Error("the connection was left open")
		}
		close(s.release)
		<-waiting
		if err := <-ended; err != nil {
			t.Errorf("drain: %v", err)
		}
	})
}

// accepted returns when the server has taken all connections that were made so far: it takes them in order.
func (s *serving) accepted(t *testing.T) {
	t.Helper()
	if body := s.call("/"); body != "done" {
		t.Fatal(body)
	}
}

// Whoever calls in the time between the announcement and the drain is served, and sent away.
func TestServer_AnnouncedEndClosesConnectionsBehindTheirAnswers(t *testing.T) {
	eachWay(t, func(t *testing.T, s *serving) {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for _, want := range []bool{false, true} {
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			response, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(response.Body); string(body) != "done" || response.Close != want {
				t.Errorf("%q, %v, to be closed: %t, want %t", body, err, response.Close, want)
			}
			s.announce()
		}
		if _, err := answers.ReadByte(); err != io.EOF {
			t.Errorf("after the last answer: %v", err)
		}
	})
}

// An upgrade has its own use for the header Connection.
func TestServer_AnnouncedEndLeavesUpgradesAlone(t *testing.T) {
	eachWay(t, func(t *testing.T, s *serving) {
		s.announce()
		request, err := http.NewRequest("GET", "http://"+s.address, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Connection", "Upgrade")
		request.Header.Set("Upgrade", "websocket")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if got := response.Header["Connection"]; len(got) > 0 {
			t.Errorf("Connection: %q", got)
		}
	})
}

func TestServer_DrainEndsWithItsContext(t *testing.T) {
	eachWay(t, func(t *testing.T, s *serving) {
		answered := make(chan string, 1)
		go func() { answered <- s.call("/wait") }()
		<-s.arrived
		ctx, cancel := context.WithCancel(t.Context())
		ended := s.drainInBackground(t, ctx)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("drain: %v", err)
		}
		if body := <-answered; body == "done" {
			t.Error("an endless call was answered")
		}
	})
}

func TestListen_AddressInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := listen(quietLog, listener.Addr().String(), http.NotFoundHandler(), nil); err == nil {
		t.Error("serves on an address that is taken")
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freeport.Reserve(t))
}

// get asks until the address accepts connections.
func get(address string) (*http.Response, error) {
	for {
		response, err := http.Get("http://" + address)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return response, err
		}
	}
}
