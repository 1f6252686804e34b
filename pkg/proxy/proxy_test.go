package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/http1"
	"github.com/dragonchain/dc-provider/test/leaktest"
)

// netHTTPAlone puts net/http in front of the proxies of all tests, instead of package http1: see TestNetHTTPAlone.
var netHTTPAlone = flag.Bool("nethttp", false, "test ServeHTTP alone")

func TestMain(m *testing.M) {
	flag.Parse()
	leaktest.VerifyTestMain(m)
}

// Every test of this package holds for both ways of a call.
func TestNetHTTPAlone(t *testing.T) {
	if *netHTTPAlone {
		t.Skip("it runs")
	}
	if testing.Short() {
		t.Skip("runs all tests a second time")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), self, "-nethttp", "-test.skip=^(TestLimit_|TestEjection)").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("PASS")) {
		t.Errorf("nothing was tested: %s", out)
	}
}

// front is a listener with a proxy behind.
type front struct {
	Listener net.Listener
	URL      string
	client   *http.Client
	fast     *http1.Server // nil with net/http alone
	slow     *http.Server
	ended    sync.WaitGroup
}

// newFront serves what ServeExchange passes on, or everything, by handler.
func newFront(t testing.TB, p *Proxy, handler http.Handler, alone bool) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &front{
		Listener: listener, URL: "http://" + listener.Addr().String(), client: &http.Client{Transport: &http.Transport{}},
		slow: &http.Server{Handler: handler, ErrorLog: log.New(noPanics{t}, "", 0)},
	}
	if alone {
		s.ended.Go(func() { s.slow.Serve(listener) })
	} else {
		s.fast, err = http1.NewServer(http1.ServerConfig{Handler: p.ServeExchange, Rest: s.slow})
		if err != nil {
			t.Fatal(err)
		}
		s.ended.Go(func() { s.fast.Serve(listener) })
	}
	t.Cleanup(s.Close)
	return s
}

// noPanics is a server's log in which a panic is a test's failure.
type noPanics struct{ t testing.TB }

func (p noPanics) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("panic serving")) {
		p.t.Errorf("%s", line)
	}
	return os.Stderr.Write(line)
}

func (s *front) Client() *http.Client { return s.client }

// Close waits for the calls in flight, as httptest does.
func (s *front) Close() {
	s.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if s.fast != nil && s.fast.Shutdown(ctx) != nil {
		s.fast.Close()
	}
	if s.slow.Shutdown(ctx) != nil {
		s.slow.Close()
	}
	s.ended.Wait()
}

var echo = function.Ref{Name: "echo", Namespace: "openfaas-fn"}

// world is a cluster as the proxy sees it, with a listener in front.
type world struct {
	t      *testing.T
	proxy  *Proxy
	server *front

	mu        sync.Mutex
	functions map[function.Ref]*function.Function
	endpoints map[function.Ref][]function.Endpoint
	waking    chan function.Ref // gets a function whenever a waiter asks for a wake, if it has room
	failures  []error
}

func newWorld(t *testing.T, edit func(*Config)) *world {
	t.Helper()
	w := &world{
		t:         t,
		functions: make(map[function.Ref]*function.Function),
		endpoints: make(map[function.Ref][]function.Endpoint),
		waking:    make(chan function.Ref, 10000),
	}
	cfg := Config{
		Lookup:    w.lookup,
		Endpoints: w.list,
		Wake: func(_ context.Context, f *function.Function) error {
			select {
			case w.waking <- f.Ref:
			default:
			}
			return nil
		},
		Error:   w.answerError,
		Version: "test",
	}
	if edit != nil {
		edit(&cfg)
	}
	var err error
	if w.proxy, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.proxy.Close)
	w.server = newFront(t, w.proxy, w.proxy, *netHTTPAlone)
	return w
}

func (w *world) lookup(ref function.Ref) (*function.Function, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, ok := w.functions[ref]
	return f, ok
}

func (w *world) list(ref function.Ref) []function.Endpoint {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.endpoints[ref]
}

