package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// echo answers with the request's body.
func echo(x *Exchange) {
	body, err := io.ReadAll(x.Body())
	if err != nil {
		return
	}
	x.ToClient.AddBytes("X-Target", x.Target)
	x.Answer(http.StatusOK, body)
}

// get reads one answer.
func get(t testing.TB, answers *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(answers, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestServer_KeepAliveAndPipelining(t *testing.T) {
	s := startServer(t, ServerConfig{Handler: echo})
	conn := s.dial(t)
	var all strings.Builder
	for i := range 100 {
		body := strings.Repeat("b", i*200)
		fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
		fmt.Fprintf(&all, "PUT /%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", i)
	}
	go io.WriteString(conn, all.String())
	answers := bufio.NewReader(conn)
	for i := range 100 {
		if res, body := get(t, answers, "POST"); len(body) != i*200 || res.Header.Get("X-Target") != fmt.Sprint("/", i) {
			t.Fatalf("%d: %d bytes, %v", i, len(body), res.Header)
		}
		if res, body := get(t, answers, "PUT"); body != "abc" || res.Header.Get("X-Target") != fmt.Sprint("/", i) || res.Header.Get("Date") == "" {
			t.Fatalf("%d: %q, %v", i, body, res.Header)
		}
	}
}

// A request is the same however its bytes arrive.
func TestServer_ByteByByte(t *testing.T) {
	s := startServer(t, ServerConfig{Handler: echo})
	conn := s.dial(t)
	for _, c := range []byte("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;e\r\nabc\r\n0\r\nT: v\r\n\r\nGET /b HTTP/1.0\r\n\r\n") {
		if _, err := conn.Write([]byte{c}); err != nil {
			t.Fatal(err)
		}
	}
	answers := bufio.NewReader(conn)
	if _, body := get(t, answers, "POST"); body != "abc" {
		t.Errorf("%q", body)
	}
	if res, _ := get(t, answers, "GET"); res.Header.Get("X-Target") != "/b" || !res.Close {
		t.Errorf("%+v", res)
	}
}

func TestServer_HTTP10KeepAlive(t *testing.T) {
	s := startServer(t, ServerConfig{Handler: echo})
	conn := s.dial(t)
	answers := bufio.NewReader(conn)
	for range 2 {
		io.WriteString(conn, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		if res, _ := get(t, answers, "GET"); res.Header.Get("Connection") != "keep-alive" {
			t.Fatalf("%+v", res)
		}
	}
}

func TestServer_HEADHasNoBody(t *testing.T) {
	s := startServer(t, ServerConfig{Handler: func(x *Exchange) { x.Answer(http.StatusOK, []byte("body")) }})
	conn := s.dial(t)
	answers := bufio.NewReader(conn)
	for range 2 {
		io.WriteString(conn, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
		if res, _ := get(t, answers, "HEAD"); res.ContentLength != 4 {
			t.Fatalf("%+v", res)
		}
	}
}

func TestServer_Continue(t *testing.T) {
	refuse := false
	s := startServer(t, ServerConfig{Handler: func(x *Exchange) {
		if refuse {
			x.Answer(http.StatusForbidden, nil)
			return
		}
		echo(x)
	}})
	const head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n"
	conn := s.dial(t)
	answers := bufio.NewReader(conn)
	io.WriteString(conn, head)
	if line, _ := answers.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q", line)
	}
	answers.ReadString('\n')
	io.WriteString(conn, "abc"+head+"abc") // the second time it does not wait
	for range 2 {
		if _, body := get(t, answers, "POST"); body != "abc" {
			t.Errorf("%q", body)
		}
	}
	refuse = true
	io.WriteString(conn, head)
	if res, _ := get(t, answers, "POST"); res.StatusCode != 403 || !res.Close {
		t.Errorf("%+v", res)
	}
}

// What is left of a body is never the next request: a short rest is read, a long one ends the connection.
func TestServer_BodyNotRead(t *testing.T) {
	s := startServer(t, ServerConfig{Handler: func(x *Exchange) { x.Answer(http.StatusOK, nil) }})
	conn := s.dial(t)
	answers := bufio.NewReader(conn)
	go fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n%100000d", 1)
	if res, _ := get(t, answers, "POST"); res.Close {
		t.Errorf("%+v", res)
	}
	go fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n%1000000d", 1)
	if res, _ := get(t, answers, "POST"); !res.Close {
		t.Errorf("%+v", res)
	}
}

func TestServer_HandlerThatDoesNotAnswer(t *testing.T) {
	s := startServer(t, ServerConfig{Handler: func(x *Exchange) {
		if string(x.Target) == "/panic" {
			panic("on purpose")
		}
	}})
	for _, target := range []string{"/", "/panic"} {
		conn := s.dial(t)
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target)
		if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
			t.Errorf("%s: %q, %v", target, rest, err)
		}
	}
}

func TestServer_Timeouts(t *testing.T) {
	began := make(chan struct{}, 1)
	s := startServer(t, ServerConfig{
		HeadTimeout: 500 * time.Millisecond, IdleTimeout: 500 * time.Millisecond, ReadTimeout: time.Hour, StallTimeout: 500 * time.Millisecond,
		Handler: func(x *Exchange) {
			began <- struct{}{}
			if string(x.Target) == "/big" {
				if err := x.Answer(http.StatusOK, make([]byte, 30<<20)); err != ErrClientGone {
					t.Errorf("Answer: %v", err)
				}
				return
			}
			if _, err := io.ReadAll(x.Body()); err != nil {
				if err != ErrBodyTimeout {
					t.Errorf("Body: %v", err)
				}
				x.Answer(http.StatusRequestTimeout, nil)
				return
			}
			x.Answer(http.StatusOK, nil)
		}})
	for name, r := range map[string]struct{ request, want string }{
		"no request":  {"", ""},
		"half a head": {"GET / HT", ""},
		"idle":        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK"},
		"no body":     {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc", "408 Request Timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := s.dial(t)
			io.WriteString(conn, r.request)
			got, err := io.ReadAll(conn)
			if err != nil || !strings.Contains(string(got), r.want) || r.want == "" && len(got) > 0 {
				t.Errorf("%q, %v", got, err)
			}
			select {
			case <-began:
			default:
			}
		})
	}
	t.Run("answer not read", func(t *testing.T) {
		conn := s.dial(t)
		conn.SetReadBuffer(4 << 10)
		io.WriteString(conn, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
		<-began
		s.waitEmpty(t)
	})
}

// waitEmpty waits until no connection is served.
func (s testServer) waitEmpty(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		n := len(s.conns)
		s.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections left", n)
		}
	}
}

