package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/test/freeport"
)

func hello(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }

func TestWait_ThousandCallersOneReplica(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo)
	const callers = 1000
	transport := &http.Transport{MaxConnsPerHost: 0}
	defer transport.CloseIdleConnections()
	var ok atomic.Int64
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			r, _ := http.NewRequest("POST", w.server.URL+"/function/echo", strings.NewReader("body"))
			answer, err := transport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			if text, _ := io.ReadAll(answer.Body); answer.StatusCode == 200 && string(text) == "body" {
				ok.Add(1)
			}
		})
	}
	for range callers {
		w.awaitWake()
	}
	if load := w.proxy.Load(echo); load.Waiting != callers || load.InFlight != 0 {
		t.Errorf("load %+v while all wait", load)
	}
	w.setEndpoints(echo, w.replica("echo-0", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	group.Wait()
	if ok.Load() != callers {
		t.Errorf("%d of %d callers were answered", ok.Load(), callers)
	}
	w.await(func() bool { // an answer may be read before its call is counted as ended
		load := w.proxy.Load(echo)
		return load.Waiting == 0 && load.InFlight == 0 && !load.LastActivity.IsZero()
	})
}

func TestWait_DeadlineTellsTheReason(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.WakeTimeout = 30 * time.Millisecond
		c.Reason = func(function.Ref) string { return "the image cannot be pulled" }
	})
	w.deploy(echo)
	answer, text := w.request("GET", "/function/echo", "")
	if answer.StatusCode != 503 || !strings.Contains(text, "the image cannot be pulled") {
		t.Errorf("status %d, %q", answer.StatusCode, text)
	}
	if load := w.proxy.Load(echo); load.Waiting != 0 {
		t.Errorf("%d still waiting", load.Waiting)
	}
}

func TestWait_FailedWakeIsToldAndTheNextCallTriesAgain(t *testing.T) {
	var failing atomic.Bool
	failing.Store(true)
	replica := make(chan function.Endpoint, 1)
	var w *world
	w = newWorld(t, func(c *Config) {
		c.Wake = func(context.Context, *function.Function) error {
			if failing.Load() {
				return errors.New("quota exceeded")
			}
			w.setEndpoints(echo, <-replica)
			return nil
		}
	})
	w.deploy(echo)
	w.wantStatus("/function/echo", 503)
	if got := fmt.Sprint(w.failures[0].(*failure).LogValue()); !strings.Contains(got, "quota exceeded") {
		t.Errorf("the log is told %q", got)
	}
	failing.Store(false)
	replica <- w.replica("echo-0", hello)
	w.wantStatus("/function/echo", 200)
}

func TestWait_CallerLeaves(t *testing.T) {
	for _, tt := range []struct{ name, request string }{
		{"without a body", "GET /function/echo HTTP/1.1\r\nHost: h\r\n\r\n"},
		{"with a body", "POST /function/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"},
		{"with a body that has not all come", "POST /function/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n\r\nbody"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ended := make(chan error, 1)
			w := newWorld(t, func(c *Config) {
				inner := c.Error
				c.Error = func(w http.ResponseWriter, r *http.Request, err error) {
					inner(w, r, err)
					ended <- err
				}
			})
			w.deploy(echo)
			conn := w.dial()
			io.WriteString(conn, tt.request)
			w.awaitWake()
			conn.Close()
			if err := <-ended; !errors.Is(err, ErrCanceled) {
				t.Errorf("the wait ended with %v", err)
			}
			if load := w.proxy.Load(echo); load.Waiting != 0 {
				t.Errorf("%d still waiting", load.Waiting)
			}
		})
	}
}

func TestWait_SlowBodyHasTheDeadlineToo(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.WakeTimeout = 30 * time.Millisecond })
	w.deploy(echo)
	conn := w.dial()
	io.WriteString(conn, "POST /function/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n\r\nbody")
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the caller was not told or the connection not closed: %v", err)
	}
}

func TestWait_DeletedMeanwhile(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo)
	status := make(chan int)
	go func() {
		answer, _ := w.request("GET", "/function/echo", "")
		status <- answer.StatusCode
	}()
	w.awaitWake()
	w.undeploy(echo)
	if got := <-status; got != 404 {
		t.Errorf("status %d, want 404", got)
	}
	if len(w.proxy.activities.of) != 0 {
		t.Error("a deleted function left something behind")
	}
}