// answerError is as small a table as the tests need.
func (w *world) answerError(rw http.ResponseWriter, _ *http.Request, err error) {
	w.mu.Lock()
	w.failures = append(w.failures, err)
	w.mu.Unlock()
	status := http.StatusInternalServerError
	for is, code := range map[error]int{
		function.ErrNotFound: 404, function.ErrInvalid: 400,
		ErrNoEndpoint: 503, ErrBusy: 429, ErrTimeout: 504, ErrUnreachable: 502, ErrCanceled: 499,
	} {
		if errors.Is(err, is) {
			status = code
		}
	}
	http.Error(rw, err.Error(), status)
}

// deploy makes a function that is served by these handlers, each an endpoint.
func (w *world) deploy(ref function.Ref, handlers ...http.HandlerFunc) *function.Function {
	w.t.Helper()
	f := &function.Function{Spec: function.Spec{Ref: ref}, ID: "1", Replicas: len(handlers)}
	w.mu.Lock()
	w.functions[ref] = f
	w.mu.Unlock()
	var list []function.Endpoint
	for i, handler := range handlers {
		list = append(list, w.replica(fmt.Sprintf("%s-%d", ref.Name, i), handler))
	}
	w.setEndpoints(ref, list...)
	return f
}

func (w *world) replica(name string, handler http.HandlerFunc) function.Endpoint {
	server := httptest.NewServer(handler)
	w.t.Cleanup(server.Close)
	return function.Endpoint{Address: server.Listener.Addr().String(), Replica: name}
}

func (w *world) setEndpoints(ref function.Ref, list ...function.Endpoint) {
	w.mu.Lock()
	w.endpoints[ref] = list
	f := w.functions[ref]
	w.mu.Unlock()
	id := ""
	if f != nil {
		id = f.ID
	}
	w.proxy.SetEndpoints(ref, id, list)
}

func (w *world) undeploy(ref function.Ref) {
	w.mu.Lock()
	delete(w.functions, ref)
	delete(w.endpoints, ref)
	w.mu.Unlock()
	w.proxy.SetEndpoints(ref, "1", nil)
	w.proxy.Forget(ref)
}

// request sends one request and reads the answer.
func (w *world) request(method, path, body string, headers ...string) (*http.Response, string) {
	w.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, w.server.URL+path, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	answer, err := w.server.Client().Transport.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer, string(text)
}

func (w *world) wantStatus(path string, status int) string {
	w.t.Helper()
	answer, text := w.request("GET", path, "")
	if answer.StatusCode != status {
		w.t.Fatalf("GET %s: status %d, want %d; %s", path, answer.StatusCode, status, text)
	}
	return text
}

func (w *world) awaitWake() {
	w.t.Helper()
	select {
	case <-w.waking:
	case <-time.After(10 * time.Second):
		w.t.Fatal("nobody asked for a wake")
	}
}

func TestServeHTTP_PathAndQueryAreTheFunctionsOwn(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RequestURI) })
	for _, tt := range []struct{ name, path, want string }{
		{"no rest", "/function/echo", "/"},
		{"slash", "/function/echo/", "/"},
		{"rest", "/function/echo/a/b", "/a/b"},
		{"trailing slash is kept", "/function/echo/a/", "/a/"},
		{"double slash is kept", "/function/echo//a", "//a"},
		{"query", "/function/echo?x=1&y", "/?x=1&y"},
		{"query that Go cannot parse", "/function/echo/a?x=%zz;y", "/a?x=%zz;y"},
		{"empty query", "/function/echo/a?", "/a?"},
		{"escaped slash stays escaped", "/function/echo/a%2Fb", "/a%2Fb"},
		{"needless escape stays", "/function/echo/%61", "/%61"},
		{"dots", "/function/echo/a/../b/.", "/a/../b/."},
		{"namespace", "/function/echo.openfaas-fn/a", "/a"},
		{"escaped name", "/function/%65cho/a", "/a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := w.dial()
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", tt.path)
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := io.ReadAll(answer.Body); string(got) != tt.want {
				t.Errorf("the function saw %q, want %q", got, tt.want)
			}
		})
	}
}

func (w *world) dial() net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

