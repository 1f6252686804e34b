package watchdog

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/test/freeport"
)

// freePort is a port that nothing listens on, and nobody but this test will.
func freePort(t testing.TB) string {
	t.Helper()
	return strconv.Itoa(freeport.Reserve(t))
}

// serveHTTP starts a watchdog around the server program, in the native dialect unless environ says otherwise.
func serveHTTP(t testing.TB, args []string, environ ...string) *fixture {
	t.Helper()
	base := []string{self(t, "server", args...), "PORT=" + freePort(t), "mode=http", "DC_DIALECT=native", "healthcheck_interval=0"}
	return serve(t, append(base, environ...)...)
}

func (f *fixture) seen(method, path, body string, header ...string) seen {
	f.t.Helper()
	var s seen
	got := f.do(method, path, body, header...)
	if err := json.Unmarshal([]byte(got.body), &s); err != nil {
		f.t.Fatalf("%+v: %v", got, err)
	}
	return s
}

func TestHTTPMode_RequestArrivesAsSent(t *testing.T) {
	f := serveHTTP(t, nil)
	t.Run("line and host", func(t *testing.T) {
		for _, uri := range []string{"/", "/a/b?x=1&y=%20;z", "//a/../b/./", "/a%2Fb%7Ec", "/%00", "/x?", "/_/health/", "/_/ready/x"} {
			if s := f.seen("GET", uri, "", "Host: some.host"); s.URI != uri || s.Host != "some.host" || s.Method != "GET" {
				t.Errorf("%s arrived as %s %s of %s", uri, s.Method, s.URI, s.Host)
			}
		}
		for _, method := range []string{"PUT", "DELETE", "OPTIONS", "PURGE"} {
			if s := f.seen(method, "/", ""); s.Method != method {
				t.Errorf("%s arrived as %s", method, s.Method)
			}
		}
	})
	t.Run("headers", func(t *testing.T) {
		s := f.seen("GET", "/", "", "X-Many: 1", "X-Many: 2", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Call-Id: c1",
			"Connection: X-Hop", "X-Hop: 1", "Keep-Alive: 1", "Proxy-Authorization: secret", "Te: trailers", "User-Agent: me")
		want := map[string][]string{"X-Many": {"1", "2"}, "X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Proto": {"https"},
			"X-Call-Id": {"c1"}, "X-Hop": nil, "Keep-Alive": nil, "Proxy-Authorization": nil, "Te": {"trailers"}, "User-Agent": {"me"},
			"Accept-Encoding": nil}
		for name, values := range want {
			if !slices.Equal(s.Header[name], values) {
				t.Errorf("%s: %q, want %q", name, s.Header[name], values)
			}
		}
	})
	t.Run("none added", func(t *testing.T) {
		s := f.seen("GET", "/", "", "User-Agent: ")
		if len(s.Header) != 0 {
			t.Errorf("headers %v", s.Header)
		}
	})
	t.Run("body", func(t *testing.T) {
		for _, size := range []int{0, 1, 1 << 20} {
			body := strings.Repeat("x", size)
			if s := f.seen("POST", "/", body); s.Length != int64(size) || s.Coding != nil || s.Body != body {
				t.Errorf("%d bytes arrived as %d, %v, %d bytes", size, s.Length, s.Coding, len(s.Body))
			}
		}
		got := f.doCtx(context.Background(), "POST", "/", io.MultiReader(strings.NewReader("unknown"), strings.NewReader(" length")))
		if !strings.Contains(got.body, `"Body":"unknown length","Length":-1,"Coding":["chunked"]`) {
			t.Errorf("chunked: %+v", got)
		}
	})
	t.Run("expect continue", func(t *testing.T) {
		for _, size := range []int{10, 1 << 20} {
			body := strings.Repeat("x", size)
			if s := f.seen("POST", "/", body, "Expect: 100-continue"); s.Body != body {
				t.Errorf("%d bytes arrived as %d", size, len(s.Body))
			}
		}
	})
	t.Run("environment of the process", func(t *testing.T) {
		for _, entry := range f.seen("GET", "/", "").Environ {
			if name, _, _ := strings.Cut(entry, "="); name == "mode" || strings.HasPrefix(name, "DC_") {
				t.Errorf("the function sees %s", entry)
			}
		}
	})
}

