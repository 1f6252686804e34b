package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// mirror answers with what it sees of a request, in one form, or as the path says.
func mirror(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var seen strings.Builder
	fmt.Fprintf(&seen, "%s %s host=%s length=%d coding=%v body=%.100q %d %v\n", r.Method, r.RequestURI, r.Host, r.ContentLength, r.TransferEncoding, body, len(body), err)
	if r.ContentLength == 0 {
		// http.Transport says so where the caller did not, of methods that mostly have a body; and package http1 does not expect
		// to be asked for nothing.
		r.Header.Del("Content-Length")
		r.Header.Del("Expect")
	}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&seen, "%s: %q\n", name, r.Header[name])
	}
	fmt.Fprintf(&seen, "trailer: %v\n", r.Trailer)
	h := w.Header()
	switch path, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); path {
	case "silent":
		h["Content-Type"] = nil
	case "own":
		h.Set("X-Call-Id", "the function's")
		h.Set("X-Start-Time", "")
		h.Set("X-Served-By", "me")
		h.Add("Set-Cookie", "a=1")
		h.Add("Set-Cookie", "b=2")
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "1")
		h.Set("Keep-Alive", "timeout=5")
	case "chunks":
		io.WriteString(w, "first ")
		w.(http.Flusher).Flush()
	case "trailers":
		h.Set("Trailer", "X-Sum")
		defer h.Set("X-Sum", "42")
	case "hints":
		h.Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		h.Del("Link")
	case "204", "304", "404", "500", "503":
		var status int
		fmt.Sscan(path, &status)
		w.WriteHeader(status)
		if status < 400 {
			return
		}
	case "redirect":
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
		return
	case "large":
		h.Set("Content-Length", fmt.Sprint(300<<10))
		w.Write(make([]byte, 300<<10))
		return
	case "gzip":
		h.Set("Content-Encoding", "gzip")
	case "broken":
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
		return
	}
	io.WriteString(w, seen.String())
}

// told is what a client is told, without what differs from call to call.
type told struct {
	interim []string
	status  string
	header  string
	body    string
	trailer string
	close   bool // unless it is an error, after which a body may be left that only one of the servers reads
}