func TestServeHTTP_Refusals(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(http.ResponseWriter, *http.Request) {})
	for _, tt := range []struct {
		name, method, path string
		status             int
	}{
		{"unknown function", "GET", "/function/nobody", 404},
		{"unknown namespace", "GET", "/function/echo.elsewhere", 404},
		{"no name", "GET", "/function/", 400},
		{"slash in the name", "GET", "/function/echo%2Fa", 404},
		{"other path", "GET", "/system/functions", 404},
		{"method", "TRACE", "/function/echo", 405},
		{"unknown method", "BREW", "/function/nobody", 405},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, text := w.request(tt.method, tt.path, "")
			if answer.StatusCode != tt.status {
				t.Errorf("status %d, want %d; %s", answer.StatusCode, tt.status, text)
			}
			if answer.Header.Get("X-OpenFaaS-Internal") != "proxy" {
				t.Error("the answer is not marked as the platform's")
			}
			if tt.status == 405 && text != "" {
				t.Errorf("a 405 has the body %q", text)
			}
		})
	}
	if load := w.proxy.Load(function.Ref{Name: "nobody", Namespace: "openfaas-fn"}); load != (Load{}) || len(w.proxy.activities.of) != 0 {
		t.Error("an unknown name left something behind")
	}
}

func TestServeHTTP_StockNamespaceMeansTheDefault(t *testing.T) {
	for _, tt := range []struct {
		name    string
		managed bool
		want    int
	}{
		{"unless it is managed", true, 404},
		{"where it is not managed", false, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) {
				c.DefaultNamespace = "contracts"
				c.Managed = func(string) bool { return tt.managed }
			})
			w.deploy(function.Ref{Name: "echo", Namespace: "contracts"}, func(http.ResponseWriter, *http.Request) {})
			w.wantStatus("/function/echo.openfaas-fn", tt.want)
			w.wantStatus("/function/echo", 200)
		})
	}
}

func TestServeHTTP_IdentityOfACall(t *testing.T) {
	w := newWorld(t, nil)
	var seen http.Header
	w.deploy(echo, func(_ http.ResponseWriter, r *http.Request) { seen = r.Header })

	answer, _ := w.request("GET", "/function/echo", "")
	id := answer.Header.Get("X-Call-Id")
	if len(id) != 36 || seen.Get("X-Call-Id") != id {
		t.Errorf("call id %q, the function saw %q", id, seen.Get("X-Call-Id"))
	}
	if start := answer.Header.Get("X-Start-Time"); len(start) != 19 || seen.Get("X-Start-Time") != start {
		t.Errorf("start %q, the function saw %q", start, seen.Get("X-Start-Time"))
	}
	if got := answer.Header.Get("X-Served-By"); got != "dc-provider/test" {
		t.Errorf("served by %q", got)
	}

	answer, _ = w.request("GET", "/function/echo", "", "X-Call-Id", "mine", "X-Start-Time", "1")
	if answer.Header.Get("X-Call-Id") != "mine" || seen.Get("X-Call-Id") != "mine" {
		t.Error("a caller's call id was not kept")
	}
	if got := seen.Values("X-Start-Time"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("start %q, want the caller's", got)
	}
	if answer, _ = w.request("GET", "/function/nobody", "", "X-Call-Id", "mine"); answer.Header.Get("X-Call-Id") != "mine" {
		t.Error("a refused call has lost its id")
	}
}