func TestWait_ReplacedMeanwhile(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo)
	text := make(chan string)
	go func() {
		_, got := w.request("GET", "/function/echo", "")
		text <- got
	}()
	w.awaitWake()
	w.undeploy(echo)
	w.mu.Lock()
	w.functions[echo] = &function.Function{Spec: function.Spec{Ref: echo}, ID: "2", Replicas: 1}
	w.mu.Unlock()
	w.setEndpoints(echo, w.replica("echo-0", hello))
	switch got := <-text; {
	case got == "hello": // waited on for the new function
	case strings.Contains(got, "no function"): // or found nothing, as there was nothing for a moment
	default:
		t.Errorf("answer %q", got)
	}
}

func TestEndpoints_LateNewsOfADeletedFunctionIsNotBelieved(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, hello)
	w.wantStatus("/function/echo", 200)
	w.proxy.SetEndpoints(echo, "0", []function.Endpoint{{Address: "127.0.0.1:1", Replica: "old"}})
	w.wantStatus("/function/echo", 200)
}

// A call finds its function gone just after the first endpoint came: the endpoint is in the cache, and the function's
// activity is dropped. If the function is there after all, what comes next must replace that endpoint.
func TestEndpoints_NewsReplaceWhatOutlivedAnActivity(t *testing.T) {
	var w *world
	var lookups atomic.Int64
	var first function.Endpoint
	w = newWorld(t, func(c *Config) {
		c.Lookup = func(ref function.Ref) (*function.Function, bool) {
			if lookups.Add(1) == 2 { // the waiting call's
				w.setEndpoints(ref, first)
				return nil, false
			}
			return w.lookup(ref)
		}
	})
	w.deploy(echo)
	first = w.replica("echo-0", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "stale") })
	w.wantStatus("/function/echo", 404)
	w.setEndpoints(echo, w.replica("echo-1", hello))
	if text := w.wantStatus("/function/echo", 200); text != "hello" {
		t.Errorf("answered by the endpoint that left: %q", text)
	}
}

func TestEndpoints_EvictionLosesNothing(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.CacheSize = 1 })
	release := make(chan struct{})
	started := make(chan struct{}, 1)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		<-release
	})
	other := function.Ref{Name: "other", Namespace: "openfaas-fn"}
	w.deploy(other, hello)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.request("GET", "/function/echo", "")
	}()
	<-started
	w.wantStatus("/function/other", 200)
	if load := w.proxy.Load(echo); load.InFlight != 1 {
		t.Errorf("load %+v after an eviction", load)
	}
	if w.proxy.Quiesce(echo) {
		t.Error("a function with a call in flight was quiesced")
	}
	close(release)
	<-done
	w.await(func() bool { // an answer may be read before its call is counted as ended
		load := w.proxy.Load(echo)
		return load.InFlight == 0
	})
}

// refusing returns an address that nobody listens on.
func refusing(t *testing.T) function.Endpoint {
	return function.Endpoint{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(freeport.Reserve(t))), Replica: "gone"}
}

func TestRetry_EndpointThatRefusesIsPassedOver(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	w.setEndpoints(echo, append([]function.Endpoint{refusing(t), refusing(t)}, w.list(echo)...)...)
	for range 20 {
		if answer, text := w.request("POST", "/function/echo", "body"); answer.StatusCode != 200 || text != "body" {
			t.Fatalf("status %d, %q", answer.StatusCode, text)
		}
	}
}

func TestRetry_WaitsWhenAllRefuse(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo)
	w.setEndpoints(echo, refusing(t))
	text := make(chan string)
	go func() {
		_, got := w.request("POST", "/function/echo", "body")
		text <- got
	}()
	w.awaitWake()
	w.setEndpoints(echo, w.replica("echo-0", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	if got := <-text; got != "body" {
		t.Errorf("answer %q", got)
	}
}

func TestRetry_EndpointThatRefusedForAMomentIsTriedAgain(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo)
	gone := refusing(t)
	w.setEndpoints(echo, gone)
	text := make(chan string)
	go func() {
		_, got := w.request("GET", "/function/echo", "")
		text <- got
	}()
	w.awaitWake()
	l, err := net.Listen("tcp", gone.Address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(hello)}
	go server.Serve(l)
	defer server.Close()
	if got := <-text; got != "hello" {
		t.Errorf("answer %q", got)
	}
}