// made are call ids and times that the proxy has made.
var made = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9]{19}\b`)

// ask sends raw on a connection of its own and reads the last answer.
func ask(t *testing.T, address, method, raw string) (told, error) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	go io.WriteString(conn, raw)
	reader := bufio.NewReader(conn)
	var got told
	for {
		answer, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil {
			return got, err
		}
		if answer.StatusCode < 200 {
			if answer.StatusCode != http.StatusContinue {
				got.interim = append(got.interim, fmt.Sprint(answer.StatusCode, answer.Header))
			}
			continue
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return got, err
		}
		if answer.Header.Get("X-Call-Id") == "" && answer.StatusCode != http.StatusMethodNotAllowed {
			// No request at all, or none of the proxy's: each server has its own words for that.
			return told{status: fmt.Sprint(answer.StatusCode)}, nil
		}
		if answer.Header.Get("Date") == "" {
			t.Errorf("no Date: %v", answer.Header)
		}
		answer.Header.Del("Date")
		got.status, got.body, got.trailer, got.close = answer.Status, made.ReplaceAllString(string(body), "MADE"), fmt.Sprint(answer.Trailer), answer.Close && answer.StatusCode < 400
		got.header = made.ReplaceAllString(fmt.Sprint(answer.Header, answer.ContentLength, answer.TransferEncoding), "MADE")
		return got, nil
	}
}

// A caller cannot tell which way its call went, nor can the function.
func TestWays_AreTheSameToBothSides(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.WakeTimeout = 50 * time.Millisecond })
	w.deploy(echo, mirror)
	w.deploy(function.Ref{Name: "asleep", Namespace: "openfaas-fn"})
	w.deploy(function.Ref{Name: "Echo_1", Namespace: "openfaas-fn"}, mirror)
	w.deploy(function.Ref{Name: "gone", Namespace: "openfaas-fn"})
	w.setEndpoints(function.Ref{Name: "gone", Namespace: "openfaas-fn"}, refusing(t))
	w.waysAreTheSame(t)
}

// The same holds for contracts, whose callers get an answer that was read to its end.
func TestWays_OfContractsAreTheSameToBothSides(t *testing.T) {
	var w *world
	w = newWorld(t, func(c *Config) {
		c.WakeTimeout = 50 * time.Millisecond
		c.Contract = func(rw http.ResponseWriter, r *http.Request, f *function.Function, idGiven bool) {
			w.serveWhole(rw, r, f)
		}
	})
	for _, name := range []string{"echo", "asleep", "Echo_1", "gone"} {
		ref := function.Ref{Name: name, Namespace: "openfaas-fn"}
		f := w.deploy(ref)
		contract := *f
		contract.Policy.Heap = true
		w.mu.Lock()
		w.functions[ref] = &contract
		w.mu.Unlock()
		switch name {
		case "gone":
			w.setEndpoints(ref, refusing(t))
		case "echo", "Echo_1":
			w.setEndpoints(ref, w.replica(name, mirror))
		}
	}
	w.waysAreTheSame(t)
}

// serveWhole is what package invoke does with a call, without its effects. A call that came by net/http goes on by net/http.
func (w *world) serveWhole(rw http.ResponseWriter, r *http.Request, f *function.Function) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.proxy.cfg.Error(rw, r, unreadable(err))
		return
	}
	out := r.Clone(r.Context())
	out.Header.Del("Expect")
	out.Body, out.ContentLength, out.TransferEncoding, out.Trailer = http.NoBody, int64(len(body)), nil, nil
	if len(body) > 0 {
		out.Body = io.NopCloser(bytes.NewReader(body))
	}
	var answer *http.Response
	if r.Context().Value(http.ServerContextKey) == nil {
		answer, err = w.proxy.RoundTrip(r.Context(), f, out)
	} else {
		answer, err = w.proxy.travel(r.Context(), w.proxy.newCall(f, time.Now()), out)
		if err == nil {
			setContentType(answer, out.Header)
		}
	}
	if err != nil {
		w.proxy.cfg.Error(rw, r, err)
		return
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		w.proxy.cfg.Error(rw, r, err)
		return
	}
	h := rw.Header()
	maps.Copy(h, answer.Header)
	if _, given := answer.Header["Content-Type"]; !given {
		h["Content-Type"] = nil
	}
	switch {
	case r.Method == http.MethodHead || !hasContentType(answer.StatusCode):
	case len(answer.Trailer) > 0:
		h.Del("Content-Length")
		for name := range answer.Trailer {
			h.Add("Trailer", name)
		}
	default:
		h.Set("Content-Length", fmt.Sprint(len(text)))
	}
	rw.WriteHeader(answer.StatusCode)
	rw.Write(text)
	maps.Copy(h, answer.Trailer)
}

// waysAreTheSame compares what a caller sees by package http1 with what it sees by net/http.
func (w *world) waysAreTheSame(t *testing.T) {
	t.Helper()
	fast := newFront(t, w.proxy, w.proxy, false)
	alone := newFront(t, w.proxy, w.proxy, true)

	const host = "Host: h.example:8080\r\n"
	var requests []string
	add := func(format string, args ...any) { requests = append(requests, fmt.Sprintf(format, args...)) }
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"} {
		for _, path := range []string{"", "/", "/silent", "/own", "/chunks", "/trailers", "/hints", "/204", "/304", "/404", "/500", "/503",
			"/redirect", "/large", "/gzip", "/broken"} {
			add("%s /function/echo%s HTTP/1.1\r\n%s\r\n", method, path, host)
			if method != "TRACE" {
				add("%s /function/echo%s HTTP/1.1\r\n%sContent-Type: a/b\r\nContent-Length: 4\r\n\r\nbody", method, path, host)
				add("%s /function/echo%s HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", method, path, host)
			}
		}
	}
	for _, target := range []string{
		"/function/", "/function", "/function//a", "/function/nobody", "/function/nobody/a?b", "/function/echo.elsewhere", "/function/echo.",
		"/function/.openfaas-fn", "/function/echo.openfaas-fn", "/function/Echo_1", "/function/echo?", "/function/echo?x=1&y", "/function/echo/?",
		"/function/echo/a?x=%zz;y", "/function/echo/a%2Fb", "/function/echo/a%2fb%20c", "/function/%65cho/a", "/function/ech%6F", "/function/echo%2Fa",
		"/function/echo%00", "/function/echo/a%00", "/function/echo/a/../b/.", "/function/echo//a//", "/function/echo/a;b=c,d", "/function/echo/a{b}",
		"/function/echo/a|b", "/function/echo/\"a\"", "/function/echo/\xc3\xa9", "/function/echo/a?\xc3\xa9", "/function/echo/[1]", "/function/echo/a:b@c",
		"/function/echo/a\\b", "/function/echo/a^b`c", "/function/echo/~a!$&'()*+,;=", "/function/echo:80/a", "/function/echo/%", "/function/echo/%2",
		"/function/asleep", "/function/gone", "/system/functions", "/", "//function/echo", "http://h/function/echo", "*", "/Function/echo",
		"/function/echo?a?b/c", "/function/e?/a", "/function/" + strings.Repeat("n", 300), "/function/echo/" + strings.Repeat("p", 10<<10),
		"/function/echo/a%25b", "/function/echo/%c3%a9", "/function/echo/%3f",
	} {
		add("GET %s HTTP/1.1\r\n%s\r\n", target, host)
		add("POST %s HTTP/1.1\r\n%sContent-Length: 4\r\n\r\nbody", target, host)
	}
	for _, fields := range []string{
		"X-Call-Id: mine\r\n", "X-Call-Id: one\r\nX-Call-Id: two\r\n", "X-Call-Id:\r\n", "x-call-id: mine\r\nx-start-time: 5\r\n", "X-Start-Time: \r\n",
		"X-Forwarded-For: 10.0.0.1\r\n", "X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\nx-forwarded-for: 10.0.0.3\r\n", "X-Forwarded-For:\r\n",
		"X-Forwarded-Host: other\r\nX-Forwarded-Proto: https\r\n", "X-Forwarded-Host:\r\nX-Forwarded-Proto:\r\n", "Forwarded: for=1.2.3.4\r\n",
		"Connection: X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: a\r\nX-Forwarded-Proto: https\r\n",
		"Connection: X-Private, close\r\nX-Private: 1\r\n", "Connection: keep-alive\r\nKeep-Alive: 5\r\n", "Proxy-Authorization: a\r\nProxy-Connection: b\r\n",
		"TE: trailers\r\n", "TE: gzip\r\n", "TE: trailers, gzip\r\n", "Upgrade: h2c\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\n",
		"Authorization: Bearer x\r\nCookie: a=b\r\ncookie: c=d\r\n", "Accept-Encoding: br\r\n", "User-Agent: x\r\nReferer: http://a/b\r\n",
		"Content-Type:\r\n", "Content-Type: a/b\r\nContent-Type: c/d\r\n", "Expect: 100-continue\r\n", "X-Odd: \xe9\t\"\r\n", "Range: bytes=0-1\r\n",
		"X-OpenFaaS-Internal: me\r\nX-Served-By: me\r\nX-Duration-Seconds: 1\r\n", "Content-Length: 0\r\n", "X-Long: " + strings.Repeat("v", 20<<10) + "\r\n",
		"X Y: 1\r\n", "Host: b\r\n",
	} {
		add("GET /function/echo/silent HTTP/1.1\r\n%s%s\r\n", host, fields)
		add("GET /function/nobody HTTP/1.1\r\n%s%s\r\n", host, fields)
		if !strings.Contains(fields, "Content-Length") {
			add("POST /function/echo/chunks HTTP/1.1\r\n%s%sContent-Length: 4\r\n\r\nbody", host, fields)
		}
	}
	add("GET /function/echo HTTP/1.0\r\n\r\n")
	add("GET /function/echo/chunks HTTP/1.0\r\n%s\r\n", host)
	add("GET /function/echo HTTP/1.0\r\n%sConnection: keep-alive\r\n\r\n", host)
	add("POST /function/echo HTTP/1.0\r\n%sContent-Length: 4\r\n\r\nbody", host)
	add("GET /function/echo HTTP/1.1\r\n\r\n")
	add("POST /function/echo HTTP/1.1\r\n%sTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n4;ext=1\r\nbody\r\n0\r\nX-T: v\r\n\r\n", host)
	add("POST /function/echo HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\nzz\r\nbody\r\n0\r\n\r\n", host)
	for _, size := range []int{1, 4096, 4097, 64 << 10, 64<<10 + 1, 1 << 20} {
		add("POST /function/echo HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", host, size, strings.Repeat("b", size))
		add("POST /function/asleep HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", host, size, strings.Repeat("b", size))
		add("POST /function/gone HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", host, size, strings.Repeat("b", size))
	}

	for _, raw := range requests {
		method, _, _ := strings.Cut(raw, " ")
		want, wantErr := ask(t, alone.Listener.Addr().String(), method, raw)
		got, err := ask(t, fast.Listener.Addr().String(), method, raw)
		if fmt.Sprint(got) != fmt.Sprint(want) || (err == nil) != (wantErr == nil) {
			t.Errorf("%.200q\nby http1    %.600q %v\nby net/http %.600q %v", raw, fmt.Sprint(got), err, fmt.Sprint(want), wantErr)
		}
	}
	t.Logf("%d requests", len(requests))
}