func TestServeHTTP_RequestHeaders(t *testing.T) {
	w := newWorld(t, nil)
	var seen *http.Request
	w.deploy(echo, func(_ http.ResponseWriter, r *http.Request) { seen = r })

	w.request("GET", "/function/echo", "", "X-Forwarded-For", "10.1.1.1", "X-Forwarded-For", "10.2.2.2",
		"X-Forwarded-Proto", "https", "Forwarded", "for=10.1.1.1", "Connection", "X-Private, close", "X-Private", "1",
		"Keep-Alive", "5", "Proxy-Authorization", "secret", "Authorization", "Bearer mine")
	for name, want := range map[string]string{
		"X-Forwarded-For": "10.1.1.1, 10.2.2.2, 127.0.0.1", "X-Forwarded-Proto": "https",
		"X-Forwarded-Host": w.server.Listener.Addr().String(), "Forwarded": "for=10.1.1.1", "Authorization": "Bearer mine",
		"X-Private": "", "Keep-Alive": "", "Proxy-Authorization": "", "Accept-Encoding": "gzip",
	} {
		if got := seen.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if seen.Host != w.server.Listener.Addr().String() {
		t.Errorf("host %q", seen.Host)
	}

	// Neither client nor proxy may put in what was not asked for.
	conn := w.dial()
	io.WriteString(conn, "GET /function/echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	io.Copy(io.Discard, conn)
	for _, name := range []string{"Accept-Encoding", "User-Agent", "Transfer-Encoding", "Content-Length"} {
		if got, ok := seen.Header[name]; ok {
			t.Errorf("%s: %q was put in", name, got)
		}
	}
}

func TestServeHTTP_AnswerHeaders(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		switch r.URL.Path {
		case "/silent":
			h["Content-Type"] = nil
		case "/redirect":
			h.Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusFound)
		case "/own":
			h.Set("X-Served-By", "me")
			h.Add("Set-Cookie", "a=1")
			h.Add("Set-Cookie", "b=2")
			h.Set("X-OpenFaaS-Internal", "of-watchdog")
		case "/busy":
			w.WriteHeader(http.StatusTooManyRequests)
		}
		io.WriteString(w, "hello")
	})

	answer, _ := w.request("POST", "/function/echo/silent", "{}", "Content-Type", "application/json")
	if got := answer.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q, want the request's", got)
	}
	answer, _ = w.request("GET", "/function/echo/silent", "")
	if got := answer.Header.Get("Content-Type"); got != "text/plain" {
		t.Errorf("content type %q, want text/plain", got)
	}
	answer, _ = w.request("GET", "/function/echo/redirect", "")
	if answer.StatusCode != http.StatusFound || answer.Header.Get("Location") != "/elsewhere" {
		t.Errorf("status %d, location %q", answer.StatusCode, answer.Header.Get("Location"))
	}
	answer, _ = w.request("GET", "/function/echo/own", "")
	if got := answer.Header.Values("X-Served-By"); !slices.Equal(got, []string{"me"}) {
		t.Errorf("served by %q, want the function's", got)
	}
	if got := answer.Header.Values("Set-Cookie"); !slices.Equal(got, []string{"a=1", "b=2"}) {
		t.Errorf("cookies %q", got)
	}
	if got := answer.Header.Get("X-OpenFaaS-Internal"); got != "of-watchdog" {
		t.Errorf("internal %q", got)
	}
	answer, text := w.request("GET", "/function/echo/busy", "")
	if answer.StatusCode != http.StatusTooManyRequests || text != "hello" {
		t.Errorf("status %d, body %q", answer.StatusCode, text)
	}
}

func TestServeHTTP_LengthsAreKept(t *testing.T) {
	w := newWorld(t, nil)
	var length int64
	var chunked []string
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		length, chunked = r.ContentLength, r.TransferEncoding
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/chunked" {
			w.(http.Flusher).Flush()
		}
		w.Write(body)
	})
	body := strings.Repeat("x", 100<<10)
	_, got := w.request("POST", "/function/echo", body)
	if length != int64(len(body)) || chunked != nil {
		t.Errorf("the function saw length %d, encoding %v", length, chunked)
	}
	if got != body {
		t.Error("body differs")
	}
	answer, _ := w.request("POST", "/function/echo", "hello")
	if answer.ContentLength != 5 {
		t.Errorf("the caller saw length %d", answer.ContentLength)
	}
	answer, _ = w.request("POST", "/function/echo/chunked", "hello")
	if answer.ContentLength != -1 {
		t.Errorf("the caller saw length %d, want none", answer.ContentLength)
	}
	r, _ := http.NewRequest("POST", w.server.URL+"/function/echo", io.MultiReader(strings.NewReader("a"), strings.NewReader("b")))
	if answer, err := w.server.Client().Do(r); err != nil {
		t.Error(err)
	} else {
		got, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if length != -1 || string(got) != "ab" {
			t.Errorf("chunked: the function saw length %d; answer %q", length, got)
		}
	}
	w.request("POST", "/function/echo", "")
	if length != 0 || chunked != nil {
		t.Errorf("empty: the function saw length %d, encoding %v", length, chunked)
	}
	if answer, _ = w.request("HEAD", "/function/echo", ""); answer.StatusCode != 200 {
		t.Errorf("HEAD: status %d", answer.StatusCode)
	}
}
