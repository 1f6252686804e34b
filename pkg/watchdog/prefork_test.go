package watchdog

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// reserved is the reserve of a watchdog in one of the modes that have one.
func (f *fixture) reserved() *reserve {
	switch m := f.mode.(type) {
	case *forkMode:
		return m.reserve
	case *serializingMode:
		return m.reserve
	case *streamingMode:
		return m.reserve
	}
	f.t.Fatalf("mode %T", f.mode)
	return nil
}

// waitWaiting waits until n processes wait, and returns them.
func (f *fixture) waitWaiting(n int) (pids []int) {
	f.t.Helper()
	r := f.reserved()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		pids = nil
		r.mu.Lock()
		for _, w := range r.waiting {
			pids = append(pids, w.proc.pid)
		}
		r.mu.Unlock()
		if len(pids) == n {
			return pids
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%d processes wait, want %d\n%s", len(pids), n, f.log)
		}
	}
}

// waitClaimed waits until a process waits no more.
func (f *fixture) waitClaimed(pid int) {
	f.t.Helper()
	r := f.reserved()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		waits := slices.ContainsFunc(r.waiting, func(w *waiter) bool { return w.proc.pid == pid })
		r.mu.Unlock()
		if !waits {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("process %d still waits\n%s", pid, f.log)
		}
	}
}

func waitStopped(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		if i := strings.LastIndexByte(string(stat), ')'); strings.HasPrefix(string(stat[i+1:]), " T") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d is not stopped: %s", pid, stat)
		}
	}
}

// tell is a script that answers with its number, its variables of the request, and the body.
const tell = `body=$(cat); echo pid=$$; echo env=$Http_X_A; tr '\0' '\n' <"$DC_REQUEST_FILE"; echo "body=$body"`

func TestPrefork_ServesOnceEach(t *testing.T) {
	for _, mode := range []string{"fork", "serializing", "streaming"} {
		t.Run(mode, func(t *testing.T) {
			f := serve(t, sh(tell), "mode="+mode, "DC_DIALECT=native", "DC_PREFORK=2")
			seen := map[string]bool{}
			for i := range 5 {
				pids := f.waitWaiting(2)
				want := fmt.Sprintf("pid=%d\n", pids[0])
				got := f.do("POST", "/p%0Aq?x=1", fmt.Sprint("b", i), "X-A: 1")
				if got.status != 200 || !strings.HasPrefix(got.body, want+"env=\n") || seen[want] {
					t.Errorf("%d: %+v, want %q", i, got, want)
				}
				seen[want] = true
				for _, part := range []string{"\nHttp_X_A=1\n", "\nHttp_Path=/p\nq\n", "\nHttp_Query=x=1\n", "\nREQUEST_METHOD=POST\n", fmt.Sprint("\nbody=b", i, "\n")} {
					if !strings.Contains(got.body, part) {
						t.Errorf("no %q in %q", part, got.body)
					}
				}
			}
			f.waitWaiting(2)
			if got := f.do("GET", "/", ""); !strings.Contains(got.body, "\nREQUEST_METHOD=GET\n") || !strings.HasSuffix(got.body, "\nbody=\n") {
				t.Errorf("without a body: %+v", got)
			}
		})
	}
}

// More requests than processes wait are forked, and have their variables in both places.
func TestPrefork_Herd(t *testing.T) {
	for _, mode := range []string{"fork", "streaming"} {
		t.Run(mode, func(t *testing.T) {
			f := serve(t, sh(tell), "mode="+mode, "DC_DIALECT=native", "DC_PREFORK=2")
			f.waitWaiting(2)
			var mu sync.Mutex
			pids, forked := map[string]bool{}, 0
			var herd sync.WaitGroup
			for i := range 20 {
				herd.Go(func() {
					got := f.do("POST", "/", fmt.Sprint("b", i), fmt.Sprint("X-A: ", i))
					pid, _, _ := strings.Cut(got.body, "\n")
					mu.Lock()
					defer mu.Unlock()
					if got.status != 200 || pids[pid] || !strings.Contains(got.body, fmt.Sprintf("\nHttp_X_A=%d\n", i)) ||
						!strings.HasSuffix(got.body, fmt.Sprintf("\nbody=b%d\n", i)) {
						t.Errorf("%d: %+v", i, got)
					}
					pids[pid] = true
					if strings.Contains(got.body, fmt.Sprintf("\nenv=%d\n", i)) {
						forked++
					}
				})
			}
			herd.Wait()
			if forked == 20 {
				t.Error("all were forked, though some could wait")
			}
		})
	}
}