func TestExchange_Deadline(t *testing.T) {
	s := startServer(t, ServerConfig{Handler: func(x *Exchange) {
		x.SetDeadline(x.Started.Add(20 * time.Millisecond))
		<-x.Context().Done()
		if err := context.Cause(x.Context()); err != ErrDeadline || x.Err() != ErrDeadline {
			t.Errorf("%v, %v", err, x.Err())
		}
		x.Answer(http.StatusGatewayTimeout, nil)
	}})
	conn := s.dial(t)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if res, _ := get(t, bufio.NewReader(conn), "GET"); res.StatusCode != 504 || !res.Close {
		t.Errorf("%+v", res)
	}
}

// A client that closes, resets, or closes its sending side only, ends its exchange; one that has sent more does not.
func TestExchange_ClientGone(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error)
	var stays atomic.Int64 // how long an exchange goes on if its client does not leave
	stays.Store(int64(patience))
	s := startServer(t, ServerConfig{Handler: func(x *Exchange) {
		began <- struct{}{}
		select {
		case <-x.Context().Done():
			ended <- context.Cause(x.Context())
		case <-time.After(time.Duration(stays.Load())):
			ended <- nil
			x.Answer(http.StatusOK, nil)
		}
	}})
	for name, leave := range map[string]func(*net.TCPConn){
		"close":      func(c *net.TCPConn) { c.Close() },
		"reset":      func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"half close": func(c *net.TCPConn) { c.CloseWrite() },
	} {
		conn := s.dial(t)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		<-began
		leave(conn)
		if err := <-ended; err != ErrClientGone {
			t.Errorf("%s: %v", name, err)
		}
	}
	stays.Store(int64(300 * time.Millisecond)) // the sweeper looks several times
	conn := s.dial(t)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
	for range 2 {
		<-began
		if err := <-ended; err != nil {
			t.Errorf("pipelined: %v", err)
		}
	}
}