// silent is an endpoint that neither takes connections nor refuses them, as of a node that is lost: its queue of connections is full.
func silent(t *testing.T) function.Endpoint {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	own, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	e := function.Endpoint{Address: fmt.Sprint("127.0.0.1:", own.(*syscall.SockaddrInet4).Port), Replica: "silent"}
	for range 10 {
		conn, err := net.DialTimeout("tcp", e.Address, 500*time.Millisecond)
		if err != nil {
			return e
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("its queue is not full after ten connections")
	return e
}

// TestRetry_EndpointIsSilent has a call wait for another endpoint, where it connects in vain, and not connect there again at once.
func TestRetry_EndpointIsSilent(t *testing.T) {
	var woken atomic.Int64
	w := newWorld(t, func(cfg *Config) {
		wake := cfg.Wake
		cfg.Wake = func(ctx context.Context, f *function.Function) error {
			woken.Store(time.Now().UnixNano())
			return wake(ctx, f)
		}
	})
	w.deploy(echo)
	gone := silent(t)
	w.setEndpoints(echo, gone)
	text := make(chan string)
	go func() {
		_, got := w.request("GET", "/function/echo", "")
		text <- got
	}()
	w.awaitWake()
	since := func() time.Duration { return time.Since(time.Unix(0, woken.Load())) }
	for since() < 4*firstPause {
		if load := w.proxy.Load(echo); load.InFlight > 0 && since() < silentPause {
			t.Fatalf("it connects again after %v", since())
		}
		time.Sleep(firstPause / 4) // while it would have connected again
	}
	w.setEndpoints(echo, gone, w.replica("echo-0", hello))
	if got := <-text; got != "hello" {
		t.Errorf("answer %q", got)
	}
}

// breaker answers the first calls and then breaks connections off after a whole request was read.
type breaker struct {
	calls   atomic.Int64
	answers int64
}

func (b *breaker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	if b.calls.Add(1) > b.answers {
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	}
}

func TestRetry_NothingIsSentTwice(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"} {
		for _, body := range []string{"", "body"} {
			t.Run(method+" body "+body, func(t *testing.T) {
				w := newWorld(t, nil)
				// The first answer leaves a connection that the transport takes for reusable.
				b := &breaker{answers: 1}
				w.deploy(echo, b.ServeHTTP)
				if answer, text := w.request(method, "/function/echo", body); answer.StatusCode != 200 {
					t.Fatalf("status %d, %s", answer.StatusCode, text)
				}
				if answer, _ := w.request(method, "/function/echo", body); answer.StatusCode != 502 {
					t.Errorf("status %d, want 502", answer.StatusCode)
				}
				if got := b.calls.Load(); got != 2 {
					t.Errorf("the function was called %d times, want 2", got)
				}
			})
		}
	}
}

func TestQuiesce(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, hello)
	old := w.list(echo)
	if !w.proxy.Quiesce(echo) {
		t.Fatal("an idle function was not quiesced")
	}
	if w.proxy.Quiesce(function.Ref{Name: "nobody"}) {
		t.Error("an unknown function was quiesced")
	}
	call := func() chan string {
		text := make(chan string, 1)
		go func() {
			_, got := w.request("GET", "/function/echo", "")
			text <- got
		}()
		w.awaitWake()
		return text
	}

	first := call()
	if w.proxy.Quiesce(echo) {
		t.Error("a function with a waiter was quiesced")
	}
	w.proxy.SetEndpoints(echo, "1", old) // news of the same endpoints changes nothing
	w.awaitWake()                        // the waiter has looked and asked again
	select {
	case got := <-first:
		t.Fatalf("a retired endpoint answered %q", got)
	default:
	}
	w.proxy.Resume(echo)
	if got := <-first; got != "hello" {
		t.Errorf("after Resume: %q", got)
	}

	w.await(func() bool { return w.proxy.Quiesce(echo) }) // the call may just be ending
	second := call()
	w.setEndpoints(echo, append(old, w.replica("echo-1", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "new") }))...)
	if got := <-second; got != "new" {
		t.Errorf("a new endpoint beside a retired one: %q", got)
	}
	w.setEndpoints(echo)
	w.setEndpoints(echo, old...)
	if got := w.wantStatus("/function/echo", 200); got != "hello" {
		t.Errorf("an endpoint that left and came back: %q", got)
	}
}

