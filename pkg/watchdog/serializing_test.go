package watchdog

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSerializingMode(t *testing.T) {
	checkRules(t, []string{"mode=serializing"}, append(forkedRules, []rule{
		{name: "answer with its length", environ: []string{"fprocess=cat"}, body: "hello", status: 200, want: "hello",
			wantHeader: map[string]string{"Content-Length": "5"}},
		{name: "exit status hides the output", environ: []string{sh("echo out; exit 3")}, status: 500, want: "exit status 3",
			wantHeader: map[string]string{"Content-Type": "application/octet-stream"}, wantLog: "status=500"},
		{name: "exit status, native", environ: []string{sh("echo out; exit 3"), "DC_DIALECT=native"}, status: 500, want: "exit status 3",
			wantHeader: map[string]string{"Content-Type": "text/plain; charset=utf-8"}},
		{name: "killed by a signal", environ: []string{sh("kill -9 $$")}, status: 500, want: "signal: killed"},
		{name: "exec_timeout", environ: []string{"fprocess=sleep 100", "exec_timeout=50ms"}, status: 500, want: "signal: killed", wantLog: "status=500"},
		{name: "exec_timeout, native", environ: []string{"fprocess=sleep 100", "exec_timeout=50ms", "DC_DIALECT=native"}, status: 504,
			want: "the function ran out of time\n", wantLog: "status=504"},
		{name: "exec_timeout with stdout held by a grandchild", environ: []string{sh("echo a; sleep 100 & sleep 100"), "exec_timeout=50ms"},
			status: 500, want: "signal: killed"},
		{name: "exec_timeout with stdout held by one that escaped", environ: []string{sh("setsid sleep 98765.5 & sleep 100"), "exec_timeout=50ms"},
			status: 500, want: "signal: killed"},
		{name: "X-Timeout lowers", environ: []string{"fprocess=sleep 100"}, header: []string{"X-Timeout: 50ms"}, status: 500, want: "signal: killed"},
		{name: "output too long", environ: []string{"fprocess=printf 123456", "fork_output_bytes=5"}, status: 500,
			want: "the function's output is longer than fork_output_bytes allows"},
		{name: "body too long", environ: []string{"fprocess=cat", "fork_body_bytes=5"}, body: "123456", status: 413,
			wantMatch: "fork_body_bytes"},
	}...))
}

func TestSerializingMode_DurationOfGoodAndBad(t *testing.T) {
	f := serve(t, sh("exit ${Http_Path#/}"), "mode=serializing")
	for _, path := range []string{"/0", "/3"} {
		if got := f.do("GET", path, ""); len(got.header.Get("X-Duration-Seconds")) < 8 {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

// The of-watchdog answered 500 to some of these, and left a zombie each time.
func TestSerializingMode_StdinIgnored(t *testing.T) {
	f := serve(t, "fprocess=true", "mode=serializing")
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for range 50 {
				if got := f.do("POST", "/", "x"); got.status != 200 {
					t.Errorf("%+v", got)
				}
			}
		})
	}
	calls.Wait()
	f.stop()
	if n := countZombies(t); n != 0 {
		t.Errorf("%d zombies", n)
	}
}

func TestSerializingMode_BodyCutShortRunsNothing(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	f := serve(t, argv("touch", ran), "mode=serializing")
	conn := f.raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		t.Errorf("answer %q, %v", answer, err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the function ran")
	}
}

func TestSerializingMode_BigBodies(t *testing.T) {
	f := serve(t, "fprocess=cat", "mode=serializing")
	body := bytes.Repeat([]byte("0123456789abcdef"), 16<<20/16)
	if got := f.doCtx(context.Background(), "POST", "/", bytes.NewReader(body)); got.status != 200 || got.body != string(body) {
		t.Errorf("status %d, %d bytes, %v", got.status, len(got.body), got.err)
	}
}

func TestSerializingMode_CallerGone(t *testing.T) {
	f := serve(t, sh("sleep 98765.7 & echo begun >&2; sleep 98765.7"), "mode=serializing")
	ctx, cancel := context.WithCancel(context.Background())
	answered := make(chan answer, 1)
	go func() { answered <- f.doCtx(ctx, "POST", "/", strings.NewReader("x")) }()
	f.stderr.waitFor(t, "begun")
	cancel()
	<-answered
	f.log.waitFor(t, "status=499")
	waitGone(t, "98765.7")
}