func TestServer_HandsOver(t *testing.T) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	rest := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			io.Copy(conn, rw)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "rest: %s %s %s", r.Proto, r.RequestURI, body)
	})}
	t.Cleanup(func() { rest.Close() })
	s := startServer(t, ServerConfig{Rest: rest, Handler: func(x *Exchange) {
		if string(x.Target) == "/pass" {
			x.Pass()
			return
		}
		echo(x)
	}})
	for request, want := range map[string]string{
		"GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n":                              "rest: HTTP/1.1 http://x/a ",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n":                                   "",
		"POST /pass HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":          "rest: HTTP/1.1 /pass abc",
		"POST /own HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":           "abc",
		"GET /a HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: close\r\n\r\n": "",
	} {
		conn := s.dial(t)
		io.WriteString(conn, "GET /first HTTP/1.1\r\nHost: x\r\n\r\n"+request) // in one, so that the handover has it in its buffer
		answers := bufio.NewReader(conn)
		get(t, answers, "GET")
		if _, body := get(t, answers, "POST"); body != want {
			t.Errorf("%q: %q, want %q", request, body, want)
		}
	}
	t.Run("upgrade", func(t *testing.T) {
		conn := s.dial(t)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nsaid early ")
		answers := bufio.NewReader(conn)
		if res, err := http.ReadResponse(answers, nil); err != nil || res.StatusCode != 101 {
			t.Fatalf("%+v, %v", res, err)
		}
		io.WriteString(conn, "and late")
		conn.CloseWrite()
		if got, err := io.ReadAll(answers); string(got) != "said early and late" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		h2 := new(http.Protocols)
		h2.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: h2}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport}).Post("http://"+s.address+"/h2", "", strings.NewReader("abc"))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if body, _ := io.ReadAll(res.Body); string(body) != "rest: HTTP/2.0 /h2 abc" {
			t.Errorf("%q", body)
		}
	})
}

// Under load, every request that was read is answered.
func TestServer_ShutdownLosesNothing(t *testing.T) {
	for range 5 {
		var served atomic.Int64
		s, err := NewServer(ServerConfig{Handler: func(x *Exchange) {
			defer served.Add(1)
			echo(x)
		}})
		if err != nil {
			t.Fatal(err)
		}
		ln := listen(t)
		done := make(chan error)
		go func() { done <- s.Serve(ln) }()
		var clients sync.WaitGroup
		var answered atomic.Int64
		for range 20 {
			clients.Go(func() {
				for {
					conn, err := net.Dial("tcp", ln.Addr().String())
					if err != nil {
						return
					}
					answers := bufio.NewReader(conn)
					for {
						if _, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"); err != nil {
							break
						}
						var res *http.Response
						if res, err = http.ReadResponse(answers, nil); err != nil {
							break
						}
						body, err := io.ReadAll(res.Body)
						if string(body) != "abc" || err != nil {
							t.Errorf("%q, %v", body, err)
						}
						answered.Add(1)
						if res.Close {
							break
						}
					}
					conn.Close()
				}
			})
		}
		for answered.Load() < 500 {
			runtime.Gosched()
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if err := s.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		clients.Wait()
		if err := <-done; err != ErrServerClosed {
			t.Error(err)
		}
		if a, s := answered.Load(), served.Load(); a != s {
			t.Errorf("%d served, %d answered", s, a)
		}
	}
}