func TestPrefork_AnySize(t *testing.T) {
	body, header := strings.Repeat("x", 1<<20), strings.Repeat("y", 100<<10)
	for _, script := range []string{
		`wc -c <"$DC_REQUEST_FILE"; wc -c`, // the variables first: there is nothing to read before the request comes
		`wc -c; wc -c <&3`,
		`wc -c`,     // whoever does not want them leaves them
		`exec true`, // neither
		`exec 3<&- cat`,
	} {
		for _, mode := range []string{"fork", "streaming"} {
			t.Run(mode+": "+script, func(t *testing.T) {
				f := serve(t, sh("echo up >&2; "+script), "mode="+mode, "DC_DIALECT=native", "DC_PREFORK=1")
				for range 2 { // a process that waited, and one that was forked
					got := f.do("POST", "/", body, "X-A: "+header)
					if got.status != 200 || strings.Contains(script, "wc -c;") && len(strings.Fields(got.body)) != 2 {
						t.Errorf("%d: %.200s", got.status, got.body)
					}
				}
			})
		}
	}
}

// A program that does not wait for its stdin is served by forking, and that is told once.
func TestPrefork_NotSuited(t *testing.T) {
	for _, r := range []struct {
		script string
		status int
		body   string
	}{
		{"echo hi", 200, "hi\n"},
		{"echo no >&2; exit 3", 500, "exit status 3\n"},
	} {
		f := serve(t, sh(r.script), "DC_PREFORK=2")
		f.log.waitFor(t, "prefork does not suit this function")
		for range 20 {
			if got := f.do("POST", "/", "x"); got.status != r.status || got.body != r.body {
				t.Fatalf("%s: %+v", r.script, got)
			}
		}
		f.log.waitFor(t, "prefork does not suit this function")
		if n := strings.Count(f.log.String(), "does not suit"); n != 1 {
			t.Errorf("told %d times", n)
		}
	}
}

func TestPrefork_WaitingProcessKilled(t *testing.T) {
	f := serve(t, "fprocess=cat", "DC_PREFORK=2")
	for i := range 15 {
		if i < 3 {
			f.waitWaiting(2)
		}
		r := f.reserved()
		r.mu.Lock()
		for _, w := range r.waiting {
			w.proc.signal(syscall.SIGKILL)
		}
		for _, w := range r.waiting {
			w.proc.waitExit(0) // and nobody was told yet
		}
		r.mu.Unlock()
		if got := f.do("POST", "/", "x"); got.status != 200 || got.body != "x" {
			t.Fatalf("%+v\n%s", got, f.log)
		}
	}
	f.log.waitFor(t, "a process that waited for a request was ended")
	f.waitWaiting(2) // after the pause
}

func TestPrefork_OutputBeforeTheRequest(t *testing.T) {
	for name, script := range map[string]string{"little": "echo banner", "more than a pipe": "head -c 200000 /dev/zero; echo banner"} {
		for _, mode := range []string{"fork", "streaming"} {
			t.Run(mode+", "+name, func(t *testing.T) {
				f := serve(t, sh("echo starting >&2; "+script+"; cat"), "mode="+mode, "DC_DIALECT=native", "DC_PREFORK=1")
				f.waitWaiting(1)
				f.stderr.waitFor(t, "starting\n") // is logged at once
				if got := f.do("POST", "/", "body"); got.status != 200 || !strings.HasSuffix(got.body, "banner\nbody") {
					t.Errorf("%d: %.100q", got.status, got.body)
				}
			})
		}
	}
	t.Run("more than is allowed", func(t *testing.T) {
		f := serve(t, sh("head -c 200000 /dev/zero; cat"), "DC_PREFORK=1", "fork_output_bytes=100000")
		f.waitWaiting(1)
		if got := f.do("POST", "/", "body"); got.status != 500 || !strings.Contains(got.body, "fork_output_bytes") {
			t.Errorf("%d: %.100q", got.status, got.body)
		}
	})
}