// If a wake overtakes the going to zero, the endpoint never leaves and nothing changes.
func TestQuiesce_EndpointThatStaysIsUsedAgain(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, hello)
	if !w.proxy.Quiesce(echo) {
		t.Fatal("an idle function was not quiesced")
	}
	w.wantStatus("/function/echo", 200)
}

// A function goes to zero and comes back all the time while it is called: no call may be lost or meet a replica that is
// gone.
func TestQuiesce_LosesNoCall(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo).Policy.MaxInFlight = 2
	ctx, stop := context.WithCancel(context.Background())
	var scaler, callers sync.WaitGroup
	scaler.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			var gone atomic.Bool
			w.setEndpoints(echo, w.replica(fmt.Sprint("echo-", i), func(w http.ResponseWriter, r *http.Request) {
				if gone.Load() {
					w.WriteHeader(http.StatusGone)
				}
				io.Copy(w, r.Body)
			}))
			for !w.proxy.Quiesce(echo) && ctx.Err() == nil {
				runtime.Gosched()
			}
			gone.Store(true)
			w.setEndpoints(echo)
		}
	})
	for range 8 {
		callers.Go(func() {
			for range 150 {
				if answer, text := w.request("POST", "/function/echo", "body"); answer.StatusCode != 200 || text != "body" {
					t.Errorf("status %d, %q", answer.StatusCode, text)
				}
			}
		})
	}
	callers.Wait()
	stop()
	scaler.Wait()
	w.await(func() bool { // an answer may be read before its call is counted as ended
		load := w.proxy.Load(echo)
		return load.InFlight == 0 && load.Waiting == 0
	})
}

func TestEndpoints_ChangesLoseNoCall(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, hello, hello, hello).Policy.MaxInFlight = 2
	all := w.list(echo)
	done := make(chan struct{})
	var changes, callers sync.WaitGroup
	changes.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			case <-time.After(100 * time.Microsecond): // calls need the processors too
				w.setEndpoints(echo, all[:i%(len(all)+1)]...)
			}
		}
	})
	for range 8 {
		callers.Go(func() {
			for range 200 {
				if answer, text := w.request("GET", "/function/echo", ""); answer.StatusCode != 200 || text != "hello" {
					t.Errorf("status %d, %q", answer.StatusCode, text)
				}
			}
		})
	}
	callers.Wait()
	close(done)
	changes.Wait()
}

func TestTimeout(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Timeout = time.Second })
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stream":
			io.WriteString(w, "begun ")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(1500 * time.Millisecond):
			}
			io.WriteString(w, "ended")
		case "/length":
			w.Header().Set("Content-Length", "10")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			<-r.Context().Done()
		}
	})
	w.wantStatus("/function/echo", 504)
	if got := w.wantStatus("/function/echo/stream", 200); got != "begun ended" {
		t.Errorf("a stream was cut: %q", got)
	}
	conn := w.dial()
	io.WriteString(conn, "GET /function/echo/length HTTP/1.1\r\nHost: h\r\n\r\n")
	if text, err := io.ReadAll(conn); err != nil {
		t.Errorf("an answer of known length outlived the deadline: %q, %v", text, err)
	}
	w.await(func() bool { // an answer may be read before its call is counted as ended
		load := w.proxy.Load(echo)
		return load.InFlight == 0
	})
}

