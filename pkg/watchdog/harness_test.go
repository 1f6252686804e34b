package watchdog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen. It is never waited out in a passing test.
const patience = 20 * time.Second

// TestMain lets this test binary be the function: with "program=NAME" as its first argument it runs that program instead.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if name, found := strings.CutPrefix(os.Args[1], "program="); found {
			programs[name](os.Args[2:])
			return
		}
	}
	os.Exit(m.Run())
}

// self is the command that runs one of the programs of this test binary.
func self(t testing.TB, name string, args ...string) string {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return argv(append([]string{exe, "program=" + name}, args...)...)
}

// argv is the variable that sets a command of any shape; sh that for a shell script.
func argv(args ...string) string {
	data, err := json.Marshal(args)
	if err != nil {
		panic(err)
	}
	return "DC_COMMAND=" + string(data)
}

func sh(script string) string { return argv("sh", "-c", script) }

// logBuffer keeps what was logged and wakes who waits for some of it.
type logBuffer struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newLogBuffer() *logBuffer { return &logBuffer{changed: make(chan struct{})} }

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Write(p)
	close(b.changed)
	b.changed = make(chan struct{})
	return len(p), nil
}

func (b *logBuffer) now() (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String(), b.changed
}

func (b *logBuffer) String() string {
	text, _ := b.now()
	return text
}

func (b *logBuffer) waitFor(t testing.TB, part string) {
	t.Helper()
	timeout := time.After(patience)
	for {
		text, changed := b.now()
		if strings.Contains(text, part) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("log has no %q:\n%s", part, text)
		}
	}
}

// fixture is a watchdog that serves on a free port, with what it has logged.
type fixture struct {
	*Watchdog
	t      testing.TB
	url    string
	log    *logBuffer // its own lines
	stdout *logBuffer
	stderr *logBuffer
	end    context.CancelFunc
	ended  chan struct{}
	err    error // what Serve returned; read it when ended is closed
}

// serve starts a watchdog with an environment, and shuts it down when the test ends. A test that ends with more goroutines or
// descriptors than it began with fails.
func serve(t testing.TB, environ ...string) *fixture {
	t.Helper()
	checkLeaks(t)
	f := prepare(t, environ...)
	f.start()
	return f
}

func prepare(t testing.TB, environ ...string) *fixture {
	t.Helper()
	// The default interval would be a second of waiting at the end of each test.
	environ = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "healthcheck_interval=50ms", ourMark}, environ...)
	cfg, err := ParseEnv(environ)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, log: newLogBuffer(), stdout: newLogBuffer(), stderr: newLogBuffer(), ended: make(chan struct{})}
	out, errs := NewSink(f.stdout), NewSink(f.stderr)
	t.Cleanup(out.Close)
	t.Cleanup(errs.Close)
	log := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.Watchdog, err = New(cfg, log, out, errs)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) start() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	f.url = "http://" + ln.Addr().String()
	f.serves(func(ctx context.Context) error { return f.Serve(ctx, ln) })
}

// serves has the watchdog serve until the test ends.
func (f *fixture) serves(run func(context.Context) error) {
	var ctx context.Context
	ctx, f.end = context.WithCancel(context.Background())
	go func() {
		defer close(f.ended)
		f.err = run(ctx)
	}()
	f.t.Cleanup(func() { f.stop() })
}

// stop shuts the watchdog down and returns what Serve returned.
func (f *fixture) stop() error {
	f.t.Helper()
	f.end()
	return f.wait()
}

func (f *fixture) wait() error {
	f.t.Helper()
	select {
	case <-f.ended:
	case <-time.After(patience):
		buf := make([]byte, 1<<20)
		f.t.Fatalf("watchdog does not end\n%s\n%s", f.log, buf[:runtime.Stack(buf, true)])
	}
	return f.err
}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // of the request, or of reading the body
}

// client makes a connection for each request, so that none stays behind a test.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (f *fixture) do(method, path, body string, header ...string) answer {
	f.t.Helper()
	return f.doCtx(context.Background(), method, path, strings.NewReader(body), header...)
}