// The limit of an invocation counts from its request, however long its process has waited.
func TestPrefork_Limits(t *testing.T) {
	f := serve(t, sh("read what; if [ $what = hang ]; then sleep 98763.1; fi; echo $what"), "DC_PREFORK=1", "exec_timeout=2s")
	pids := f.waitWaiting(1)
	<-time.After(2500 * time.Millisecond) // more than an invocation gets
	if now := f.waitWaiting(1); now[0] != pids[0] {
		t.Errorf("process %d was replaced by %d", pids[0], now[0])
	}
	if got := f.do("POST", "/", "go\n"); got.status != 200 || got.body != "go\n" {
		t.Errorf("%+v", got)
	}
	f.waitWaiting(1)
	if got := f.do("POST", "/", "hang\n"); got.status != 504 {
		t.Errorf("%+v", got)
	}
	f.waitWaiting(1)
	if got := f.do("POST", "/", "hang\n", "X-Timeout: 50ms"); got.status != 504 {
		t.Errorf("%+v", got)
	}
	f.waitWaiting(1)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if got := f.doCtx(ctx, "POST", "/", strings.NewReader("hang\n")); got.err == nil {
		t.Errorf("%+v", got)
	}
	waitGone(t, "sleep\x0098763.1") // not the script, which the next one that waits has in its command line
}

// What a process has started in its session ends with its invocation, whether that came before its request or after it.
func TestPrefork_NothingOutlivesItsInvocation(t *testing.T) {
	const script = "sleep 98763.5 >/dev/null 2>&1 & read what; sleep 98763.6 >/dev/null 2>&1 & echo $what"
	for _, mode := range []string{"fork", "streaming"} {
		f := serve(t, argv("sh", "-mc", script), "mode="+mode, "DC_DIALECT=native", "DC_PREFORK=1")
		for range 10 {
			pid := f.waitWaiting(1)[0]
			for deadline := time.Now().Add(patience); len(sessionMembers(pid)) == 0; {
				if time.Now().After(deadline) {
					t.Fatal("the process has started nothing")
				}
			}
			if got := f.do("POST", "/", "go\n"); got.status != 200 || got.body != "go\n" {
				t.Fatalf("%s: %+v", mode, got)
			}
			waitSessionEnded(t, pid)
		}
		if err := f.stop(); err != nil {
			t.Error(err)
		}
		waitGone(t, "sleep\x0098763.5")
		waitGone(t, "sleep\x0098763.6")
	}
}

// waitSessionEnded waits until nobody of a session lives. What is a zombie is for process 1 to take, in its own time.
func waitSessionEnded(t *testing.T, leader int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var alive []int
		for _, pid := range sessionMembers(leader) {
			if state, _ := processState(pid); state != "" && state != "Z" && state != "X" {
				alive = append(alive, pid)
			}
		}
		if len(alive) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v outlive their invocation", alive)
		}
	}
}

// An invocation that takes long is no reason to have fewer processes waiting.
func TestPrefork_ReplacedDuringALongInvocation(t *testing.T) {
	f := serve(t, sh("cat; echo begun >&2; while [ -e "+t.TempDir()+" ]; do sleep 0.05; done"), "DC_PREFORK=1")
	pid := f.waitWaiting(1)[0]
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		f.doCtx(ctx, "POST", "/", nil)
	}()
	f.stderr.waitFor(t, "begun\n")
	if other := f.waitWaiting(1)[0]; other == pid {
		t.Error("a process that has its request still waits")
	}
	cancel()
	<-gone
}

func TestPrefork_Shutdown(t *testing.T) {
	for _, script := range []string{"sleep 98763.2 & read x", "trap '' TERM; sleep 98763.2 & read x"} {
		f := serve(t, sh(script), "DC_PREFORK=3")
		f.waitWaiting(3)
		if err := f.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		waitGone(t, "98763.2")
	}
	t.Run("while they are started", func(t *testing.T) {
		f := serve(t, sh("sleep 98763.3"), "DC_PREFORK=100")
		f.log.waitFor(t, "msg=serving")
		if err := f.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		waitGone(t, "98763.3")
	})
}

func TestPrefork_ProgramGone(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho up >&2\ncat\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	f := serve(t, argv(program), "DC_PREFORK=1")
	f.stderr.waitFor(t, "up\n") // it has been read
	f.waitWaiting(1)
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if got := f.do("POST", "/", "x"); got.body != "x" {
		t.Errorf("the one that waits: %+v", got)
	}
	if got := f.do("POST", "/", "x"); got.status != 500 || !strings.Contains(got.body, "no such file or directory") {
		t.Errorf("%+v", got)
	}
	f.log.waitFor(t, "no process could be started to wait for a request")
}