// A function that is deleted, deployed anew or made a contract is what it is now to the next call, though its name is remembered.
func TestServeExchange_NamesAreNotFunctions(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Contract = func(w http.ResponseWriter, _ *http.Request, _ *function.Function, _ bool) {
			io.WriteString(w, "contract")
		}
	})
	f := w.deploy(echo, hello)
	conn := w.dial()
	reader := bufio.NewReader(conn)
	want := func(status int, text string) {
		t.Helper()
		io.WriteString(conn, "GET /function/echo HTTP/1.1\r\nHost: h\r\n\r\n")
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(answer.Body); answer.StatusCode != status || !strings.Contains(string(got), text) {
			t.Errorf("status %d, %q", answer.StatusCode, got)
		}
	}
	want(200, "hello")
	want(200, "hello")
	w.undeploy(echo)
	want(404, "no function")
	w.deploy(echo, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "new") })
	want(200, "new")
	contract := *f
	contract.Policy.Heap = true
	w.mu.Lock()
	w.functions[echo] = &contract
	w.mu.Unlock()
	want(200, "contract")
	want(200, "contract") // by net/http
}

// Names of functions alone are remembered, so that others cannot push them out.
func TestServeExchange_UnknownNamesAreNotRemembered(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, hello)
	w.wantStatus("/function/echo", 200)
	for i := range 100 {
		w.wantStatus(fmt.Sprint("/function/nobody-", i), 404)
	}
	for i := range w.proxy.names.known {
		if k := w.proxy.names.known[i].Load(); k != nil && k.ref != echo {
			t.Errorf("%q is remembered", k.name)
		}
	}
}

