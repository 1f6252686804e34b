package watchdog

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is the command of the server program for a shell script.
func serverCommand(t testing.TB, args ...string) string {
	var words []string
	if err := json.Unmarshal([]byte(strings.TrimPrefix(self(t, "server", args...), "DC_COMMAND=")), &words); err != nil {
		t.Fatal(err)
	}
	return strings.Join(words, " ")
}

// quickExit keeps the race detector from making every exit a second long.
const quickExit = "GORACE=atexit_sleep_ms=0"

// waitLife waits until the process of mode http is in one of the states, of which it must stay in the last: the others may be over before
// this test gets a processor.
func (f *fixture) waitLife(want ...lifeState) {
	f.t.Helper()
	timeout := time.After(patience)
	for {
		state, change := f.mode.(*httpMode).up.now()
		if slices.Contains(want, state) {
			return
		}
		select {
		case <-change:
		case <-timeout:
			f.t.Fatalf("%v, want %v\n%s", state, want, f.log)
		}
	}
}

func TestPark_EndsAndWakes(t *testing.T) {
	f := serveHTTP(t, nil, quickExit, "DC_PARK=100ms")
	first := f.seen("GET", "/", "")
	f.waitLife(parked)
	if err := syscall.Kill(first.Pid, 0); err == nil {
		t.Error("the process of a parked function lives")
	}
	f.stdout.waitFor(t, "signal: terminated")
	for _, path := range []string{"/_/ready", "/_/health"} {
		if got := f.do("GET", path, ""); got.status != 200 {
			t.Errorf("%s while parked: %+v", path, got)
		}
	}
	if state, _ := f.mode.(*httpMode).up.now(); state != parked {
		t.Errorf("a probe has made it %v", state)
	}
	second := f.seen("POST", "/", "again")
	if second.Pid == first.Pid || second.Body != "again" {
		t.Errorf("after the wake: %+v", second)
	}
	f.waitLife(parked)
	if strings.Contains(f.log.String(), "level=ERROR") || strings.Contains(f.log.String(), "level=WARN") {
		t.Errorf("parking is no trouble:\n%s", f.log)
	}
}

func TestPark_ConcurrentRequestsShareOneStart(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	openGate := func() {
		if err := os.WriteFile(gate, nil, 0o600); err != nil {
			t.Error(err)
		}
	}
	openGate()
	f := serve(t, flaky(t, "while [ ! -e "+gate+" ]; do sleep 0.01; done"), "PORT="+freePort(t), "mode=http", "DC_DIALECT=native",
		"healthcheck_interval=0", quickExit, "DC_PARK=100ms")
	for range 3 {
		f.waitLife(parked)
		if err := os.Remove(gate); err != nil {
			t.Fatal(err)
		}
		pids := make(chan int, 50)
		var herd sync.WaitGroup
		for i := range cap(pids) {
			herd.Go(func() {
				body := fmt.Sprint(i)
				var s seen
				got := f.do("POST", "/", body)
				if err := json.Unmarshal([]byte(got.body), &s); err != nil || s.Body != body {
					t.Errorf("%+v", got)
				}
				pids <- s.Pid
			})
		}
		f.waitInFlight(cap(pids)) // all of them are there before one is answered, or the process might park in between
		openGate()
		herd.Wait()
		close(pids)
		first := <-pids
		for pid := range pids {
			if pid != first {
				t.Errorf("processes %d and %d", first, pid)
			}
		}
	}
}

