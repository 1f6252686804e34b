package watchdog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestShutdown_IdleIsQuick(t *testing.T) {
	for name, environ := range map[string][]string{
		"fork":      {"fprocess=cat"},
		"streaming": {"fprocess=cat", "mode=streaming"},
		"static":    {"mode=static", "static_path=" + t.TempDir()},
		"http":      {self(t, "server"), "mode=http", "PORT=" + freePort(t), quickExit},
	} {
		t.Run(name, func(t *testing.T) {
			var took time.Duration
			for range 3 { // a busy machine may be slow, but hardly each time
				f := serve(t, environ...)
				f.waitReady()
				f.do("POST", "/", "x")
				// One connection that has carried a request, and one that never will.
				idle := f.raw("GET /_/health HTTP/1.1\r\nHost: x\r\n\r\n")
				if _, err := http.ReadResponse(bufio.NewReader(idle), nil); err != nil {
					t.Fatal(err)
				}
				f.raw("")
				begun := time.Now()
				if err := f.stop(); err != nil {
					t.Errorf("Serve: %v", err)
				}
				if took = time.Since(begun); took < 3*time.Second { // net/http alone waits 5 s for the connection that never carried a request
					return
				}
			}
			t.Errorf("took %v", took)
		})
	}
}

// Under load, every request that was taken is answered, and what comes before the port closes is still served.
func TestShutdown_UnderLoad(t *testing.T) {
	for name, environ := range map[string][]string{
		"fork":      {sh(`sleep 0.2; cat`)},
		"streaming": {sh(`cat; sleep 0.2`), "mode=streaming"},
		"http":      {self(t, "server"), "mode=http", "DC_DIALECT=native", "PORT=" + freePort(t)},
	} {
		t.Run(name, func(t *testing.T) {
			f := serve(t, append(environ, "healthcheck_interval=300ms")...)
			f.waitReady()
			transport := &http.Transport{MaxIdleConnsPerHost: 100}
			defer transport.CloseIdleConnections()
			keeping := &http.Client{Transport: transport}

			var calls sync.WaitGroup
			var mu sync.Mutex
			served, refused := 0, 0
			stop := make(chan struct{})
			for range 10 {
				calls.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						res, err := keeping.Post(f.url+"/slow?for=200ms", "", strings.NewReader("slept"))
						mu.Lock()
						switch {
						case err == nil && res.StatusCode == 200:
							served++
						case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
							// Never taken: a caller goes elsewhere. Reset are those in the listener's queue when it closes.
							refused++
						default:
							t.Errorf("lost: %+v, %v", res, err)
						}
						gone := refused > 0
						mu.Unlock()
						if err == nil {
							body, err := io.ReadAll(res.Body)
							res.Body.Close()
							if string(body) != "slept" || err != nil {
								t.Errorf("body %q, %v", body, err)
							}
						}
						if gone {
							return
						}
					}
				})
			}
			for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				mu.Lock()
				n := served
				mu.Unlock()
				if n >= 20 || time.Now().After(deadline) {
					break
				}
			}
			if err := f.stop(); err != nil {
				t.Errorf("Serve: %v", err)
			}
			close(stop)
			calls.Wait()
			taken := strings.Count(f.log.String(), "invocation ended")
			if served <= 20 || refused == 0 || taken != served {
				t.Errorf("%d taken, %d served, %d refused", taken, served, refused)
			}
		})
	}
}

