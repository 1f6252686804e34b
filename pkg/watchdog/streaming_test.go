package watchdog

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var long = flag.Bool("long", false, "stream bodies of 1 GiB, not of 128 MiB")

func TestStreamingMode(t *testing.T) {
	checkRules(t, []string{"mode=streaming"}, append(forkedRules, []rule{
		{name: "no duration, for its headers go first", environ: []string{"fprocess=cat"}, body: "x", status: 200, want: "x",
			wantHeader: map[string]string{"X-Duration-Seconds": "", "Content-Length": "", "Trailer": ""}},
		{name: "no output", environ: []string{"fprocess=true"}, status: 200, wantHeader: map[string]string{"Content-Length": "0"}},
		{name: "no output to one that takes trailers", environ: []string{"fprocess=true"}, header: []string{"TE: trailers"}, status: 200,
			wantHeader: map[string]string{"Content-Length": "0", "Trailer": ""}},
		{name: "exit status without output", environ: []string{sh("exit 3")}, status: 500, want: "exit status 3\n", wantLog: "status=500"},
		{name: "killed by a signal without output", environ: []string{sh("kill -9 $$")}, status: 500, want: "signal: killed\n"},
		{name: "exit status after output", environ: []string{sh("echo out; exit 3")}, status: 200, want: "out\n", cut: true, wantLog: "status=500"},
		{name: "exec_timeout without output", environ: []string{"fprocess=sleep 100", "exec_timeout=50ms"}, status: 504,
			want: "the function ran out of time\n", wantLog: "status=504"},
		{name: "exec_timeout after output", environ: []string{sh("echo out; sleep 100"), "exec_timeout=300ms"}, status: 200, want: "out\n", cut: true,
			wantLog: "status=504"},
		{name: "exec_timeout with stdout held by a grandchild", environ: []string{sh("sleep 100 & sleep 100"), "exec_timeout=50ms"}, status: 504,
			want: "the function ran out of time\n"},
		{name: "exec_timeout with stdout held by one that escaped", environ: []string{sh("setsid sleep 98765.5 & sleep 100"), "exec_timeout=50ms"},
			status: 504, want: "the function ran out of time\n"},
		{name: "exec_timeout with stdout closed", environ: []string{sh("exec >&-; sleep 100"), "exec_timeout=50ms"}, status: 504,
			want: "the function ran out of time\n"},
		{name: "exec_timeout with stdin not read", environ: []string{"fprocess=sleep 100", "exec_timeout=50ms"}, body: strings.Repeat("x", 128<<10),
			status: 504, want: "the function ran out of time\n"},
		{name: "write_timeout is answered in time", environ: []string{"fprocess=sleep 100", "write_timeout=50ms"}, status: 504,
			want: "the function ran out of time\n"},
		{name: "X-Timeout lowers", environ: []string{"fprocess=sleep 100"}, header: []string{"X-Timeout: 50ms"}, status: 504,
			want: "the function ran out of time\n"},
		{name: "X-Timeout without exec_timeout", environ: []string{"fprocess=sleep 100", "exec_timeout=0"}, header: []string{"X-Timeout: 50ms"},
			status: 504, want: "the function ran out of time\n"},
		{name: "combine_output", environ: []string{sh("echo err >&2"), "combine_output=true"}, status: 200, want: "err\n"},
	}...))
}

// uploading is a body that goes on to come until it is closed.
func uploading(t *testing.T) (body *io.PipeReader, more *io.PipeWriter) {
	body, more = io.Pipe()
	t.Cleanup(func() { more.Close() })
	return body, more
}