// The connections to an endpoint that leaves are closed, those that carry a call when that has ended.
func TestServeExchange_ConnectionsOfAnEndpointThatLeft(t *testing.T) {
	if *netHTTPAlone {
		t.Skip("http.Transport keeps them until they are old")
	}
	w := newWorld(t, nil)
	w.deploy(echo)
	var open atomic.Int64
	release := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-release
		}
		io.WriteString(w, "hello")
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	w.setEndpoints(echo, function.Endpoint{Address: server.Listener.Addr().String(), Replica: "echo-0"})
	text := make(chan string)
	go func() {
		_, got := w.request("GET", "/function/echo/wait", "")
		text <- got
	}()
	w.await(func() bool { return open.Load() == 1 })
	w.wantStatus("/function/echo", 200)
	w.await(func() bool { return open.Load() == 2 })
	w.setEndpoints(echo)
	w.await(func() bool { return open.Load() == 1 })
	close(release)
	if got := <-text; got != "hello" {
		t.Errorf("the call in flight was answered %q", got)
	}
	w.await(func() bool { return open.Load() == 0 })
	w.await(func() bool {
		a := w.proxy.activities.find(echo)
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.leaving) == 0
	})
}

// How a caller's leaving is counted, while its call waits and while it is served.
func TestServeHTTP_CallerThatLeftIsCounted(t *testing.T) {
	w, registry := newMeteredWorld(t, nil)
	started := make(chan struct{})
	w.deploy(echo, func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
	})
	asleep := function.Ref{Name: "asleep", Namespace: "openfaas-fn"}
	w.deploy(asleep)
	for _, tt := range []struct {
		ref   function.Ref
		begun func()
	}{{echo, func() { <-started }}, {asleep, w.awaitWake}} {
		conn := w.dial()
		fmt.Fprintf(conn, "GET /function/%s HTTP/1.1\r\nHost: h\r\n\r\n", tt.ref.Name)
		tt.begun()
		conn.Close()
		w.await(func() bool { return w.proxy.Invocations(tt.ref) == 1 })
		if got := series(t, registry, "gateway_function_invocation_total", "499", tt.ref.String()).GetCounter().GetValue(); got != 1 {
			t.Errorf("%s: %v calls are counted as left by their callers", tt.ref, got)
		}
	}
}

