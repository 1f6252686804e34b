package watchdog

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// What our own engine refuses never reaches the function, nor what a client smuggles behind it.
func TestHTTPMode_Strict(t *testing.T) {
	f := serveHTTP(t, nil)
	f.waitReady()
	for request, want := range map[string]string{
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": " 400 ",
		"GET / HTTP/1.1\nHost: x\n\n":                                          " 400 ",
		"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n":                           " 400 ",
		"GET / HTTP/1.1\r\n\r\n":                                               " 400 ",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nz":    " 400 ",
		"POST /_/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nz": " 400 ",
		"POST /%41 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nz": " 400 ",
	} {
		conn := f.raw(request + "GET /log?bytes=9 HTTP/1.1\r\nHost: x\r\n\r\n")
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(answer), want) || strings.Count(string(answer), "HTTP/1.1 ") != 1 {
			t.Errorf("%q: %q, %v", request, answer, err)
		}
	}
	if strings.Contains(f.stderr.String(), "xxxxxxxxx") {
		t.Error("a smuggled request was served")
	}
}

// No request gets the next one on its connection past the engine: neither one for our own paths or what looks like them, nor one that
// net/http serves.
func TestHTTPMode_StrictLater(t *testing.T) {
	f := serveHTTP(t, nil)
	f.waitReady()
	for first, refused := range map[string]bool{
		"GET /_/health HTTP/1.1\r\nHost: x\r\n\r\n":                                 true,
		"GET /%5f/ready?x HTTP/1.1\r\nHost: x\r\n\r\n":                              true,
		"GET /_/x HTTP/1.1\r\nHost: x\r\n\r\n":                                      true,
		"GET /%5f%zz HTTP/1.1\r\nHost: x\r\n\r\n":                                   true,
		"GET http://x/c HTTP/1.1\r\nHost: x\r\n\r\n":                                false, // but closed
		"GET http://x/_/ready HTTP/1.1\r\nHost: x\r\n\r\n":                          false,
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: none\r\n\r\n": false,
	} {
		answer, err := io.ReadAll(f.raw(first + "GET /log?bytes=9 HTTP/1.1\nHost: x\n\n"))
		if err != nil || strings.Contains(string(answer), "HTTP/1.1 400") != refused || strings.Count(string(answer), "Connection: close\r\n") != 1 {
			t.Errorf("%q: %q, %v", first, answer, err)
		}
	}
	if strings.Contains(f.stderr.String(), "xxxxxxxxx") {
		t.Error("a request with bare line feeds was served")
	}
}

// Whichever server a request comes to, it is served: pipelined ones, our own paths and escapes of them, HTTP/1.0 and HTTP/2.
func TestHTTPMode_BothServers(t *testing.T) {
	f := serveHTTP(t, nil)
	f.waitReady()
	conn := f.raw("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /_/%68ealth HTTP/1.1\r\nHost: x\r\n\r\nGET /_/b HTTP/1.1\r\nHost: x\r\n\r\n" +
		"GET http://x/c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	answers := bufio.NewReader(conn)
	for _, want := range []string{`"URI":"/a"`, "OK", `"URI":"/_/b"`, `"URI":"/c"`} {
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); !strings.Contains(string(body), want) || err != nil {
			t.Errorf("%.100q, want %s, %v", body, want, err)
		}
	}
	conn = f.raw("GET /old HTTP/1.0\r\n\r\n")
	if answer, err := io.ReadAll(conn); !strings.Contains(string(answer), `"URI":"/old"`) || err != nil {
		t.Errorf("%.100q, %v", answer, err)
	}
}

// A body that is malformed, or does not come in time, is the caller's fault.
func TestHTTPMode_BadBodies(t *testing.T) {
	f := serveHTTP(t, nil, "read_timeout=300ms")
	f.waitReady()
	for request, want := range map[string]int{
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd": 400,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc":                408,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\nabc":            408,
	} {
		res, err := http.ReadResponse(bufio.NewReader(f.raw(request)), nil)
		if err != nil || res.StatusCode != want || res.Header.Get("X-OpenFaaS-Internal") != "dc-watchdog" {
			t.Errorf("%q: %+v, %v", request, res, err)
		}
	}
}

func TestHTTPMode_OverLimit(t *testing.T) {
	f := serveHTTP(t, nil, "max_inflight=1")
	f.waitReady()
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan answer, 1)
	go func() { first <- f.doCtx(ctx, "GET", "/slow?for=1h", nil) }()
	f.stdout.waitFor(t, "begun")
	if got := f.do("POST", "/", "x"); got.status != 429 || got.header.Get("Retry-After") != "1" ||
		got.body != "Concurrent request limit exceeded. Max concurrent requests: 1\n" {
		t.Errorf("%+v", got)
	}
	cancel()
	<-first
	f.stdout.waitFor(t, "cancelled")
}