// Each line of either side waits for the other's: whoever held one back would stop both.
func TestStreamingMode_BothWaysAtOnce(t *testing.T) {
	f := serve(t, "fprocess=cat", "mode=streaming")
	body, more := uploading(t)
	go io.WriteString(more, "0\n")
	res, err := client.Post(f.url, "", body)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for _, line := range []string{"0\n", "1\n", "2\n"} {
		if got, err := lines.ReadString('\n'); got != line || err != nil {
			t.Fatalf("%q, %v, want %q", got, err, line)
		}
		if line < "2" {
			io.WriteString(more, string(line[0]+1)+"\n")
		}
	}
	more.Close()
	if rest, err := io.ReadAll(lines); len(rest) != 0 || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

// The answer is whole when the process is, whatever is still being sent.
func TestStreamingMode_AnswerDoesNotWaitForTheUpload(t *testing.T) {
	for name, script := range map[string]string{
		"reads some":     "head -c 5",
		"reads nothing":  "printf first",
		"closes stdin":   "exec <&-; printf first",
		"writes nothing": "true",
	} {
		t.Run(name, func(t *testing.T) {
			f := serve(t, sh(script), "mode=streaming")
			conn := f.raw("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			want := "first"
			if name == "writes nothing" {
				want = ""
			}
			if got, err := io.ReadAll(res.Body); string(got) != want || err != nil || res.StatusCode != 200 {
				t.Errorf("%d %q, %v", res.StatusCode, got, err)
			}
			if !res.Close {
				t.Error("the connection is not closed behind an answer that overtook its request")
			}
		})
	}
}

// What is left of a body that the process did not read is never the next request.
func TestStreamingMode_RestOfTheBodyIsNoRequest(t *testing.T) {
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	f := serve(t, sh(`echo "$Http_Path" >&2; printf x`), "mode=streaming")
	conn := f.raw("POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
	lines := bufio.NewReader(conn)
	res, err := http.ReadResponse(lines, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, strings.Repeat(smuggled, 10)) // fails if the connection is closed by now
	if got, err := io.ReadAll(res.Body); string(got) != "x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if rest, _ := io.ReadAll(lines); len(rest) != 0 {
		t.Errorf("answered again: %q", rest)
	}
	f.stop()
	if strings.Contains(f.stderr.String(), "smuggled") {
		t.Error("the rest of a body became a request")
	}
}

func TestStreamingMode_ConnectionIsKept(t *testing.T) {
	f := serve(t, "fprocess=cat", "mode=streaming")
	conn := f.raw("")
	lines := bufio.NewReader(conn)
	for _, body := range []string{"one", "two", "three"} {
		// The body comes after its headers as a rule, and the process does nothing before it.
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: "+string(rune('0'+len(body)))+"\r\n\r\n"+body); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(lines, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(res.Body); string(got) != body || err != nil || res.Close {
			t.Errorf("%q, %v, %v", got, err, res.Header)
		}
	}
}

func TestStreamingMode_Trailers(t *testing.T) {
	for _, r := range []struct{ name, script, limit, code, reason string }{
		{"good end", "echo out", "0", "0", ""},
		{"exit status", "echo out; exit 3", "0", "3", "exit status 3"},
		{"signal", "echo out; kill -9 $$", "0", "137", "signal: killed"},
		{"out of time", "echo out; sleep 100", "2s", "137", "the function ran out of time"},
	} {
		t.Run(r.name, func(t *testing.T) {
			f := serve(t, sh(r.script), "mode=streaming", "exec_timeout="+r.limit, "healthcheck_interval=0")
			conn := f.raw("GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if string(body) != "out\n" || err != nil {
				t.Errorf("%q, %v", body, err)
			}
			if code, reason := res.Trailer.Get("X-Exit-Code"), res.Trailer.Get("X-Dcw-Reason"); code != r.code || reason != r.reason {
				t.Errorf("X-Exit-Code %q, X-Dcw-Reason %q", code, reason)
			}
		})
	}
}

// An answer without chunks ends when its connection does. A bad end is none.
func TestStreamingMode_HTTP10(t *testing.T) {
	for script, good := range map[string]bool{"echo out": true, "echo out; exit 1": false} {
		f := serve(t, sh(script), "mode=streaming")
		conn := f.raw("GET / HTTP/1.0\r\n\r\n")
		text, err := io.ReadAll(conn)
		if good != (err == nil) || good && !strings.HasSuffix(string(text), "\r\n\r\nout\n") || !good && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %q, %v", script, text, err)
		}
	}
}