// The order is: not ready; still serving; port closed, drained; only then is the process told.
func TestShutdown_Order(t *testing.T) {
	f := serve(t, self(t, "server"), "mode=http", "DC_DIALECT=native", "PORT="+freePort(t), "healthcheck_interval=2s")
	f.waitReady()
	slow := make(chan answer, 1)
	go func() { slow <- f.do("GET", "/slow?for=4s", "") }()
	f.stdout.waitFor(t, "begun")
	kept := make(chan *http.Response, 1)
	keeping := f.raw("GET /slow?for=4s HTTP/1.1\r\nHost: x\r\n\r\n")
	go func() {
		res, _ := http.ReadResponse(bufio.NewReader(keeping), nil) // nil if it fails
		kept <- res
	}()
	f.stdout.waitFor(t, "begun\nbegun\n")
	f.end()
	f.log.waitFor(t, "not ready any more")

	if got := f.do("GET", "/_/ready", ""); got.status != 503 {
		t.Errorf("ready: %+v", got)
	}
	if got := f.do("GET", "/_/health", ""); got.status != 503 {
		t.Errorf("health: %+v", got)
	}
	conn := f.raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 200 || !res.Close {
		t.Errorf("request after the end was announced: %+v, %v", res, err)
	}
	if got := <-slow; got.status != 200 || got.body != "slept" {
		t.Errorf("in flight: %+v", got)
	}
	// A client that keeps its connections must not send its next request on the one of a request that came before.
	if res := <-kept; res == nil || !res.Close {
		t.Errorf("in flight on a kept connection: %+v", res)
	}
	if err := f.wait(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	f.stdout.waitFor(t, "signal: terminated") // the sink writes in its own time
	slept, told := strings.Index(f.stdout.String(), "slept"), strings.Index(f.stdout.String(), "signal: terminated")
	if slept < 0 || told < slept {
		t.Errorf("the process was not told after its last answer: %q", f.stdout)
	}
}

func TestShutdown_DrainDeadline(t *testing.T) {
	f := prepare(t, sh("echo begun >&2; sleep 98765.4"), "healthcheck_interval=0")
	f.drainLimit = 100 * time.Millisecond
	f.start()
	answered := make(chan answer, 1)
	go func() { answered <- f.do("GET", "/", "") }()
	f.stderr.waitFor(t, "begun")
	if err := f.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if got := <-answered; got.err == nil {
		t.Errorf("%+v", got)
	}
	f.log.waitFor(t, "ending with invocations in flight")
	waitGone(t, "98765.4")
}

// A socket that nobody closes is closed by us, whether the function has closed its side or not.
func TestShutdown_SocketsLeftOpen(t *testing.T) {
	f := prepare(t, self(t, "server"), "mode=http", "PORT="+freePort(t), "healthcheck_interval=0")
	f.drainLimit = 100 * time.Millisecond
	f.start()
	f.waitReady()
	conn := f.raw("GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	answers := bufio.NewReader(conn)
	if res, err := http.ReadResponse(answers, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("%+v, %v", res, err)
	}
	if err := f.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if rest, err := io.ReadAll(answers); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if _, n := f.inFlight.empty(); n != 0 {
		t.Errorf("%d in flight after the end", n)
	}
}

// Whoever waits for a process that does not listen yet is told so, rather than holding up the end until it is cut off.
func TestShutdown_BeforeTheProcessListens(t *testing.T) {
	f := serveHTTP(t, []string{"-delay=1h"})
	f.drainLimit = time.Hour
	answered := make(chan answer, 1)
	go func() { answered <- f.do("POST", "/", "early") }()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if n, _ := f.inFlight.counts(); n == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the request does not come")
		}
	}
	if err := f.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if got := <-answered; got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("%+v", got)
	}
}

func TestDrainTime(t *testing.T) {
	for _, r := range []struct{ write, exec, want time.Duration }{
		{0, 0, defaultDrain},
		{5 * time.Second, time.Hour, 5 * time.Second},
		{0, time.Second, defaultDrain},
		{0, time.Hour, time.Hour},
	} {
		if got := drainTime(&Config{WriteTimeout: r.write, ExecTimeout: r.exec}); got != r.want {
			t.Errorf("write_timeout %v, exec_timeout %v: %v, want %v", r.write, r.exec, got, r.want)
		}
	}
}

// Starting and stopping at any moment leaves nothing: see serve for what is checked.
func TestServe_StartStopStress(t *testing.T) {
	for i := range 30 {
		f := serve(t, self(t, "server", fmt.Sprintf("-delay=%dms", i)), "mode=http", "PORT="+freePort(t), "healthcheck_interval=0")
		if i%3 == 0 {
			f.waitReady()
		}
		if err := f.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}

// A process that ends while we do is what was wanted.
func TestShutdown_ProcessEndsByItself(t *testing.T) {
	f := serve(t, self(t, "server"), "mode=http", "PORT="+freePort(t), "healthcheck_interval=100ms")
	f.waitReady()
	f.end()
	f.log.waitFor(t, "not ready any more")
	f.do("GET", "/exit?code=3", "")
	if err := f.wait(); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServe_PortTaken(t *testing.T) {
	taken := serve(t, "fprocess=cat")
	port := taken.url[strings.LastIndex(taken.url, ":")+1:]
	f := prepare(t, "fprocess=cat", "port="+port)
	if err := f.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("Run: %v", err)
	}
	if _, err := os.Stat(f.cfg.LockFile); err == nil {
		t.Error("lock file left behind")
	}
}

func TestNew_NeedsACommand(t *testing.T) {
	if _, err := New(Config{}, nil, nil, nil); err == nil {
		t.Error("no error")
	}
}

func TestLimiter(t *testing.T) {
	l := newLimiter(2)
	if got := []bool{l.enter(), l.enter(), l.enter(), l.full()}; !slices.Equal(got, []bool{true, true, false, true}) {
		t.Errorf("%v", got)
	}
	idle, n := l.empty()
	if n != 2 {
		t.Errorf("%d in flight", n)
	}
	l.leave()
	select {
	case <-idle:
		t.Error("empty with one in flight")
	default:
	}
	l.leave()
	<-idle
	if !l.enter() || l.full() {
		t.Error("refused after all have left")
	}
	again, _ := l.empty()
	select {
	case <-again:
		t.Error("empty with one in flight")
	default:
	}
	unlimited := newLimiter(0)
	for range 1000 {
		if !unlimited.enter() {
			t.Fatal("refused without a limit")
		}
	}
}