// BenchmarkHTTPMode_Forward is what the watchdog adds to a request, beside httputil.ReverseProxy in its place: one client over loopback,
// and an endpoint that answers from memory.
func BenchmarkHTTPMode_Forward(b *testing.B) {
	endpoint, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer endpoint.Close()
	go serveCanned(endpoint)
	f := prepare(b, "fprocess=cat", "mode=http", "upstream_url=http://"+endpoint.Addr().String(), "healthcheck_interval=0", "exec_timeout=1m")
	quiet := slog.New(slog.DiscardHandler)
	f.Watchdog.log, f.mode.(*httpMode).log = quiet, quiet
	f.start()
	f.waitReady()
	slow, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := f.server(context.Background())
	go srv.Serve(slow)
	defer srv.Close()
	for name, address := range map[string]string{
		"direct":   endpoint.Addr().String(),
		"http1":    strings.TrimPrefix(f.url, "http://"),
		"net-http": slow.Addr().String(),
	} {
		b.Run(name, func(b *testing.B) { benchmarkCalls(b, address) })
	}
}

func benchmarkCalls(b *testing.B, address string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request := []byte("POST /path HTTP/1.1\r\nHost: example.org\r\nUser-Agent: bench\r\nX-Call-Id: 0123456789\r\nContent-Length: 5\r\n\r\nhello")
	buf := make([]byte, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if err := readHello(conn, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// readHello reads one message, which ends in "hello".
func readHello(conn net.Conn, buf []byte) error {
	for end := 0; ; {
		n, err := conn.Read(buf[end:])
		if err != nil {
			return err
		}
		if end += n; bytes.HasSuffix(buf[:end], []byte("hello")) {
			return nil
		}
	}
}

// serveCanned answers every message that ends in "hello".
func serveCanned(ln net.Listener) {
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: %s\r\nContent-Length: 5\r\n\r\nhello", time.Now().UTC().Format(http.TimeFormat))
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			for buf := make([]byte, 4<<10); ; {
				if readHello(conn, buf) != nil {
					return
				}
				if _, err := conn.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}

// What outlives the drain deadline is ended, and its caller sees no answer that looks whole.
func TestHTTPMode_DrainDeadline(t *testing.T) {
	checkLeaks(t)
	f := prepare(t, self(t, "server"), "mode=http", "PORT="+freePort(t), "healthcheck_interval=0")
	f.drainLimit = 100 * time.Millisecond
	f.start()
	f.waitReady()
	answered := make(chan answer, 2)
	for _, path := range []string{"/slow?for=1h", "/events"} {
		go func() { answered <- f.do("GET", path, "") }()
	}
	f.stdout.waitFor(t, "begun")
	if err := f.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	for range 2 {
		if got := <-answered; got.err == nil {
			t.Errorf("%+v", got)
		}
	}
	f.log.waitFor(t, "ending with invocations in flight")
	if _, n := f.inFlight.empty(); n != 0 {
		t.Errorf("%d in flight after the end", n)
	}
}

// A request that meets the end of an idle connection is sent again if it may be, and no other is.
func TestHTTPMode_ClosedIdle(t *testing.T) {
	endpoint, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[string]int{}
	go func() {
		for {
			conn, err := endpoint.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for requests := bufio.NewReader(conn); ; {
					r, err := http.ReadRequest(requests)
					if err != nil {
						return
					}
					io.Copy(io.Discard, r.Body)
					mu.Lock()
					seen[r.URL.Path]++
					lost := r.URL.Path != "/first" && seen[r.URL.Path] == 1
					mu.Unlock()
					if lost {
						return
					}
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			}()
		}
	}()
	f := serve(t, "fprocess=cat", "mode=http", "DC_DIALECT=native", "healthcheck_interval=0", "upstream_url=http://"+endpoint.Addr().String())
	t.Cleanup(func() { endpoint.Close() })
	f.waitReady()
	for i, r := range []struct {
		method, body string
		status, sent int
	}{
		{"GET", "", 200, 2}, {"HEAD", "", 200, 2}, {"OPTIONS", "", 200, 2},
		{"POST", "", 502, 1}, {"GET", "x", 502, 1}, {"DELETE", "", 502, 1},
	} {
		// On one connection, so that what the first has used is idle when the second comes.
		conn := f.raw(fmt.Sprintf("GET /first HTTP/1.1\r\nHost: x\r\n\r\n%s /%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s",
			r.method, i, len(r.body), r.body))
		answers := bufio.NewReader(conn)
		for _, want := range []int{200, r.status} {
			res, err := http.ReadResponse(answers, &http.Request{Method: r.method})
			if err != nil || res.StatusCode != want {
				t.Fatalf("%s %q: %+v, %v, want %d", r.method, r.body, res, err, want)
			}
			io.Copy(io.Discard, res.Body)
		}
		mu.Lock()
		if sent := seen[fmt.Sprint("/", i)]; sent != r.sent {
			t.Errorf("%s %q was sent %d times, want %d", r.method, r.body, sent, r.sent)
		}
		mu.Unlock()
	}
}