// An answer that began before the end was announced could not say that its connection would close, so it does not.
func TestServer_EndKeepAliveInTheMiddleOfAnAnswer(t *testing.T) {
	answered, goOn := make(chan struct{}, 2), make(chan struct{})
	s, err := NewServer(ServerConfig{Handler: func(x *Exchange) {
		echo(x)
		answered <- struct{}{}
		<-goOn
	}})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	done := make(chan error)
	go func() { done <- s.Serve(ln) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for _, want := range []bool{false, true} {
		io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
		if res, body := get(t, answers, http.MethodPost); body != "abc" || res.Close != want {
			t.Errorf("%q, to be closed: %t, want %t", body, res.Close, want)
		}
		<-answered
		if !want {
			s.EndKeepAlive()
			close(goOn)
			for between := false; !between; {
				runtime.Gosched()
				for _, c := range s.snapshot(nil) {
					between = phaseOf(c.word.Load()) == phaseIdle
				}
				if len(s.snapshot(nil)) == 0 {
					t.Fatal("the connection was closed")
				}
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-done
}

// Shutdown waits for exchanges until its context ends; Close ends them.
func TestServer_CloseEndsExchanges(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	s := startServer(t, ServerConfig{Handler: func(x *Exchange) {
		close(began)
		<-x.Context().Done()
		ended <- x.Err()
	}})
	conn := s.dial(t)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-began
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	s.Close()
	if err := <-ended; err != ErrServerClosed {
		t.Errorf("%v", err)
	}
}

// A Handler that hears of the end by its context alone comes too late with its answer.
func TestServer_ClosedExchangeIsNotAnswered(t *testing.T) {
	for range 3 {
		began, ended := make(chan struct{}), make(chan error, 1)
		s := startServer(t, ServerConfig{Handler: func(x *Exchange) {
			ctx := x.Context()
			for range 10000 { // whose ends come after its own, and give the answer time to go before the connection ends
				_, cancel := context.WithCancel(ctx)
				defer cancel()
			}
			close(began)
			<-ctx.Done()
			ended <- x.Answer(http.StatusOK, []byte("late"))
		}})
		conn := s.dial(t)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		<-began
		s.Close()
		if err := <-ended; err != ErrServerClosed {
			t.Fatalf("Answer: %v, want ErrServerClosed", err)
		}
		conn.Close()
	}
}

// An idle connection costs little: no buffer is kept for it.
func TestServer_IdleConnectionsAreSmall(t *testing.T) {
	s := startServer(t, ServerConfig{Handler: echo})
	const count = 500
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	conns := make([]net.Conn, count)
	before := heap()
	for i := range conns {
		conns[i] = s.dial(t)
		io.WriteString(conns[i], "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if n, err := conns[i].Read(make([]byte, 1<<10)); n == 0 || err != nil {
			t.Fatal(err)
		}
	}
	if each := (heap() - before) / count; each > 16<<10 {
		t.Errorf("%d bytes for each connection, with the client's side", each)
	}
}

func TestServer_NotTCP(t *testing.T) {
	rest := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "rest") })}
	t.Cleanup(func() { rest.Close() })
	s, err := NewServer(ServerConfig{Rest: rest, Handler: echo})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	ln := &handover{conns: make(chan net.Conn, 1), done: make(chan struct{})}
	ln.conns <- theirs
	done := make(chan error)
	go func() { done <- s.Serve(ln) }()
	go io.WriteString(ours, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, body := get(t, bufio.NewReader(ours), "GET"); body != "rest" {
		t.Errorf("%q", body)
	}
	ours.Close()
	s.Close()
	<-done
}

func TestEdits(t *testing.T) {
	var e Edits
	e.Set("A", "b\r\nC: d\x00")
	e.AddInt("N", -5)
	e.AddBytes("B", []byte("x\ny"))
	if want := "A: b  C: d \r\nN: -5\r\nB: x y\r\n"; string(e.add) != want || !e.drops([]byte("a")) || e.drops([]byte("b")) {
		t.Errorf("%q", e.add)
	}
	if !bytes.Equal(trim([]byte(" \t a b\t")), []byte("a b")) {
		t.Error("trim")
	}
}

// A client that owes the rest of a body, which nobody wants, holds neither its connection nor a shutdown up for long.
func TestServer_RestOfBodyNeverComes(t *testing.T) {
	s := startServer(t, ServerConfig{StallTimeout: 50 * time.Millisecond, Handler: func(x *Exchange) { x.Answer(http.StatusOK, nil) }})
	conn := s.dial(t)
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc")
	get(t, bufio.NewReader(conn), "POST")
	s.waitEmpty(t)
}