func TestPrefork_ReadyPathTakesNone(t *testing.T) {
	f := serve(t, sh(`cat >/dev/null; [ "$Http_Path" = /ready ]`), "DC_PREFORK=1", "ready_path=/ready")
	pid := f.waitWaiting(1)[0]
	f.waitReady()
	if now := f.waitWaiting(1)[0]; now != pid {
		t.Errorf("process %d waits, want %d", now, pid)
	}
}

func TestPrefork_WithoutHeaders(t *testing.T) {
	f := serve(t, sh(`cat; cat "$DC_REQUEST_FILE"; env`), "DC_PREFORK=1", "cgi_headers=false")
	for range 2 {
		got := f.do("POST", "/", "x", "X-A: secret")
		if got.status != 200 || strings.Contains(got.body, "Http_") || strings.Contains(got.body, "secret") {
			t.Errorf("%+v", got)
		}
	}
}

// The lines of Python are those of the documentation.
func TestPrefork_Python(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	f := serve(t, argv(python, "-c", `
import os, sys
body = sys.stdin.read()
with open(os.environ["DC_REQUEST_FILE"]) as file:
    request = dict(entry.split("=", 1) for entry in file.read().split("\0") if entry)
print(os.getpid(), request["Http_X_A"], request["Http_Path"], body)
`), "DC_PREFORK=1")
	for i := range 3 {
		pid := f.waitWaiting(1)[0]
		want := fmt.Sprintf("%d é %s %d\n", pid, "/a b", i)
		if got := f.do("POST", "/a%20b", fmt.Sprint(i), "X-A: é"); got.status != 200 || got.body != want {
			t.Errorf("%+v, want %q", got, want)
		}
	}
}

func TestConfig_Prefork(t *testing.T) {
	for _, r := range []struct {
		environ []string
		want    int
		err     string
	}{
		{[]string{"DC_PREFORK=4"}, 4, ""},
		{[]string{"DC_PREFORK=0"}, 0, ""},
		{[]string{"mode=streaming", "DC_PREFORK=100"}, 100, ""},
		{[]string{"mode=serializing", "DC_PREFORK=1"}, 1, ""},
		{[]string{"DC_PREFORK=-1"}, 0, `DC_PREFORK "-1" is not`},
		{[]string{"DC_PREFORK=101"}, 0, `DC_PREFORK "101" is not`},
		{[]string{"DC_PREFORK=many", "DC_DIALECT=classic"}, 0, `DC_PREFORK "many" is not`},
		{[]string{"mode=http", "DC_PREFORK=1"}, 0, "mode http starts no process for an invocation"},
		{[]string{"mode=lambda", "DC_PREFORK=1"}, 0, "mode lambda starts no process"},
		{[]string{"mode=static", "DC_PREFORK=1"}, 0, "mode static starts no process"},
	} {
		cfg, err := ParseEnv(append([]string{"fprocess=cat"}, r.environ...))
		if r.err == "" && (err != nil || cfg.Prefork != r.want) || r.err != "" && (err == nil || !strings.Contains(err.Error(), r.err)) {
			t.Errorf("%q: %v, %v", r.environ, cfg.Prefork, err)
		}
	}
}

// A process that waits is killed when its request has just come. The next one serves it, if it is sure that the first has read nothing.
func TestPrefork_KilledAsItIsClaimed(t *testing.T) {
	for _, r := range []struct {
		name, body string
		status     int
	}{
		{"nothing read", "moo\n", 200},
		{"without a body nobody can tell", "", 500},
		{"more than a pipe tells of", strings.Repeat("x", alwaysFits+1), 500},
	} {
		t.Run(r.name, func(t *testing.T) {
			f := serve(t, sh(`read body; echo pid=$$ $body`), "mode=fork", "DC_DIALECT=native", "DC_PREFORK=2")
			pids := f.waitWaiting(2)
			if err := syscall.Kill(pids[0], syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			waitStopped(t, pids[0]) // or it could read on its way there
			answered := make(chan answer, 1)
			go func() { answered <- f.do("POST", "/", r.body) }()
			f.waitClaimed(pids[0])
			if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			got := <-answered
			if got.status != r.status || r.status == 200 && !strings.Contains(got.body, fmt.Sprintf("pid=%d moo\n", pids[1])) {
				t.Errorf("%+v", got)
			}
			f.waitWaiting(2)
		})
	}
}