// Calls by the hundred, which wait, are retried, time out and are left, share what is lent to them, and nobody gets another's.
func TestServeExchange_CallsDoNotMix(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Timeout = 5 * time.Second })
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case strings.HasPrefix(r.URL.Path, "/slow"):
			<-r.Context().Done()
		default:
			fmt.Fprintf(w, "%s %s %s", r.Header.Get("X-Call-Id"), r.RequestURI, body)
		}
	}).Policy.MaxInFlight = 3
	w.setEndpoints(echo, append(w.list(echo), refusing(t))...)
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			for j := range 20 {
				id := fmt.Sprintf("%d-%d", i, j)
				path, status, want := fmt.Sprint("?n=", id), 200, id+" /?n="+id+" body"+id
				if i < 3 && j == 10 {
					path, status, want = "/slow", 504, ""
				}
				answer, text := w.request("POST", "/function/echo"+path, "body"+id, "X-Call-Id", id)
				if answer.StatusCode != status || answer.Header.Get("X-Call-Id") != id || status == 200 && text != want {
					t.Errorf("%s: status %d, id %s, %q", id, answer.StatusCode, answer.Header.Get("X-Call-Id"), text)
				}
			}
		})
	}
	group.Wait()
	w.await(func() bool { return w.proxy.Load(echo).InFlight == 0 && w.proxy.Load(echo).Waiting == 0 })
}

func FuzzCutRoute(f *testing.F) {
	for _, target := range []string{"/function/echo", "/function/echo/a?b", "/function/e.n?x", "/function/%65", "/function//", "/x", "/function/a/%2f"} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		name, path, ok := cutRoute([]byte(target))
		u, err := url.ParseRequestURI(target)
		if !ok || err != nil {
			return
		}
		rt, err := parseRoute(u.EscapedPath())
		if err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		want := rt.rest
		if u.RawQuery != "" || u.ForceQuery {
			want += "?" + u.RawQuery
		}
		got := string(path)
		if !strings.HasPrefix(got, "/") {
			got = "/" + got
		}
		if string(name) != rt.name || got != want {
			t.Errorf("%q: %q %q, want %q %q", target, name, got, rt.name, want)
		}
	})
}