// A caller that goes away takes its invocation with it, wherever that is.
func TestStreamingMode_CallerGone(t *testing.T) {
	for name, r := range map[string]struct{ script, request string }{
		"no body":   {"echo begun >&2; sleep 98765.8", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		"body read": {"cat; echo begun >&2; sleep 98765.8", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"},
		// More than two copies, and little enough for the end of the connection to fit into the socket behind it.
		"body not read":    {"echo begun >&2; sleep 98765.8", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n" + strings.Repeat("x", 140000)},
		"stdin closed":     {"exec <&-; echo begun >&2; sleep 98765.8", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n" + strings.Repeat("x", 200000)},
		"body on its way":  {"echo begun >&2; cat; sleep 98765.8", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx"},
		"with descendants": {"sleep 98765.8 & set -m; (sleep 98765.8 &) ; echo begun >&2; wait", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		"while writing":    {"echo begun >&2; while echo 98765.8; do :; done", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			f := serve(t, sh(r.script), "mode=streaming", "DC_DIALECT=native")
			conn := f.raw("")
			go io.WriteString(conn, r.request) // may wait for its reader
			f.stderr.waitFor(t, "begun")
			conn.Close()
			f.waitNothingInFlight()
			waitGone(t, "98765.8")
			if err := f.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A body that breaks off is never taken for a whole one.
func TestStreamingMode_BodyBrokenOff(t *testing.T) {
	for name, request := range map[string]string{
		"cut short": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
		"bad chunk": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nno chunk\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := serve(t, sh("read line; echo whole >&2"), "mode=streaming")
			for range 20 {
				conn := f.raw(request)
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if text, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 400 ") {
					t.Errorf("%q, %v", text, err)
				}
			}
			f.stop()
			if strings.Contains(f.stderr.String(), "whole") {
				t.Error("the process saw the end of a body that had none")
			}
		})
	}
}

func TestStreamingMode_SlowBodyAndReadTimeout(t *testing.T) {
	f := serve(t, "fprocess=cat", "mode=streaming", "read_timeout=200ms")
	conn := f.raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	if text, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 400 ") {
		t.Errorf("%q, %v", text, err)
	}
}

// A caller that does not read costs a pipe and a socket, and its time ends like any other's.
func TestStreamingMode_CallerThatDoesNotRead(t *testing.T) {
	f := serve(t, sh("echo begun >&2; exec yes"), "mode=streaming", "exec_timeout=2s", "healthcheck_interval=0")
	f.neverRead("/")
	f.stderr.waitFor(t, "begun")
	f.waitNothingInFlight()
}

func TestStreamingMode_ReadyPathFailsWithTheFunction(t *testing.T) {
	f := serve(t, sh(`[ "$Http_Path" != /ready ]`), "mode=streaming", "ready_path=/ready")
	if got := f.do("GET", "/_/ready", ""); got.status != 503 {
		t.Errorf("%+v", got)
	}
}

// What failed after its first byte counts as failed.
func TestStreamingMode_LateFailureIsCounted(t *testing.T) {
	f := serve(t, sh("echo out; exit 1"), "mode=streaming")
	if got := f.do("GET", "/", ""); got.err == nil {
		t.Errorf("%+v", got)
	}
	f.stop()
	if page := scrape(t, serveScrapes(t, f)); !strings.Contains(page, `http_requests_total{code="500",method="get"} 1`) {
		t.Error(family(page, "http_requests_total"))
	}
}

// pattern is a body of any length that costs no memory.
type pattern struct {
	left int64
	sum  hash.Hash
	tick func()
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), p.left))
	for i := 0; i < n; i += copy(b[i:n], block) {
	}
	p.left -= int64(n)
	p.sum.Write(b[:n])
	p.tick()
	return n, nil
}

var block = bytes.Repeat([]byte("0123456789abcde\n"), 4096)

// Bodies of any length pass both ways in the same memory.
func TestStreamingMode_LongBodies(t *testing.T) {
	longBodies(t, serve(t, "fprocess=cat", "mode=streaming", "exec_timeout=0"), "/", "")
}

// longBodies sends a body through f to a path that gives it back, behind some words, and watches the memory of this process meanwhile.
func longBodies(t *testing.T, f *fixture, path, words string) {
	size := int64(128 << 20)
	if *long {
		size = 1 << 30
	}
	f.do("POST", path, "warm") // what is allocated once is
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var most atomic.Uint64
	reads := 0
	body := &pattern{left: size, sum: sha256.New(), tick: func() {
		if reads++; reads%200 == 0 {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			most.Store(max(most.Load(), now.HeapInuse+now.StackInuse))
		}
	}}
	req, err := http.NewRequestWithContext(context.Background(), "POST", f.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = size
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.CopyN(io.Discard, res.Body, int64(len(words))); err != nil {
		t.Fatal(err)
	}
	got := sha256.New()
	n, err := io.Copy(got, res.Body)
	if n != size || err != nil || !bytes.Equal(got.Sum(nil), body.sum.Sum(nil)) {
		t.Errorf("%d of %d bytes, %v", n, size, err)
	}
	if grown := int64(most.Load()) - int64(before.HeapInuse+before.StackInuse); grown > 16<<20 || most.Load() == 0 {
		t.Errorf("memory grew by %d KiB", grown>>10)
	} else {
		t.Logf("memory grew by %d KiB at most while %d MiB passed", grown>>10, size>>20)
	}
}

// Callers that read nothing of an answer without end, and callers whose body stands still, cost their buffers and no more.
func TestSlowCallers_Memory(t *testing.T) {
	const callers, most = 40, 512 << 10 // bytes for each
	stall := "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + strings.Repeat("x", 0x20000) + "\r\n5\r\nx"
	for name, r := range map[string]struct {
		serve   func(t *testing.T) *fixture
		request string
	}{
		"streaming, read nothing": {func(t *testing.T) *fixture { return serve(t, "fprocess=yes", "mode=streaming", "exec_timeout=0") },
			"GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		"streaming, stall":   {func(t *testing.T) *fixture { return serve(t, "fprocess=wc", "mode=streaming", "exec_timeout=0") }, fmt.Sprintf(stall, "/")},
		"http, read nothing": {func(t *testing.T) *fixture { return serveHTTP(t, nil) }, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"},
		"http, stall":        {func(t *testing.T) *fixture { return serveHTTP(t, nil) }, fmt.Sprintf(stall, "/slow?for=1s")},
	} {
		t.Run(name, func(t *testing.T) {
			f := r.serve(t)
			runtime.GC()
			runtime.GC() // the pools of what ran before give up what they hold at the second
			before := live()
			for range callers {
				f.raw(r.request)
			}
			for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				if n, _ := f.inFlight.counts(); n == callers {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the requests do not come")
				}
			}
			var grown int64
			for range 20 { // what is held grows until everybody waits
				time.Sleep(10 * time.Millisecond)
				runtime.GC()
				grown = max(grown, live()-before)
			}
			t.Logf("%d KiB for each caller", grown/callers>>10)
			if grown > callers*most {
				t.Errorf("memory grew by %d KiB for %d callers", grown>>10, callers)
			}
			f.drainLimit = 10 * time.Millisecond
		})
	}
}

// live is what of its heap and its stacks this process used at the last collection, and since.
func live() int64 {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return int64(mem.HeapAlloc + mem.StackInuse)
}

// A body that nobody reads is thrown away, so that its caller comes to the end of it and can read the answer.
func TestStreamingMode_LongBodyNotRead(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	if err := mkfifo(gate); err != nil {
		t.Fatal(err)
	}
	f := serve(t, sh("exec <&-; cat "+gate), "mode=streaming", "exec_timeout=0")
	body := &pattern{left: 64 << 20, sum: sha256.New()}
	body.tick = func() {
		if body.left == 0 {
			go os.WriteFile(gate, []byte("done"), 0)
		}
	}
	if got := f.doCtx(context.Background(), "POST", "/", body); got.status != 200 || got.body != "done" {
		t.Errorf("%+v", got)
	}
}

func BenchmarkStreamingMode(b *testing.B) {
	for name, size := range map[string]int64{"1B": 1, "16MiB": 16 << 20} {
		b.Run("cat/"+name, func(b *testing.B) {
			f := serve(b, "fprocess=cat", "mode=streaming", "DC_DIALECT=native")
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				res, err := client.Post(f.url, "", io.LimitReader(zeros{}, size))
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
					b.Fatal(n, err)
				}
				res.Body.Close()
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