func TestWait_BodiesHaveABound(t *testing.T) {
	const size, room = 60 << 10, 2*60<<10 + 1
	w := newWorld(t, func(c *Config) { c.QueuedBytes = room })
	w.deploy(echo)
	other := function.Ref{Name: "other", Namespace: "openfaas-fn"}
	w.deploy(other)
	body := strings.Repeat("b", size)
	answers := make(chan string, 4)
	for i := range cap(answers) {
		conn := w.dial()
		go func() {
			fmt.Fprintf(conn, "POST /function/%s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", []string{"echo", "other"}[i%2], size, body)
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				answers <- err.Error()
				return
			}
			text, err := io.ReadAll(answer.Body)
			answers <- fmt.Sprint(answer.StatusCode, string(text) == body, err)
		}()
		w.awaitWake()
	}
	// Two have all the room that there is; the others wait without it.
	w.await(func() bool { return w.proxy.ahead.taken.Load() == 2*size })
	back := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // too little of it is a wrong answer
		w.Write(body)
	}
	w.setEndpoints(echo, w.replica("echo-0", back))
	w.setEndpoints(other, w.replica("other-0", back))
	for range cap(answers) {
		if got := <-answers; got != "200 true <nil>" {
			t.Errorf("answered %s", got)
		}
	}
	w.await(func() bool { return w.proxy.ahead.taken.Load() == 0 })
}

func TestCallerLeaves_TheFunctionIsTold(t *testing.T) {
	w := newWorld(t, nil)
	started, ended := make(chan struct{}), make(chan struct{})
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/stream" {
			w.(http.Flusher).Flush()
		}
		started <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	})
	for _, request := range []string{
		"GET /function/echo HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /function/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody",
		"GET /function/echo/stream HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		conn := w.dial()
		io.WriteString(conn, request)
		<-started
		conn.Close()
		<-ended
	}
}

func TestCallerLeaves_InTheMiddleOfItsBody(t *testing.T) {
	w := newWorld(t, nil)
	ended := make(chan error, 1)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		ended <- err
	})
	conn := w.dial()
	// A smaller one is read whole before the function is called.
	io.WriteString(conn, "POST /function/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\n\r\nbody")
	conn.(*net.TCPConn).CloseWrite()
	if err := <-ended; err == nil {
		t.Error("the function took half a body for a whole one")
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil && answer.StatusCode == 200 {
		t.Error("half a body was answered with 200")
	}
}

// TestWait_StuckIsToldToAll has a function turn out to be unable to start while callers wait for it, and start after all.
func TestWait_StuckIsToldToAll(t *testing.T) {
	var why atomic.Value
	why.Store("")
	w := newWorld(t, func(c *Config) {
		c.Stuck = func(function.Ref) (string, time.Duration) { return why.Load().(string), 0 }
	})
	w.deploy(echo)
	const callers = 50
	var calls sync.WaitGroup
	told := func() {
		answer, text := w.request("POST", "/function/echo", "body")
		if answer.StatusCode != 503 || !strings.Contains(text, "ErrImagePull: no such image") {
			t.Errorf("status %d, %q", answer.StatusCode, text)
		}
	}
	for range callers {
		calls.Go(told)
	}
	w.await(func() bool { return w.proxy.Load(echo).Waiting == callers })
	w.proxy.Look(echo) // nothing has changed
	why.Store("ErrImagePull: no such image")
	w.proxy.Look(echo)
	calls.Wait() // the wake timeout is a minute, and the test's own deadline for an answer less
	if load := w.proxy.Load(echo); load.Waiting != 0 {
		t.Errorf("%d still waiting", load.Waiting)
	}
	told() // at once, for as long as it is so

	why.Store("")
	answered := make(chan int)
	go func() {
		answer, _ := w.request("GET", "/function/echo", "")
		answered <- answer.StatusCode
	}()
	w.await(func() bool { return w.proxy.Load(echo).Waiting == 1 })
	w.setEndpoints(echo, w.replica("echo-0", hello))
	if status := <-answered; status != 200 {
		t.Errorf("status %d after it has started", status)
	}
	why.Store("a problem of another replica")
	w.proxy.Look(echo)
	w.wantStatus("/function/echo", 200)
}

// TestWait_StuckIsToldInTime has a problem that is worth telling only if it lasts, and of which no event tells then.
func TestWait_StuckIsToldInTime(t *testing.T) {
	until := time.Now().Add(50 * time.Millisecond)
	w := newWorld(t, func(c *Config) {
		c.Stuck = func(function.Ref) (string, time.Duration) { return "Unschedulable: no node", time.Until(until) }
	})
	w.deploy(echo)
	answer, text := w.request("GET", "/function/echo", "")
	if answer.StatusCode != 503 || !strings.Contains(text, "Unschedulable: no node") {
		t.Errorf("status %d, %q", answer.StatusCode, text)
	}
	if time.Now().Before(until) {
		t.Error("told too early")
	}
}