func TestHTTPMode_AnswerLeavesAsGiven(t *testing.T) {
	f := serveHTTP(t, nil)
	for _, code := range []int{200, 204, 301, 304, 404, 418, 500, 503} {
		got := f.do("GET", fmt.Sprint("/status?code=", code), "")
		if got.status != code || !slices.Equal(got.header["Set-Cookie"], []string{"a=1", "b=2"}) || got.header.Get("Location") != "/elsewhere" ||
			got.header.Get("Keep-Alive") != "" {
			t.Errorf("%d: %+v", code, got)
		}
		if !strings.Contains(got.header.Get("X-Duration-Seconds"), ".") {
			t.Errorf("%d: X-Duration-Seconds %q", code, got.header.Get("X-Duration-Seconds"))
		}
	}
	t.Run("HEAD", func(t *testing.T) {
		if got := f.do("HEAD", "/", ""); got.status != 200 || got.header.Get("Content-Length") == "" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("trailers", func(t *testing.T) {
		res, err := client.Post(f.url+"/trailer", "", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		io.Copy(io.Discard, res.Body)
		if res.Trailer.Get("X-Sum") != "42" {
			t.Errorf("trailer %v", res.Trailer)
		}
	})
	t.Run("broken half way", func(t *testing.T) {
		if got := f.do("GET", "/break", ""); got.err == nil || got.body != "half" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("CONNECT", func(t *testing.T) {
		conn := f.raw("CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n")
		if line, _ := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(line, " 405 ") {
			t.Errorf("%q", line)
		}
	})
}

func TestHTTPMode_BasePath(t *testing.T) {
	port := freePort(t)
	for base, want := range map[string]string{"": "/a//b?q", "/": "/a//b?q", "/base": "/base/a//b?q", "/base/": "/base/a//b?q"} {
		f := serveHTTP(t, nil, "PORT="+port, "upstream_url=http://127.0.0.1:"+port+base)
		if s := f.seen("GET", "/a//b?q", ""); s.URI != want {
			t.Errorf("base %q: %s, want %s", base, s.URI, want)
		}
		f.stop()
	}
}

// Bodies of any length pass both ways in the same memory.
func TestHTTPMode_LongBodies(t *testing.T) {
	longBodies(t, serveHTTP(t, nil), "/early", "early\n")
}

// The answer starts while the request is still being sent.
func TestHTTPMode_BothWaysAtOnce(t *testing.T) {
	f := serveHTTP(t, nil)
	conn := f.raw("POST /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); line != "early\n" {
		t.Fatalf("%q, %v", line, err)
	}
	for range 3 {
		io.WriteString(conn, "3\r\nab\n\r\n")
		if line, err := lines.ReadString('\n'); line != "ab\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
}

func TestHTTPMode_EventsFlushedAndNotTimed(t *testing.T) {
	f := serveHTTP(t, nil, "exec_timeout=50ms")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", f.url+"/events", nil)
	req.Header.Set("Accept", "text/html, Text/Event-Stream")
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	events := bufio.NewReader(res.Body)
	if line, err := events.ReadString('\n'); line != "data: 1\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if got := f.do("GET", "/slow?for=1h", ""); got.status != 504 { // by then exec_timeout has passed for the stream as well
		t.Fatalf("%+v", got)
	}
	if strings.Contains(f.stdout.String(), "events ended") {
		t.Error("exec_timeout ended the stream")
	}
	cancel()
	f.stdout.waitFor(t, "events ended")
}

func TestHTTPMode_Socket(t *testing.T) {
	for _, protocol := range []string{"websocket", "WebSocket", "something/2"} {
		t.Run(protocol, func(t *testing.T) {
			var environ []string
			if protocol != "something/2" { // for whose sake no limit is lifted
				environ = []string{"exec_timeout=50ms"}
			}
			f := serveHTTP(t, nil, environ...)
			conn := f.raw("GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + protocol + "\r\n\r\n")
			answers := bufio.NewReader(conn)
			res, err := http.ReadResponse(answers, nil)
			if err != nil || res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Upgrade") != protocol {
				t.Fatalf("%+v, %v", res, err)
			}
			for _, message := range []string{"one\n", "two\n", strings.Repeat("x", 100<<10) + "\n"} {
				go io.WriteString(conn, message)
				if echo, err := answers.ReadString('\n'); echo != message {
					t.Fatalf("%.20q, %v", echo, err)
				}
			}
			conn.Close()
			f.stdout.waitFor(t, "socket closed")
		})
	}
}

// What lifts exec_timeout is a stream or a socket, and not a header that any client may send along; X-Timeout ends those too.
func TestHTTPMode_LimitNotLifted(t *testing.T) {
	for name, r := range map[string]struct {
		environ, path string
		header        []string
	}{
		"an offer of h2c":           {"exec_timeout=100ms", "/slow?for=1h", []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"}},
		"websocket not as an offer": {"exec_timeout=100ms", "/slow?for=1h", []string{"Upgrade: websocket"}},
		"X-Timeout of a stream":     {"exec_timeout=1h", "/slow?for=1h", []string{"Accept: text/event-stream", "X-Timeout: 100ms"}},
		"X-Timeout of a socket": {"exec_timeout=1h", "/slow?for=1h", []string{"Connection: keep-alive, upgrade", "Upgrade: WebSocket",
			"X-Timeout: 100ms"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := serveHTTP(t, nil, r.environ)
			f.waitReady()
			ctx, cancel := context.WithTimeout(context.Background(), patience/4)
			defer cancel()
			if got := f.doCtx(ctx, "GET", r.path, nil, r.header...); got.status != 504 {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestHTTPMode_CallerThatDoesNotRead(t *testing.T) {
	f := serveHTTP(t, nil, "exec_timeout=1s")
	f.waitReady()
	f.neverRead("/big")
	f.stdout.waitFor(t, "begun")
	f.waitNothingInFlight()
}

func TestHTTPMode_Errors(t *testing.T) {
	for _, r := range []struct {
		name    string
		args    []string
		environ []string
		path    string
		header  string
		native  int
		of      int
	}{
		{name: "out of time", environ: []string{"exec_timeout=50ms"}, path: "/slow?for=1h", native: 504, of: 504},
		{name: "X-Timeout", path: "/slow?for=1h", header: "X-Timeout: 50ms", native: 504, of: 504},
		{name: "X-Timeout lifts nothing", environ: []string{"exec_timeout=50ms"}, path: "/slow?for=1h", header: "X-Timeout: 0s", native: 504, of: 504},
		{name: "write_timeout", environ: []string{"write_timeout=50ms"}, path: "/slow?for=1h", native: 504, of: 504},
		{name: "connection closed without an answer", path: "/abort", native: 502, of: 500},
		{name: "does not listen in time", args: []string{"-delay=1h"}, environ: []string{"exec_timeout=500ms"}, path: "/", native: 503, of: 500},
	} {
		for dialect, status := range map[Dialect]int{Native: r.native, Of: r.of} {
			t.Run(r.name+", "+string(dialect), func(t *testing.T) {
				f := serveHTTP(t, r.args, append(r.environ, "DC_DIALECT="+string(dialect))...)
				if r.args == nil {
					f.waitReady()
				}
				header := []string{r.header}
				if r.header == "" {
					header = nil
				}
				got := f.do("POST", r.path, "", header...)
				if got.status != status || got.err != nil {
					t.Errorf("%+v, want %d", got, status)
				}
				internal := map[Dialect]string{Native: "dc-watchdog", Of: "of-watchdog"}[dialect]
				if got.header.Get("X-Openfaas-Internal") != internal || got.header.Get("X-Duration-Seconds") == "" {
					t.Errorf("headers %v", got.header)
				}
				if (got.body == "") != (dialect == Of) {
					t.Errorf("body %q", got.body)
				}
				if status == 503 && got.header.Get("Retry-After") == "" {
					t.Error("503 without Retry-After")
				}
			})
		}
	}
}

// Requests that come before the process listens wait for it.
func TestHTTPMode_HeldWhileBooting(t *testing.T) {
	f := serveHTTP(t, []string{"-delay=1s"})
	if got := f.do("GET", "/_/ready", ""); got.status != 503 {
		t.Errorf("ready at once: %+v", got)
	}
	if got := f.do("GET", "/_/health", ""); got.status != 200 {
		t.Errorf("health while booting: %+v", got)
	}
	if s := f.seen("POST", "/", "early"); s.Body != "early" {
		t.Errorf("%+v", s)
	}
	if got := f.do("GET", "/_/ready", ""); got.status != 200 {
		t.Errorf("ready afterwards: %+v", got)
	}
}

func TestHTTPMode_PortClosed(t *testing.T) {
	f := serveHTTP(t, nil)
	f.waitReady()
	f.do("GET", "/close-port", "")
	if got := f.do("GET", "/_/ready", ""); got.status != 503 {
		t.Errorf("ready without a port: %+v", got)
	}
}

func TestHTTPMode_CallerGone(t *testing.T) {
	f := serveHTTP(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	answered := make(chan answer, 1)
	go func() { answered <- f.doCtx(ctx, "POST", "/slow?for=1h", strings.NewReader("x")) }()
	f.stdout.waitFor(t, "begun")
	cancel()
	<-answered
	f.stdout.waitFor(t, "cancelled")
}

// A connection that the function has closed while it was idle costs no request.
func TestHTTPMode_StaleConnections(t *testing.T) {
	f := serveHTTP(t, []string{"-idle=1ms"})
	f.waitReady()
	for i := range 20 {
		if got := f.do("POST", "/", "body"); got.status != 200 {
			t.Fatalf("%+v", got)
		}
		f.stdout.waitFor(t, strings.Repeat("idle connection closed\n", i+1))
	}
}

func TestHTTPMode_ProcessEnds(t *testing.T) {
	for code, want := range map[int]string{0: "exit status 0", 7: "exit status 7"} {
		t.Run(want, func(t *testing.T) {
			f := serveHTTP(t, nil)
			f.waitReady()
			inFlight := make(chan answer, 1)
			go func() { inFlight <- f.do("GET", "/slow?for=1h", "") }()
			f.stdout.waitFor(t, "begun")
			if got := f.do("GET", fmt.Sprint("/exit?code=", code), ""); got.status != 502 {
				t.Errorf("the request that ended it: %+v", got)
			}
			if got := <-inFlight; got.status != 502 {
				t.Errorf("the request in flight: %+v", got)
			}
			begun := time.Now()
			if err := f.wait(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Serve: %v", err)
			}
			if took := time.Since(begun); took > patience/4 {
				t.Errorf("ended after %v", took)
			}
		})
	}
}

func TestHTTPMode_ProcessNeverServes(t *testing.T) {
	f := serve(t, "fprocess=true", "mode=http", "upstream_url=http://127.0.0.1:"+freePort(t))
	if err := f.wait(); err == nil || !strings.Contains(err.Error(), "exit status 0") {
		t.Errorf("Serve: %v", err)
	}
	f = serve(t, "fprocess=no-such-program", "mode=http", "upstream_url=http://127.0.0.1:1")
	if err := f.wait(); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("Serve: %v", err)
	}
}

func TestHTTPMode_Logs(t *testing.T) {
	f := serveHTTP(t, nil, "prefix_logs=true", "log_buffer_size=1000")
	f.waitReady()
	f.do("GET", "/log?bytes=100000", "")
	f.do("GET", "/log?bytes=3", "")
	f.stderr.waitFor(t, " stderr: xxx\n")
	for line := range strings.Lines(f.stderr.String()) {
		if len(line) > 1100 {
			t.Errorf("line of %d bytes", len(line))
		}
	}
	if got := strings.Count(f.stderr.String(), "x"); got != 100003 {
		t.Errorf("%d of 100003 characters logged", got)
	}
	f.do("GET", "/slow?for=0s", "")
	f.stdout.waitFor(t, " stdout: begun\n")
}

func TestHTTPMode_SignalsArePassedOn(t *testing.T) {
	f := serveHTTP(t, nil)
	f.waitReady()
	f.Signal(1)
	f.stdout.waitFor(t, "signal: hangup")
}

func TestHTTPMode_ShellWrapperGetsSIGTERM(t *testing.T) {
	exe, _ := os.Executable()
	f := serve(t, sh(exe+" program=server & wait"), "PORT="+freePort(t), "mode=http", "DC_DIALECT=native", "healthcheck_interval=0")
	f.waitReady()
	begun := time.Now()
	if err := f.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if took := time.Since(begun); took > patience/4 {
		t.Errorf("ended after %v", took)
	}
}

// A leader that is gone at once does not take the time that the others need from them.
func TestHTTPMode_GroupEndsInItsTime(t *testing.T) {
	f := serve(t, sh(`(trap 'sleep 0.3; echo cleaned; exit' TERM; echo up; while :; do sleep 0.01; done) & wait`),
		"PORT="+freePort(t), "mode=http", "DC_DIALECT=native", "healthcheck_interval=0")
	f.stdout.waitFor(t, "up\n")
	begun := time.Now()
	if err := f.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if took := time.Since(begun); took > patience/4 {
		t.Errorf("ended after %v", took)
	}
	f.stdout.waitFor(t, "cleaned\n")
}

func TestHTTPMode_GroupIgnoresSIGTERM(t *testing.T) {
	f := prepare(t, sh(`(trap '' TERM; echo up; sleep 98765.7) & wait`), "PORT="+freePort(t), "mode=http", "DC_DIALECT=native",
		"healthcheck_interval=0")
	f.mode.(*httpMode).grace = 2 * time.Second // enough for the shell itself to end, on a busy machine too
	f.start()
	f.stdout.waitFor(t, "up\n")
	if err := f.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	f.log.waitFor(t, "what the function's process started did not end in time")
	waitGone(t, "98765.7")
}

func TestHTTPMode_SIGTERMIgnored(t *testing.T) {
	f := prepare(t, self(t, "server", "-ignore-term"), "PORT="+freePort(t), "mode=http", "healthcheck_interval=0")
	f.mode.(*httpMode).grace = time.Second // enough for it to say that it was asked
	f.start()
	f.waitReady()
	if err := f.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	f.log.waitFor(t, "did not end in time and is killed")
	f.stdout.waitFor(t, "signal: terminated")
}

// A process that listens before it can serve is not ready, and what comes is held, until its ready path says so.
func TestHTTPMode_ReadyPath(t *testing.T) {
	f := serveHTTP(t, []string{"-warm-up=300ms"}, "ready_path=/ready")
	if s := f.seen("POST", "/", "early"); s.Body != "early" {
		t.Errorf("%+v", s)
	}
	if got := f.do("GET", "/ready", ""); got.status != 200 {
		t.Errorf("served while its ready path says %d", got.status)
	}
	if got := f.do("GET", "/_/ready", ""); got.status != 200 {
		t.Errorf("ready: %+v", got)
	}
	f.do("GET", "/tire", "")
	if got := f.do("GET", "/_/ready", ""); got.status != 503 {
		t.Errorf("ready with a ready path that fails: %+v", got)
	}
	if s := f.seen("POST", "/", "late"); s.Body != "late" {
		t.Errorf("a call that comes all the same: %+v", s)
	}
}
