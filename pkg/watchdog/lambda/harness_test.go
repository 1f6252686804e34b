package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	goruntime "runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

// TestMain runs the tests and looks for goroutines that were left behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && left() {
		code = 1
	}
	os.Exit(code)
}

// left tells whether goroutines of ours are left.
func left() bool {
	http.DefaultClient.CloseIdleConnections()
	var stacks string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); goruntime.Gosched() {
		buffer := make([]byte, 1<<20)
		stacks = string(buffer[:goruntime.Stack(buffer, true)])
		found := false
		for i, stack := range strings.Split(stacks, "\n\n") {
			if i > 0 && (strings.Contains(stack, "watchdog/lambda") || strings.Contains(stack, "net/http")) {
				found = true
			}
		}
		if !found {
			return false
		}
	}
	os.Stderr.WriteString("goroutines are left:\n" + stacks)
	return true
}

// fakeProcess is a process that the test plays: it talks to the Runtime API as the process would.
type fakeProcess struct {
	t       *testing.T
	output  io.Writer
	api     string
	environ map[string]string
	exited  chan struct{}
	once    sync.Once
	status  string
	signals chan syscall.Signal
	client  *http.Client
}

func (f *fakeProcess) Exited() <-chan struct{} { return f.exited }

func (f *fakeProcess) Drain() {}

func (f *fakeProcess) Signal(sig syscall.Signal) { f.signals <- sig }

func (f *fakeProcess) End() string {
	f.exit("signal: killed")
	f.client.CloseIdleConnections()
	return f.status
}

func (f *fakeProcess) exit(status string) {
	f.once.Do(func() {
		f.status = status
		close(f.exited)
	})
}

// reply is an answer of the Runtime API, or of the pool.
type reply struct {
	status int
	header http.Header
	body   string
}

func (f *fakeProcess) do(req *http.Request) (reply, error) {
	res, err := f.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(body)}, err
}

// call calls the API; a header is "Name: value".
func (f *fakeProcess) call(method, path string, body io.Reader, headers ...string) reply {
	f.t.Helper()
	req, err := http.NewRequest(method, "http://"+f.api+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	setHeaders(req, headers)
	a, err := f.do(req)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func setHeaders(req *http.Request, headers []string) {
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
}

const invocations = "/2018-06-01/runtime/invocation/"

// next asks for an event and wants one.
func (f *fakeProcess) next() (id string, a reply) {
	f.t.Helper()
	a = f.call("GET", invocations+"next", nil)
	if a.status != http.StatusOK {
		f.t.Fatalf("next: %d %s", a.status, a.body)
	}
	return a.header.Get(headerRequestID), a
}

// poll asks for an event in the background.
func (f *fakeProcess) poll() <-chan reply {
	got := make(chan reply, 1)
	req, err := http.NewRequest("GET", "http://"+f.api+invocations+"next", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	go func() {
		a, _ := f.do(req) // status 0 when the API has gone
		got <- a
	}()
	return got
}

func (f *fakeProcess) respond(id, body string, headers ...string) reply {
	f.t.Helper()
	return f.call("POST", invocations+id+"/response", strings.NewReader(body), headers...)
}

// world is a pool and the processes that it starts.
type world struct {
	t     *testing.T
	pool  *Pool
	procs chan *fakeProcess // in the order of their start
	front *httptest.Server
	stop  func()
}

// start runs a pool of fake processes until the test ends.
func start(t *testing.T, cfg Config) *world {
	t.Helper()
	w := &world{t: t, procs: make(chan *fakeProcess, 64)}
	w.run(cfg, func(environ []string, output io.Writer) (Process, error) {
		f := &fakeProcess{
			t: t, output: output, environ: map[string]string{}, exited: make(chan struct{}), signals: make(chan syscall.Signal, 16),
			client: &http.Client{Transport: &http.Transport{}},
		}
		for _, entry := range environ {
			name, value, _ := strings.Cut(entry, "=")
			f.environ[name] = value
		}
		f.api = f.environ["AWS_LAMBDA_RUNTIME_API"]
		w.procs <- f
		return f, nil
	})
	return w
}

func (w *world) run(cfg Config, starter Starter) {
	pool, err := New(cfg, starter, slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		w.t.Fatal(err)
	}
	w.pool = pool
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		pool.Run(ctx)
	}()
	w.front = httptest.NewServer(pool)
	w.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	w.t.Cleanup(func() {
		w.stop()
		w.front.Close()
	})
}

// process is the one that was started next.
func (w *world) process() *fakeProcess {
	w.t.Helper()
	select {
	case f := <-w.procs:
		return f
	case <-time.After(patience):
		w.t.Fatal("no process was started")
		return nil
	}
}

// ready waits until the pool can, or can not, serve.
func (w *world) ready(want bool) {
	w.t.Helper()
	deadline := time.After(patience)
	for {
		able, changed := w.pool.Serving()
		if able == want {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			w.t.Fatalf("serving is %v, want %v", able, want)
		}
	}
}

// invoke sends a request to the pool in the background.
func (w *world) invoke(path, body string, headers ...string) <-chan reply {
	w.t.Helper()
	req, err := http.NewRequest("POST", w.front.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	setHeaders(req, headers)
	got := make(chan reply, 1)
	go func() {
		res, err := w.front.Client().Do(req)
		if err != nil {
			got <- reply{body: err.Error()}
			return
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			text = append(text, " and then "+err.Error()...)
		}
		got <- reply{res.StatusCode, res.Header, string(text)}
	}()
	return got
}

// get waits for a reply.
func get(t *testing.T, from <-chan reply) reply {
	t.Helper()
	select {
	case a := <-from:
		return a
	case <-time.After(patience):
		t.Fatal("no reply")
		return reply{}
	}
}

func (a reply) is(t *testing.T, status int, body string) {
	t.Helper()
	if a.status != status || a.body != body {
		t.Errorf("got %d %q, want %d %q", a.status, a.body, status, body)
	}
}

// fault is the error that a reply has.
func (a reply) fault(t *testing.T) (errorType, message string) {
	t.Helper()
	var e struct {
		Type    *string `json:"errorType"`
		Message *string `json:"errorMessage"`
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(a.body))).Decode(&e); err != nil || e.Type == nil || e.Message == nil {
		t.Fatalf("%d %q is not an error: %v", a.status, a.body, err)
	}
	return *e.Type, *e.Message
}

func (a reply) isFault(t *testing.T, status int, errorType string) {
	t.Helper()
	if got, _ := a.fault(t); a.status != status || got != errorType {
		t.Errorf("got %d %s, want %d with errorType %s", a.status, a.body, status, errorType)
	}
}

// waitIdle waits until a process waits for an event.
func (w *world) waitIdle() {
	w.t.Helper()
	w.waitFor("an idle process", func(p *Pool) bool { return len(p.idle) > 0 })
}

// waitFor waits until something is true of the pool. Nothing tells of it in production, so that it has to be looked for.
func (w *world) waitFor(what string, is func(*Pool) bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		w.pool.mu.Lock()
		ok := is(w.pool)
		w.pool.mu.Unlock()
		if ok {
			return
		}
	}
	w.t.Fatalf("no %s", what)
}

// leaving invokes for a caller that leaves when it is told to.
func (w *world) leaving(body string) (leave func()) {
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "POST", w.front.URL, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if res, err := w.front.Client().Do(req); err == nil {
			res.Body.Close()
		}
	}()
	return func() {
		cancel()
		<-gone
	}
}
