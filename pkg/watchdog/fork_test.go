package watchdog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestForkMode has a row for every rule of the contract that one request can show.
func TestForkMode(t *testing.T) {
	const classic, of = "DC_DIALECT=classic", "DC_DIALECT=of"
	type row struct {
		name                     string
		environ                  []string
		method, path, body       string
		header                   []string
		status                   int
		want                     string            // the answer's body
		wantMatch                string            // or what it matches
		wantHeader               map[string]string // "" means absent
		wantLog, stderr, stdout  string            // what is found there
		notInStdout, notInStderr string
	}
	rows := []row{
		{name: "stdin to stdout", environ: []string{"fprocess=cat"}, body: "hello", status: 200, want: "hello",
			wantHeader: map[string]string{"Content-Length": "5"}},
		{name: "no body is the end of stdin", environ: []string{"fprocess=cat"}, method: "GET", status: 200},
		{name: "arguments split at every blank", environ: []string{"fprocess=printf [%s] a  b"}, status: 200, want: "[a][][b]"},
		{name: "function_process before fprocess", environ: []string{"fprocess=false", "function_process=echo yes", "DC_DIALECT=native"},
			status: 200, want: "yes\n"},
		{name: "value with equals signs", environ: []string{"fprocess=echo a=b=c"}, status: 200, want: "a=b=c\n"},
		{name: "mode fork", environ: []string{"mode=fork", "fprocess=cat"}, body: "x", status: 200, want: "x"},
		{name: "stdin ignored", environ: []string{"fprocess=true"}, body: strings.Repeat("x", 1<<20), status: 200},
		{name: "stdout closed before the end", environ: []string{sh("echo a; exec >&-; exit 0")}, status: 200, want: "a\n"},

		{name: "exit status", environ: []string{sh("echo out; exit 3")}, status: 500, want: "exit status 3\nout\n",
			wantHeader: map[string]string{"X-Duration-Seconds": "", "Content-Type": "text/plain; charset=utf-8"}},
		{name: "killed by a signal", environ: []string{sh("kill -9 $$")}, status: 500, want: "signal: killed\n"},
		{name: "failure is logged", environ: []string{"fprocess=false"}, status: 500, want: "exit status 1\n", wantLog: "status=500"},
		{name: "no such program, classic", environ: []string{"fprocess=./nope", classic}, status: 500,
			wantMatch: `^.*nope.*: no such file or directory\n$`, wantLog: "program was not found"},

		{name: "stderr to the log", environ: []string{sh("echo out; echo err >&2")}, status: 200, want: "out\n", stderr: "err\n"},
		{name: "stderr in the answer, classic", environ: []string{sh("echo err >&2"), classic}, status: 200, want: "err\n", notInStderr: "err"},
		{name: "combine_output=false", environ: []string{sh("echo out; echo err >&2"), classic, "combine_output=false"}, status: 200,
			want: "out\n", stderr: "err\n"},
		{name: "combine_output=true", environ: []string{sh("echo err >&2"), "DC_DIALECT=native", "combine_output=true"}, status: 200, want: "err\n"},
		{name: "last line without an end", environ: []string{sh("printf no-end >&2")}, status: 200, stderr: "no-end\n"},
		{name: "prefix_logs", environ: []string{sh("echo err >&2"), "prefix_logs=true"}, status: 200, stderr: " stderr: err\n"},
		{name: "long log lines are split", environ: []string{sh("printf 1234567890123456789012345 >&2"), "log_buffer_size=20"}, status: 200,
			stderr: "12345678901234567890\n12345\n"},

		{name: "type of the request", environ: []string{"fprocess=cat"}, body: "{}", header: []string{"Content-Type: application/json"},
			status: 200, want: "{}", wantHeader: map[string]string{"Content-Type": "application/json"}},
		{name: "content_type", environ: []string{"fprocess=cat", "content_type=text/csv"}, body: "{}",
			header: []string{"Content-Type: application/json"}, status: 200, want: "{}", wantHeader: map[string]string{"Content-Type": "text/csv"}},
		{name: "type guessed", environ: []string{"fprocess=echo <html>"}, status: 200, want: "<html>\n",
			wantHeader: map[string]string{"Content-Type": "text/html; charset=utf-8"}},

		{name: "PUT", environ: []string{"fprocess=cat"}, method: "PUT", body: "x", status: 200, want: "x"},
		{name: "PATCH", environ: []string{"fprocess=cat"}, method: "PATCH", body: "x", status: 200, want: "x"},
		{name: "DELETE", environ: []string{"fprocess=cat"}, method: "DELETE", body: "x", status: 200, want: "x"},
		{name: "HEAD refused", environ: []string{"fprocess=cat"}, method: "HEAD", status: 405},
		{name: "OPTIONS refused", environ: []string{"fprocess=cat"}, method: "OPTIONS", status: 405,
			wantHeader: map[string]string{"Allow": "GET, POST, PUT, PATCH, DELETE"}},

		{name: "marshal_request", environ: []string{"fprocess=cat", "marshal_request=true"}, body: "hi", header: []string{"X-A: 1", "X-A: 2"},
			status: 200, wantMatch: `^\{"header":\{.*"X-A":\["1","2"\].*\},"body":\{"raw":"aGk="\}\}$`},
		{name: "marshal_request without a body", environ: []string{"fprocess=cat", "marshal_request=true"}, method: "GET", status: 200,
			wantMatch: `"body":\{"raw":""\}\}$`},

		{name: "path as sent", environ: []string{sh(`printf %s "$Http_Path"`)}, path: "//a/../b%20c/./", status: 200, want: "//a/../b c/./"},
		{name: "query", environ: []string{sh(`printf %s "$Http_Query"`)}, path: "/?a=%201&b;c", status: 200, want: "a=%201&b;c"},
		{name: "cgi_headers=false", environ: []string{"fprocess=env", "cgi_headers=false"}, status: 200, wantMatch: `^(?s)PATH=[^H]*$`},
		{name: "NUL in the path", environ: []string{"fprocess=true"}, path: "/%00", status: 400, wantMatch: "NUL"},
		{name: "header too long for a variable", environ: []string{"fprocess=true"}, header: []string{"X-Big: " + strings.Repeat("x", 128<<10)},
			status: 431, wantMatch: "128 KiB"},
		{name: "query too long for a variable", environ: []string{"fprocess=true"}, path: "/?" + strings.Repeat("x", 128<<10), status: 414,
			wantMatch: "128 KiB"},

		{name: "exec_timeout, classic", environ: []string{"fprocess=sleep 100", classic, "exec_timeout=50ms"}, status: 408, want: "Killed process.\n",
			wantLog: "status=408", wantHeader: map[string]string{"X-Duration-Seconds": ""}},
		{name: "exec_timeout, of", environ: []string{"fprocess=sleep 100", of, "mode=fork", "exec_timeout=50ms"}, status: 504},
		{name: "exec_timeout", environ: []string{"fprocess=sleep 100", "exec_timeout=50ms"}, status: 504, want: "the function ran out of time\n"},
		{name: "exec_timeout with stdout held by a grandchild", environ: []string{sh("echo a; sleep 100 & sleep 100"), "exec_timeout=50ms"}, status: 504},
		{name: "exec_timeout with stdout held by one that escaped", environ: []string{sh("setsid sleep 98765.5 & sleep 100"), "exec_timeout=50ms"},
			status: 504},
		{name: "exec_timeout with SIGTERM ignored", environ: []string{sh("trap '' TERM; sleep 100; sleep 100"), "exec_timeout=50ms"}, status: 504},
		{name: "exec_timeout with stdin not read", environ: []string{"fprocess=sleep 100", "exec_timeout=50ms"}, body: strings.Repeat("x", 1<<20),
			status: 504},
		{name: "write_timeout is answered in time", environ: []string{"fprocess=sleep 100", "write_timeout=50ms"}, status: 504},
		{name: "X-Timeout lowers", environ: []string{"fprocess=sleep 100", "exec_timeout=1h"}, header: []string{"X-Timeout: 50ms"}, status: 504},
		{name: "X-Timeout without exec_timeout", environ: []string{"fprocess=sleep 100"}, header: []string{"X-Timeout: 50ms"}, status: 504},
		{name: "X-Timeout does not raise", environ: []string{"fprocess=sleep 100", "exec_timeout=50ms"}, header: []string{"X-Timeout: 1h"}, status: 504},
		{name: "X-Timeout 0 ignored", environ: []string{"fprocess=sleep 100", "exec_timeout=50ms"}, header: []string{"X-Timeout: 0s"}, status: 504},
		{name: "X-Timeout negative ignored", environ: []string{"fprocess=echo yes"}, header: []string{"X-Timeout: -1s"}, status: 200, want: "yes\n"},

		{name: "body as long as allowed", environ: []string{"fprocess=cat", "fork_body_bytes=5"}, body: "12345", status: 200, want: "12345"},
		{name: "body too long", environ: []string{"fprocess=cat", "fork_body_bytes=5"}, body: "123456", status: 413,
			want: "the request's body is longer than fork_body_bytes allows\n"},
		{name: "output as long as allowed", environ: []string{"fprocess=printf 12345", "fork_output_bytes=5"}, status: 200, want: "12345"},
		{name: "the longest limits", environ: []string{"fprocess=cat", "fork_body_bytes=9223372036854775807", "fork_output_bytes=9223372036854775807"},
			body: "12345", status: 200, want: "12345"},
		{name: "output too long", environ: []string{"fprocess=printf 123456", "fork_output_bytes=5"}, status: 500,
			want: "the function's output is longer than fork_output_bytes allows\n", wantLog: "status=500"},
		{name: "output without end", environ: []string{"fprocess=yes", "fork_output_bytes=1000000"}, status: 500, wantMatch: "fork_output_bytes"},

		{name: "output of a background process", environ: []string{sh("(sleep 0.1; echo late) & echo early")}, status: 200, want: "early\nlate\n"},
		{name: "write_debug", environ: []string{"fprocess=cat", "write_debug=true"}, body: "hello", status: 200, want: "hello", stdout: "hello\n"},
		{name: "no write_debug", environ: []string{"fprocess=cat"}, body: "hello", status: 200, want: "hello", notInStdout: "hello"},
		{name: "debug_headers", environ: []string{"fprocess=cat", "debug_headers=true"}, body: "hello", header: []string{"X-A: 1"}, status: 200,
			want: "hello", stdout: "[in] X-A=[1]\n"},
		{name: "debug_headers of the answer", environ: []string{"fprocess=cat", "debug_headers=true"}, body: "hello", status: 200,
			want: "hello", stdout: "[out] Content-Length=[5]\n"},
		{name: "health with a slash is the function", environ: []string{"fprocess=echo yes"}, path: "/_/health/", status: 200, want: "yes\n"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			defer killMarked(t, "98765.5") // which escape on purpose
			f := serve(t, append(r.environ, "healthcheck_interval=0")...)
			if r.method == "" {
				r.method = "POST"
			}
			begun := time.Now()
			got := f.do(r.method, r.path, r.body, r.header...)
			if got.err != nil {
				t.Fatal(got.err)
			}
			if took := time.Since(begun); took > patience/2 {
				t.Errorf("answered after %v", took)
			}
			if got.status != r.status {
				t.Errorf("status %d, want %d; body %.200q", got.status, r.status, got.body)
			}
			if r.wantMatch == "" && got.status == r.status && r.status != 504 && got.body != r.want {
				t.Errorf("body %.200q, want %.200q", got.body, r.want)
			}
			if !regexp.MustCompile(r.wantMatch).MatchString(got.body) {
				t.Errorf("body %.300q does not match %s", got.body, r.wantMatch)
			}
			if duration := got.header.Get("X-Duration-Seconds"); (got.status == 200) != regexp.MustCompile(`^\d+\.\d{6}$`).MatchString(duration) {
				t.Errorf("X-Duration-Seconds %q with status %d", duration, got.status)
			}
			for name, want := range r.wantHeader {
				if value := got.header.Get(name); value != want {
					t.Errorf("%s: %q, want %q", name, value, want)
				}
			}
			if r.wantLog != "" {
				f.log.waitFor(t, r.wantLog)
			}
			f.stderr.waitFor(t, r.stderr)
			f.stdout.waitFor(t, r.stdout)
			if r.notInStderr != "" && strings.Contains(f.stderr.String(), r.notInStderr) {
				t.Errorf("stderr %q", f.stderr)
			}
			if r.notInStdout != "" && strings.Contains(f.stdout.String(), r.notInStdout) {
				t.Errorf("stdout %q", f.stdout)
			}
			if err := f.stop(); err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	}
}

func TestForkMode_ProgramNotFoundIsFatal(t *testing.T) {
	f := serve(t, "fprocess=no-such-program-anywhere")
	if err := f.wait(); err == nil || !strings.Contains(err.Error(), "no-such-program-anywhere") {
		t.Fatalf("Serve: %v", err)
	}
}

func TestForkMode_BodyCutShortRunsNothing(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	f := serve(t, argv("touch", ran))
	conn := f.raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		t.Errorf("answer %q, %v", answer, err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the function ran")
	}
}

// Refused from its length, before any of it is read, and yet whoever sends all of it before he reads gets the answer.
func TestForkMode_BodyOf33MiB(t *testing.T) {
	for _, header := range []string{"", "Connection: close\r\n"} {
		f := serve(t, "fprocess=wc -c")
		conn := f.raw(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n", header, 33<<20))
		if n, err := conn.Write(make([]byte, 33<<20)); err != nil {
			t.Errorf("%q: sent %d bytes: %v", header, n, err)
		}
		text, err := io.ReadAll(conn)
		if !strings.HasPrefix(string(text), "HTTP/1.1 413 ") || !strings.Contains(string(text), "fork_body_bytes") || err != nil {
			t.Errorf("%q: %q, %v", header, text, err)
		}
	}
}

// One that waits to be told to send is refused without.
func TestForkMode_BodyOf33MiBAnnounced(t *testing.T) {
	f := serve(t, "fprocess=wc -c")
	conn := f.raw(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", 33<<20))
	if text, err := io.ReadAll(conn); !strings.HasPrefix(string(text), "HTTP/1.1 413 ") || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

func TestForkMode_ChunkedBodyTooLong(t *testing.T) {
	f := serve(t, "fprocess=cat", "fork_body_bytes=5")
	got := f.doCtx(context.Background(), "POST", "/", io.MultiReader(strings.NewReader("123"), strings.NewReader("456")))
	if got.status != 413 {
		t.Errorf("%+v", got)
	}
}

// The limit counts while the body is read too, and is answered.
func TestForkMode_BodyThatStalls(t *testing.T) {
	f := serve(t, "fprocess=cat", "write_timeout=100ms", "healthcheck_interval=0")
	conn := f.raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 504 ") {
		t.Errorf("answer %q, %v", answer, err)
	}
}

func TestForkMode_ArgumentsAndEnvironmentTooLong(t *testing.T) {
	environ := []string{"fprocess=true"}
	for i := range 14 {
		environ = append(environ, fmt.Sprintf("BIG_%d=%s", i, strings.Repeat("x", 100<<10)))
	}
	f := serve(t, environ...)
	if got := f.do("GET", "/", ""); got.status != 200 {
		t.Fatalf("without headers: %+v", got)
	}
	var header []string
	for i := range 9 {
		header = append(header, fmt.Sprintf("X-Big-%d: %s", i, strings.Repeat("x", 100<<10)))
	}
	if got := f.do("GET", "/", "", header...); got.status != 431 {
		t.Errorf("status %d %.100q, want 431", got.status, got.body)
	}
}

func TestForkMode_BigBody(t *testing.T) {
	f := serve(t, "fprocess=cat")
	body := bytes.Repeat([]byte("0123456789abcdef"), 16<<20/16)
	got := f.doCtx(context.Background(), "POST", "/", bytes.NewReader(body))
	if got.status != 200 || sha256.Sum256([]byte(got.body)) != sha256.Sum256(body) {
		t.Errorf("status %d, %d bytes, %v", got.status, len(got.body), got.err)
	}
}

func TestForkMode_ChunkedBody(t *testing.T) {
	f := serve(t, sh(`echo "$Http_ContentLength $Http_Content_Length $Http_Transfer_Encoding"; cat`), "DC_DIALECT=classic")
	got := f.doCtx(context.Background(), "POST", "/", io.MultiReader(strings.NewReader("a"), strings.NewReader("b")))
	if got.body != "-1 -1 chunked\nab" {
		t.Errorf("body %q", got.body)
	}
}

// A caller that goes away takes its invocation with it: the process and what that has started.
func TestForkMode_CallerGone(t *testing.T) {
	f := serve(t, sh("sleep 98765.1 & echo begun >&2; sleep 98765.1"))
	ctx, cancel := context.WithCancel(context.Background())
	answered := make(chan answer, 1)
	go func() { answered <- f.doCtx(ctx, "POST", "/", strings.NewReader("x")) }()
	f.stderr.waitFor(t, "begun")
	cancel()
	<-answered
	f.log.waitFor(t, "status=499")
	waitGone(t, "98765.1")
}

func TestForkMode_NothingOutlivesItsInvocation(t *testing.T) {
	f := serve(t, sh("sleep 98765.2 >/dev/null 2>&1 & echo done"))
	if got := f.do("POST", "/", ""); got.body != "done\n" {
		t.Fatalf("%+v", got)
	}
	waitGone(t, "98765.2")
}

// Nor does what has put itself into a process group of its own, as timeout does, and shells with job control.
func TestForkMode_NothingOutlivesItsInvocation_InOtherGroups(t *testing.T) {
	for name, r := range map[string]struct {
		script, limit string
		status        int
	}{
		"out of time":   {"timeout 98765 sleep 98765.6", "300ms", 504},
		"left behind":   {"set -m; timeout 98765 sleep 98765.6 >/dev/null 2>&1 & sleep 0.1; echo done", "1m", 200},
		"under a shell": {"set -m; (sleep 98765.6; sleep 98765.6) & wait", "300ms", 504},
	} {
		t.Run(name, func(t *testing.T) {
			defer killMarked(t, "98765.6")
			f := serve(t, sh(r.script), "healthcheck_interval=0")
			if got := f.do("POST", "/", "", "X-Timeout: "+r.limit); got.status != r.status {
				t.Errorf("%+v", got)
			}
			waitGone(t, "98765.6")
		})
	}
}

// One that has escaped into a session of its own and holds stderr open does not hold up the invocation, nor a descriptor.
func TestForkMode_StderrHeldOpen(t *testing.T) {
	defer killMarked(t, "98765.5")
	f := serve(t, sh("setsid sleep 98765.5 >/dev/null & echo done"))
	begun := time.Now()
	if got := f.do("POST", "/", ""); got.body != "done\n" {
		t.Fatalf("%+v", got)
	}
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("answered after %v", took)
	}
}

func TestForkMode_CallerThatDoesNotRead(t *testing.T) {
	f := prepare(t, sh("echo begun >&2; head -c 30000000 /dev/zero"), "healthcheck_interval=0")
	f.mode.(*forkMode).stall = 100 * time.Millisecond
	f.start()
	f.neverRead("/")
	f.stderr.waitFor(t, "begun")
	f.waitNothingInFlight()
}

// One that reads, however slowly, gets all of it: the deadline moves with what it has read.
func TestForkMode_CallerThatReadsSlowly(t *testing.T) {
	f := prepare(t, "fprocess=head -c 30000000 /dev/zero", "healthcheck_interval=0")
	f.mode.(*forkMode).stall = 2 * time.Second
	f.start()
	res, err := client.Get(f.url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var n int64
	for begun := time.Now(); err == nil; {
		var more int64
		more, err = io.CopyN(io.Discard, res.Body, 1<<20)
		n += more
		if time.Since(begun) < 4*time.Second {
			time.Sleep(150 * time.Millisecond) // not for an outcome: this is the slowness
		}
	}
	if n != 30000000 || err != io.EOF {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestForkMode_MaxInFlight(t *testing.T) {
	dir := t.TempDir()
	f := serve(t, sh("echo begun >&2; cat "+dir+"/gate; echo done"), "max_inflight=1")
	if err := mkfifo(dir + "/gate"); err != nil {
		t.Fatal(err)
	}
	first := make(chan answer, 1)
	go func() { first <- f.do("GET", "/", "") }()
	f.stderr.waitFor(t, "begun")

	got := f.do("GET", "/", "")
	if got.status != 429 || got.body != "Concurrent request limit exceeded. Max concurrent requests: 1\n" ||
		got.header.Get("Content-Type") != "text/plain" || got.header.Get("X-Openfaas-Internal") != "faas-middleware" {
		t.Errorf("second: %+v", got)
	}
	if got := f.do("GET", "/_/ready", ""); got.status != 200 {
		t.Errorf("ready at the limit: %+v", got)
	}
	if err := os.WriteFile(dir+"/gate", nil, 0); err != nil {
		t.Fatal(err)
	}
	if got := <-first; got.status != 200 || got.body != "done\n" {
		t.Errorf("first: %+v", got)
	}
	go os.WriteFile(dir+"/gate", nil, 0)
	if got := f.do("GET", "/", ""); got.status != 200 {
		t.Errorf("after the first: %+v", got)
	}
}

func TestForkMode_ReadyOverMaxInFlightInOf(t *testing.T) {
	f := serve(t, sh("echo begun >&2; sleep 100"), "max_inflight=1", "DC_DIALECT=of", "mode=fork")
	ctx, cancel := context.WithCancel(context.Background())
	answered := make(chan answer, 1)
	go func() { answered <- f.doCtx(ctx, "GET", "/", nil) }()
	f.stderr.waitFor(t, "begun")
	if got := f.do("GET", "/_/ready", ""); got.status != 429 || got.body != "" {
		t.Errorf("ready at the limit: %+v", got)
	}
	cancel()
	<-answered
}

// Many invocations, good and bad, leave no goroutine, descriptor (see serve) or zombie.
func TestForkMode_ManyInvocationsLeaveNothing(t *testing.T) {
	f := serve(t, sh(`case $Http_Path in /ok) cat;; /exit) exit 1;; /slow) sleep 98765.3;; /late) sleep 98765.3 >/dev/null 2>&1 & esac`))
	paths := []string{"/ok", "/exit", "/slow", "/late"}
	var calls sync.WaitGroup
	for worker := range 8 {
		calls.Go(func() {
			for i := range 50 {
				f.do("POST", paths[(worker+i)%len(paths)], "x", "X-Timeout: 20ms")
			}
		})
	}
	calls.Wait()
	f.stop()
	waitGone(t, "98765.3")
	if n := countZombies(t); n != 0 {
		t.Errorf("%d zombies", n)
	}
}

// countZombies counts this process's own.
func countZombies(t testing.TB) int {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	zombies := 0
	for _, d := range dirs {
		var pid int
		if _, err := fmt.Sscan(d.Name(), &pid); err == nil && isZombieOf(pid, os.Getpid()) {
			zombies++
		}
	}
	return zombies
}

func TestHealth(t *testing.T) {
	f := serve(t, "fprocess=cat")
	lock := f.cfg.LockFile
	for _, step := range []struct {
		name         string
		before       func()
		method, path string
		status       int
		body         string
	}{
		{"healthy", nil, "GET", "/_/health", 200, "OK"},
		{"method", nil, "POST", "/_/health", 405, ""},
		{"ready", nil, "GET", "/_/ready", 200, ""},
		{"method of ready", nil, "HEAD", "/_/ready", 405, ""},
		{"lock file removed", func() { os.Remove(lock) }, "GET", "/_/health", 503, ""},
		{"not ready without it", nil, "GET", "/_/ready", 503, ""},
		{"lock file back", func() { os.WriteFile(lock, nil, 0o600) }, "GET", "/_/health", 200, "OK"},
	} {
		if step.before != nil {
			step.before()
		}
		if got := f.do(step.method, step.path, ""); got.status != step.status || got.body != step.body {
			t.Errorf("%s: %+v", step.name, got)
		}
	}
	f.stop()
	if _, err := os.Stat(lock); err == nil {
		t.Error("lock file left behind")
	}
}

// A container that is started again may find the file of its last life, which says nothing of this one.
func TestHealth_StaleLockFile(t *testing.T) {
	f := prepare(t, "fprocess=no-such-program-anywhere")
	if err := os.WriteFile(f.cfg.LockFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.start()
	if err := f.wait(); err == nil {
		t.Error("served without a program")
	}
	if _, err := os.Stat(f.cfg.LockFile); err == nil {
		t.Error("healthy without having served")
	}
}

func TestServe_ReadTimeoutBoundsHeaders(t *testing.T) {
	f := serve(t, "fprocess=cat", "read_timeout=100ms")
	conn := f.raw("GET / HT")
	if text, err := io.ReadAll(conn); err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

func TestHealth_WithoutLockFile(t *testing.T) {
	for name, environ := range map[string]string{"suppress_lock": "suppress_lock=true", "no place for one": "TMPDIR=/proc/nowhere"} {
		t.Run(name, func(t *testing.T) {
			f := serve(t, "fprocess=cat", environ)
			for _, path := range []string{"/_/health", "/_/ready"} {
				if got := f.do("GET", path, ""); got.status != http.StatusOK {
					t.Errorf("%s: %+v", path, got)
				}
			}
			if warned := strings.Contains(f.log.String(), "no lock file"); warned != (name == "no place for one") {
				t.Errorf("log: %s", f.log)
			}
		})
	}
}

func TestForkMode_ReadyPath(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "ready")
	f := serve(t, sh(`[ "$Http_Method $Http_Path $Http_Query" = "GET /am/I a=b" ] && [ -e `+flag+` ]`), "ready_path=/am/I?a=b")
	if got := f.do("GET", "/_/ready", ""); got.status != 503 {
		t.Errorf("before: %+v", got)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.waitReady() // a probe has a second, which a busy machine may not have
}