func (f *fixture) doCtx(ctx context.Context, method, path string, body io.Reader, header ...string) answer {
	f.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, f.url+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answer{status: res.StatusCode, header: res.Header, body: string(text), err: err}
}

// raw sends text as it is and returns the connection.
func (f *fixture) raw(text string) net.Conn {
	f.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		f.t.Fatal(err)
	}
	return conn
}

// neverRead asks for path and reads nothing of the answer.
func (f *fixture) neverRead(path string) {
	f.t.Helper()
	conn := f.raw("")
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		f.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		f.t.Fatal(err)
	}
}

// waitNothingInFlight waits until nothing is in flight, if anything is still.
func (f *fixture) waitNothingInFlight() {
	f.t.Helper()
	idle, _ := f.inFlight.empty()
	select {
	case <-idle:
	case <-time.After(patience):
		f.t.Fatalf("still in flight\n%s", f.log)
	}
}

// waitInFlight waits until so many invocations are in flight.
func (f *fixture) waitInFlight(want int) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		n, _ := f.inFlight.counts()
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%d in flight, want %d\n%s", n, want, f.log)
		}
	}
}

// waitReady waits until /_/ready answers 200.
func (f *fixture) waitReady() {
	f.t.Helper()
	timeout := time.After(patience)
	for {
		now, change := f.mode.serving()
		if now && f.do("GET", "/_/ready", "").status == http.StatusOK {
			return
		}
		select {
		case <-change:
		case <-f.ended:
			f.t.Fatalf("watchdog ended: %v\n%s", f.err, f.log)
		case <-timeout:
			f.t.Fatalf("not ready\n%s", f.log)
		}
	}
}

// checkLeaks fails the test if, after its other cleanups, it leaves goroutines or descriptors behind.
func checkLeaks(t testing.TB) {
	t.Helper()
	goroutines, descriptors := runtime.NumGoroutine(), countDescriptors(t)
	t.Cleanup(func() {
		// A goroutine that has done its last deed may not be gone yet.
		var g, d int
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if g, d = runtime.NumGoroutine(), countDescriptors(t); g <= goroutines && d <= descriptors {
				return
			}
		}
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines and %d descriptors, before the test %d and %d\n%s", g, d, goroutines, descriptors,
			buf[:runtime.Stack(buf, true)])
	})
}

func countDescriptors(t testing.TB) int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, n := range names {
		// Those of the runtime's poller are made once, whenever it is first needed.
		if to, err := os.Readlink("/proc/self/fd/" + n.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:") {
			count++
		}
	}
	return count
}

// ourMark is in the environment of what this test binary's watchdogs start: others that test beside it start the like.
var ourMark = fmt.Sprint("TESTED_BY=", os.Getpid())

// marked lists the processes that have marker in their command line, zombies not included, and were started by this test binary.
func marked(t testing.TB, marker string) (pids []int) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		line, err := os.ReadFile("/proc/" + d.Name() + "/cmdline")
		pid, noPID := strconv.Atoi(d.Name())
		if err != nil || noPID != nil || !bytes.Contains(line, []byte(marker)) {
			continue
		}
		// One that cannot be asked, such as a program that has become root, counts.
		environ, err := os.ReadFile("/proc/" + d.Name() + "/environ")
		if err != nil && !errors.Is(err, os.ErrPermission) || err == nil && !bytes.Contains(append(environ, 0), []byte(ourMark+"\x00")) {
			continue
		}
		pids = append(pids, pid)
	}
	return pids
}

func killMarked(t testing.TB, marker string) {
	for _, pid := range marked(t, marker) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// waitGone waits until no process has marker in its command line: a killed one takes a moment to go.
func waitGone(t testing.TB, marker string) {
	t.Helper()
	for deadline := time.Now().Add(patience); len(marked(t, marker)) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d processes with %q left", len(marked(t, marker)), marker)
		}
	}
}
