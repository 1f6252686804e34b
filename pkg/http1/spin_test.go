package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWaits(t *testing.T) {
	s := &spinner{limit: time.Minute}
	var w waits
	for want := 1; want <= 2*spinAfter; want++ {
		w.begin(s, 0)
		if w.end(s); w.soon != min(want, spinAfter) {
			t.Fatalf("%d short waits: %d", want, w.soon)
		}
	}
	w.since = time.Now().Add(-s.limit)
	if w.end(s); w.soon != 0 {
		t.Errorf("after a long wait: %d", w.soon)
	}
	w.soon = 3
	s.busy.Store(2)
	w.begin(s, 1)
	if w.end(s); w.soon != 3 || !w.since.IsZero() {
		t.Errorf("among others: %d, timed since %v", w.soon, w.since)
	}
	w.soon = 0
	off := &spinner{}
	w.begin(off, 0)
	if w.end(off); w.soon != 0 {
		t.Errorf("without a limit: %d", w.soon)
	}
}

func TestSpinner_Read(t *testing.T) {
	for _, r := range []struct {
		name string
		soon int
		busy int32
		ago  time.Duration
		want error
	}{
		{name: "quick and alone", soon: spinAfter, busy: 1},
		{name: "not quick for long enough", soon: spinAfter - 1, busy: 1, want: syscall.EAGAIN},
		{name: "not alone", soon: spinAfter, busy: 2, want: syscall.EAGAIN},
		{name: "out of time", soon: spinAfter, busy: 1, ago: 2 * time.Minute, want: syscall.EAGAIN},
	} {
		t.Run(r.name, func(t *testing.T) {
			read, write := socketPair(t)
			if _, err := writeFD(write, []byte("x")); err != nil {
				t.Fatal(err)
			}
			s := &spinner{limit: time.Minute}
			s.busy.Store(r.busy)
			w := &waits{soon: r.soon, since: time.Now().Add(-r.ago)}
			n, err := s.read(read, make([]byte, 8), w, 1)
			if err != r.want || err == nil && n != 1 {
				t.Errorf("%d, %v, want %v", n, err, r.want)
			}
		})
	}
}

func TestSpinner_ReadEnds(t *testing.T) {
	for _, r := range []struct {
		name  string
		limit time.Duration
		then  func(s *spinner, peer uintptr)
		n     int
		err   error
	}{
		{name: "with what comes", limit: patience, then: func(_ *spinner, peer uintptr) { writeFD(peer, []byte("abc")) }, n: 3},
		{name: "with the peer's end", limit: patience, then: func(_ *spinner, peer uintptr) { syscall.Shutdown(int(peer), syscall.SHUT_WR) }},
		{name: "when another exchange begins", limit: patience, then: func(s *spinner, _ uintptr) { s.busy.Add(1) }, err: syscall.EAGAIN},
		{name: "at its limit", limit: time.Millisecond, then: func(*spinner, uintptr) {}, err: syscall.EAGAIN},
	} {
		t.Run(r.name, func(t *testing.T) {
			read, write := socketPair(t)
			s := &spinner{limit: r.limit}
			w := &waits{soon: spinAfter, since: time.Now()}
			go r.then(s, write)
			if n, err := s.read(read, make([]byte, 8), w, 0); n != r.n || err != r.err {
				t.Errorf("%d, %v", n, err)
			}
			if time.Since(w.since) >= patience {
				t.Error("it went on for too long")
			}
		})
	}
}

func socketPair(t *testing.T) (a, b uintptr) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fds[0]); syscall.Close(fds[1]) })
	return uintptr(fds[0]), uintptr(fds[1])
}

// Connections that are spun for are no different to those who use them, however they take turns and end.
func TestForward_Spinning(t *testing.T) {
	endpoint := rawEndpoint(t, func(conn net.Conn, b *bufio.Reader) {
		for strings.HasPrefix(readHeadText(b), "GET / ") {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	pool, err := NewPool(PoolConfig{Address: endpoint, IdleTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.CloseIdle()
	s := startServer(t, ServerConfig{Spin: 100 * time.Millisecond, Handler: func(x *Exchange) {
		if err := x.Forward(pool, nil, nil); err != nil && !x.Begun() {
			x.Answer(http.StatusBadGateway, nil)
		}
	}})
	dial := func() (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(patience))
		return conn, bufio.NewReader(conn)
	}
	call := func(conn net.Conn, answers *bufio.Reader, target string, want int) {
		t.Helper()
		io.WriteString(conn, "GET "+target+" HTTP/1.1\r\nHost: h\r\n\r\n")
		if res, _ := get(t, answers, "GET"); res.StatusCode != want {
			t.Fatalf("status %d, want %d", res.StatusCode, want)
		}
	}
	a, fromA := dial()
	for range 20 {
		call(a, fromA, "/", 200)
	}
	b, fromB := dial()
	for range 10 {
		call(b, fromB, "/", 200)
		call(a, fromA, "/", 200)
	}
	call(a, fromA, "/end", 502)
	call(b, fromB, "/", 200)
	b.Close()
	call(a, fromA, "/", 200)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read after the end: %v", err)
	}
}