// Requests that come just when the process is parked are served, whatever the moment, on connections that are kept as well.
func TestPark_RacesWithRequests(t *testing.T) {
	const after = 5 * time.Millisecond
	f := serveHTTP(t, nil, quickExit, "DC_PARK="+after.String())
	f.waitReady()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	kept := &http.Client{Transport: transport, Timeout: patience}
	var callers sync.WaitGroup
	for range 3 {
		callers.Go(func() {
			for i := range 60 {
				body := strings.Repeat("x", i)
				res, err := kept.Post(f.url, "text/plain", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				var s seen
				err = json.NewDecoder(res.Body).Decode(&s)
				res.Body.Close()
				if res.StatusCode != 200 || err != nil || s.Body != body {
					t.Errorf("%d, %v, %+v\n%s", res.StatusCode, err, s, f.log)
					return
				}
				time.Sleep(rand.N(3 * after)) // a caller's own pace, to meet every moment of parking
			}
		})
	}
	callers.Wait()
	if parked := strings.Count(f.log.String(), "parked:"); parked == 0 {
		t.Error("it was never parked")
	}
}

func TestPark_NotInUse(t *testing.T) {
	f := serveHTTP(t, nil, quickExit, "DC_PARK=100ms")
	if got := f.do("GET", "/slow?for=500ms", ""); got.body != "slept" {
		t.Errorf("%+v", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", f.url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	socket := f.raw("GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if _, err := io.ReadFull(socket, make([]byte, len("HTTP/1.1 101"))); err != nil {
		t.Fatal(err)
	}
	pid := f.seen("GET", "/", "").Pid
	<-time.After(300 * time.Millisecond) // three times what an unused process gets
	if state, _ := f.mode.(*httpMode).up.now(); state != listening {
		t.Errorf("%v with a stream and a web socket open", state)
	}
	if got := f.seen("GET", "/", "").Pid; got != pid {
		t.Errorf("process %d, want %d", got, pid)
	}
	cancel()
	res.Body.Close()
	socket.Close()
	f.waitLife(parked)
}

// A request that comes while the process takes its time to end waits for the end, and for another one.
func TestPark_RequestWhileParking(t *testing.T) {
	f := prepare(t, self(t, "server", "-ignore-term"), "PORT="+freePort(t), "mode=http", "DC_DIALECT=native", "healthcheck_interval=0",
		quickExit, "DC_PARK=50ms")
	checkLeaks(t)
	f.mode.(*httpMode).grace = 300 * time.Millisecond
	f.start()
	pid := f.seen("GET", "/", "").Pid
	f.waitLife(parking, parked)
	if got := f.seen("GET", "/", ""); got.Pid == pid || got.Pid == 0 {
		t.Errorf("%+v", got)
	}
	f.log.waitFor(t, "did not end in time and is killed")
}

// flaky is a server that first runs a script: it may exit, or sleep.
func flaky(t testing.TB, script string) string {
	return sh(script + "; exec " + serverCommand(t))
}

func TestPark_FailedStart(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	f := serve(t, flaky(t, "if [ -e "+broken+" ]; then echo no >&2; exit 7; fi"), "PORT="+freePort(t), "mode=http", "DC_DIALECT=native",
		"healthcheck_interval=0", quickExit, "DC_PARK=50ms")
	f.waitLife(parked)
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var herd sync.WaitGroup
	for range 20 {
		herd.Go(func() {
			got := f.do("GET", "/", "")
			soon := got.status == 503 && got.header.Get("Retry-After") == "1" // it came when the others had their answers
			if got.status != 502 && !soon || !strings.Contains(got.body, "exit status 7") {
				t.Errorf("%+v", got)
			}
		})
	}
	herd.Wait()
	f.stderr.waitFor(t, "no\n")
	if got := f.do("GET", "/_/ready", ""); got.status != 200 {
		t.Errorf("ready: %+v", got)
	}
	if n := strings.Count(f.stderr.String(), "no\n"); n > 5 {
		t.Errorf("%d starts for one herd", n)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if got := f.do("GET", "/", ""); got.status == 200 {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("%+v", got)
		}
	}
}

func TestPark_ProgramGone(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexec "+serverCommand(t)+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	f := serve(t, argv(program), "PORT="+freePort(t), "mode=http", "DC_DIALECT=native", "healthcheck_interval=0", quickExit, "DC_PARK=50ms")
	f.waitLife(parked)
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if got := f.do("GET", "/", ""); got.status != 502 || !strings.Contains(got.body, "no such file or directory") {
		t.Errorf("%+v", got)
	}
	if got := f.do("GET", "/", ""); got.status == 200 || !strings.Contains(got.body, "no such file or directory") {
		t.Errorf("%+v", got)
	}
}

// A request waits no longer than its own limit for a process that wakes, and nothing is left of that at the end.
func TestPark_SlowWake(t *testing.T) {
	slow := filepath.Join(t.TempDir(), "slow")
	f := serve(t, flaky(t, "if [ -e "+slow+" ]; then trap 'exit 0' TERM; sleep 98765.3 & wait; fi"), "PORT="+freePort(t), "mode=http",
		"DC_DIALECT=native", "healthcheck_interval=0", quickExit, "DC_PARK=50ms")
	f.waitLife(parked)
	if err := os.WriteFile(slow, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := f.do("GET", "/", "", "X-Timeout: 100ms")
	if got.status != 503 || got.header.Get("Retry-After") != "1" || !strings.Contains(got.body, "does not listen yet") {
		t.Errorf("out of time: %+v", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if got := f.doCtx(ctx, "GET", "/", nil); got.err == nil {
		t.Errorf("%+v", got)
	}
	f.waitLife(waking)
	waiting := make(chan answer, 1)
	go func() { waiting <- f.do("GET", "/", "") }()
	f.waitInFlight(1)
	f.drainLimit = 10 * time.Millisecond
	if err := f.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	select {
	case <-waiting:
	case <-time.After(patience):
		t.Error("a request that waits for a wake outlives the watchdog")
	}
	waitGone(t, "98765.3")
}

func TestPark_Shutdown(t *testing.T) {
	for name, states := range map[string][]lifeState{"parked": {parked}, "parking": {parking, parked}} {
		t.Run(name, func(t *testing.T) {
			f := prepare(t, self(t, "server", "-ignore-term"), "PORT="+freePort(t), "mode=http", "DC_DIALECT=native", "healthcheck_interval=0",
				quickExit, "DC_PARK=50ms")
			checkLeaks(t)
			f.mode.(*httpMode).grace = 300 * time.Millisecond
			f.start()
			pid := f.seen("GET", "/", "").Pid
			f.waitLife(states...)
			if err := f.stop(); err != nil {
				t.Errorf("Serve: %v", err)
			}
			if err := syscall.Kill(pid, 0); err == nil {
				t.Errorf("process %d lives", pid)
			}
		})
	}
}

// A process that was woken, has served and then exits is no other than one that was never parked.
func TestPark_ExitAfterWake(t *testing.T) {
	f := serveHTTP(t, nil, quickExit, "DC_PARK=50ms")
	f.waitLife(parked)
	f.do("GET", "/exit?code=3", "")
	if err := f.wait(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Serve: %v", err)
	}
}

func TestPark_ReadyPathAndPush(t *testing.T) {
	p := newProvider(t, 204)
	f := serveHTTP(t, []string{"-warm-up=100ms"}, append(pushEnviron(p.URL), "ready_path=/ready", quickExit, "DC_PARK=50ms")...)
	p.watchdog = func() string { return f.url }
	for range 3 {
		f.waitLife(parked)
		if got := f.do("GET", "/_/ready", ""); got.status != 200 {
			t.Errorf("%+v", got)
		}
		if s := f.seen("POST", "/", "x"); s.Body != "x" {
			t.Errorf("%+v", s)
		}
	}
	if n := p.count(); n != 1 {
		t.Errorf("%d pushes", n)
	}
}

func TestPark_Lambda(t *testing.T) {
	f := serveLambda(t, nil, quickExit, "DC_PARK=100ms", "lambda_concurrency=2", "lambda_queue=0")
	f.waitReady()
	pid := f.do("POST", "/", `{"do":"pid"}`).body
	for range 3 {
		f.waitParkedLambda()
		if got := f.do("GET", "/_/ready", ""); got.status != 200 {
			t.Errorf("ready: %+v", got)
		}
		var herd sync.WaitGroup
		for range 2 {
			herd.Go(func() {
				if got := f.do("POST", "/", `{"do":"pid"}`); got.status != 200 || got.body == pid {
					t.Errorf("%+v, the process before was %s", got, pid)
				}
			})
		}
		herd.Wait()
	}
	if strings.Contains(f.log.String(), "level=WARN") {
		t.Errorf("parking is no trouble:\n%s", f.log)
	}
}

// waitParkedLambda waits until no process is left.
func (f *fixture) waitParkedLambda() {
	f.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		n := 0
		f.procs.own.Range(func(any, any) bool { n++; return true })
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%d processes\n%s", n, f.log)
		}
	}
}

func TestPark_LambdaRacesWithRequests(t *testing.T) {
	const after = 5 * time.Millisecond
	f := serveLambda(t, nil, quickExit, "DC_PARK="+after.String(), "lambda_concurrency=2")
	f.waitReady()
	var callers sync.WaitGroup
	for range 3 {
		callers.Go(func() {
			for range 40 {
				if got := f.do("POST", "/", `{"do":"x"}`); got.status != 200 {
					t.Errorf("%+v\n%s", got, f.log)
					return
				}
				time.Sleep(rand.N(3 * after)) // a caller's own pace, to meet every moment of parking
			}
		})
	}
	callers.Wait()
	if !strings.Contains(f.log.String(), "parked:") {
		t.Error("it was never parked")
	}
}

func TestConfig_Park(t *testing.T) {
	for _, r := range []struct {
		environ []string
		want    time.Duration
		err     string
	}{
		{[]string{"mode=http", "DC_PARK=30s"}, 30 * time.Second, ""},
		{[]string{"mode=http", "DC_PARK=30"}, 30 * time.Second, ""},
		{[]string{"mode=lambda", "DC_PARK=1m"}, time.Minute, ""},
		{[]string{"mode=http"}, 0, ""},
		{[]string{"mode=http", "DC_PARK=soon"}, 0, `DC_PARK "soon" is not`},
		{[]string{"mode=http", "DC_PARK=-1s"}, 0, `DC_PARK "-1s" is not`},
		{[]string{"mode=http", "DC_PARK=-1s", "DC_DIALECT=of"}, 0, `DC_PARK "-1s" is not`},
		{[]string{"DC_PARK=30s"}, 0, "mode fork has no process that could be parked"},
	} {
		cfg, err := ParseEnv(append([]string{"fprocess=cat"}, r.environ...))
		if r.err == "" && (err != nil || cfg.Park != r.want) || r.err != "" && (err == nil || !strings.Contains(err.Error(), r.err)) {
			t.Errorf("%q: %v, %v", r.environ, cfg.Park, err)
		}
	}
}
