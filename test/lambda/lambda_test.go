package lambda

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	patience   = 30 * time.Second
	invokePath = "/2015-03-31/functions/function/invocations"
)

// built are the programs, compiled once.
var built struct{ watchdog, function string }

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lambda-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built.watchdog, built.function = filepath.Join(dir, "dc-watchdog"), filepath.Join(dir, "bootstrap")
	for _, args := range [][]string{
		{"build", "-C", "../..", "-o", built.watchdog, "./cmd/dc-watchdog"},
		{"build", "-o", built.function, "./function"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go %q: %v\n%s", args, err, out)
			return 1
		}
	}
	return m.Run()
}

// watchdog is one that runs around the function.
type watchdog struct {
	t    *testing.T
	url  string
	cmd  *exec.Cmd
	log  bytes.Buffer // to be read when it has ended
	stop func()
}

// start runs the watchdog until the test ends.
func start(t *testing.T, environ ...string) *watchdog {
	t.Helper()
	port := freePort(t)
	w := &watchdog{t: t, url: "http://127.0.0.1:" + port, cmd: exec.Command(built.watchdog)}
	w.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "mode=lambda", "port=" + port, "metrics_port=0", "fprocess=" + built.function,
		"DC_FUNCTION=fn.space", "healthcheck_interval=0",
		"_LAMBDA_SERVER_PORT=1", "AWS_LAMBDA_MAX_CONCURRENCY=4", // either would change what the library does
	}, environ...)
	w.cmd.Stdout, w.cmd.Stderr = &w.log, &w.log
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.stop = sync.OnceFunc(func() {
		_ = w.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		if err := w.cmd.Wait(); err != nil {
			t.Errorf("watchdog: %v", err)
		}
		if t.Failed() {
			t.Logf("watchdog:\n%s", w.log.String())
		}
	})
	t.Cleanup(w.stop)
	w.await("/_/health")
	return w
}

// freePort is what test/freeport gives tests of the module above.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		port := strconv.Itoa(20000 + rand.IntN(12000))
		held, err := net.Listen("unix", "@dc-provider-test-port-"+port)
		if err != nil {
			continue // another test's
		}
		t.Cleanup(func() { _ = held.Close() }) // or with the process
		if ln, err := net.Listen("tcp", ":"+port); err == nil {
			ln.Close()
			return port
		}
	}
}

// await asks until the path answers 200.
func (w *watchdog) await(path string) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		res, err := http.Get(w.url + path)
		if err != nil {
			continue // it does not listen yet
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return
		}
	}
	w.t.Fatalf("%s does not answer 200", path)
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func (w *watchdog) post(path, body string, headers ...string) answer {
	w.t.Helper()
	res := w.open(path, body, headers...)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(text), err}
}

// open posts and leaves the answer's body unread.
func (w *watchdog) open(path, body string, headers ...string) *http.Response {
	w.t.Helper()
	req, err := http.NewRequest("POST", w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// fault is the error in an answer.
type fault struct {
	Message string `json:"errorMessage"`
	Type    string `json:"errorType"`
	Stack   []struct {
		Path, Label string
		Line        int
	} `json:"stackTrace"`
}

func decode[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%d %q: %v", a.status, a.body, err)
	}
	return v
}

func TestEvent(t *testing.T) {
	w := start(t)
	if a := w.post("/", `{"do":"echo","text":"ünï"}`); a.status != 200 || a.body != `{"do":"echo","text":"ünï","bytes":0}` {
		t.Errorf("%+v", a)
	}
	a := w.post(invokePath, `{"do":"context"}`, "X-Timeout: 60s", "X-Amzn-Trace-Id: Root=1-abc",
		"X-Amz-Client-Context: eyJjbGllbnQiOnsiYXBwX3RpdGxlIjoidGl0bGUifX0=")
	got := decode[map[string]string](t, a)
	left, err := time.ParseDuration(got["left"])
	if err != nil || left > 60*time.Second || left < 50*time.Second {
		t.Errorf("time left: %v, %v", left, err)
	}
	for name, want := range map[string]string{
		"requestId": a.header.Get("X-Amzn-RequestId"), "arn": "arn:aws:lambda:us-east-1:012345678912:function:fn",
		"client": "title", "trace": "Root=1-abc", "name": "fn", "version": "$LATEST",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}

func TestErrors(t *testing.T) {
	w := start(t)
	pid := w.post("/", `{"do":"pid"}`).body
	for do, want := range map[string]string{"error": "errorString", "custom error": "customError"} {
		a := w.post("/", `{"do":"`+do+`","text":"as wished"}`)
		if f := decode[fault](t, a); a.status != 500 || f.Message != "as wished" || f.Type != want {
			t.Errorf("%s: %d %+v", do, a.status, f)
		}
	}
	a := w.post(invokePath, `{"do":"error","text":"as wished"}`)
	if a.status != 200 || a.header.Get("X-Amz-Function-Error") != "Unhandled" {
		t.Errorf("%+v", a)
	}
	if after := w.post("/", `{"do":"pid"}`).body; after != pid {
		t.Errorf("process %s has become %s", pid, after)
	}
	a = w.post("/", `{"do":"panic","text":"as wished"}`)
	if f := decode[fault](t, a); a.status != 500 || f.Message != "as wished" || f.Type != "string" || len(f.Stack) == 0 ||
		!strings.Contains(a.body, `"path":"function/main.go"`) {
		t.Errorf("panic: %d %+v", a.status, f)
	}
	if after := w.post("/", `{"do":"pid"}`).body; after == pid {
		t.Error("the process that panicked still serves")
	}
	a = w.post("/", `{"do":"exit"}`)
	if f := decode[fault](t, a); a.status != 502 || f.Type != "Runtime.ExitError" || !strings.HasSuffix(f.Message, "exit status 3") {
		t.Errorf("exit: %d %+v", a.status, f)
	}
}

func TestTimeout(t *testing.T) {
	w := start(t, "exec_timeout=3s")
	pid := w.post("/", `{"do":"pid"}`).body
	a := w.post("/", `{"do":"sleep","text":"1h"}`)
	if f := decode[fault](t, a); a.status != 504 || f.Type != "Sandbox.Timedout" || !strings.HasSuffix(f.Message, "Task timed out after 3.00 seconds") {
		t.Errorf("%d %+v", a.status, f)
	}
	if after := w.post("/", `{"do":"pid"}`).body; after == pid || after == "" {
		t.Errorf("process %s has become %q", pid, after)
	}
}

func TestStreams(t *testing.T) {
	w := start(t)
	file := func(t *testing.T) (event func(do string) string, make func()) {
		path := filepath.Join(t.TempDir(), "go-on")
		event = func(do string) string { return fmt.Sprintf(`{"do":%q,"text":%q}`, do, path) }
		return event, func() {
			if err := os.WriteFile(path, nil, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("arrives as it is written", func(t *testing.T) {
		event, goOn := file(t)
		res := w.open("/", event("stream"))
		defer res.Body.Close()
		buffer := make([]byte, 100)
		if n, err := res.Body.Read(buffer); err != nil || string(buffer[:n]) != "one" {
			t.Fatalf("%q, %v", buffer[:n], err)
		}
		goOn()
		if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "two" {
			t.Errorf("%q, %v", rest, err)
		}
	})
	t.Run("breaks off", func(t *testing.T) {
		event, goOn := file(t)
		res := w.open("/", event("stream error"))
		defer res.Body.Close()
		if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		goOn()
		if rest, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("%q and a good end", rest)
		}
	})
	t.Run("breaks off and is gathered", func(t *testing.T) {
		event, goOn := file(t)
		goOn()
		a := w.post(invokePath, event("stream error"))
		if f := decode[fault](t, a); a.header.Get("X-Amz-Function-Error") != "Unhandled" || f.Message != "broken in the middle" {
			t.Errorf("%+v", a)
		}
	})
	t.Run("with status, headers and cookies", func(t *testing.T) {
		a := w.post("/", `{"do":"url"}`)
		if a.status != 201 || a.body != "made" || a.header.Get("X-From") != "function" || a.header.Get("Set-Cookie") != "a=1" {
			t.Errorf("%+v", a)
		}
	})
}

func TestPayloadLimit(t *testing.T) {
	w := start(t)
	const limit = 6<<20 + 100
	pid := w.post("/", `{"do":"pid"}`).body
	if a := w.post("/", fmt.Sprintf(`{"do":"large","bytes":%d}`, limit-2)); a.status != 200 || len(a.body) != limit {
		t.Errorf("at the limit: %d, %d bytes", a.status, len(a.body))
	}
	a := w.post("/", fmt.Sprintf(`{"do":"large","bytes":%d}`, limit-1))
	if f := decode[fault](t, a); a.status != 500 || f.Type != "Function.ResponseSizeTooLarge" {
		t.Errorf("above the limit: %d %+v", a.status, f)
	}
	// aws-lambda-go exits when its answer is refused; whoever comes next is served all the same.
	if after := w.post("/", `{"do":"pid"}`); after.status != 200 {
		t.Errorf("process %s and then %+v", pid, after)
	}
	if a := w.post("/", `{"text":"`+strings.Repeat("x", limit)+`"}`); a.status != 413 {
		t.Errorf("event above the limit: %d", a.status)
	}
}

func TestColdInit(t *testing.T) {
	w := start(t, "INIT_SLEEP=3s")
	res, err := http.Get(w.url + "/_/ready")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 503 {
		t.Errorf("ready during init: %d", res.StatusCode)
	}
	if a := w.post("/", `{"text":"early"}`); a.status != 200 {
		t.Errorf("%+v", a)
	}
	w.await("/_/ready")
}

func TestInitFailure(t *testing.T) {
	w := start(t, "INIT_PANIC=1")
	a := w.post("/", `{}`)
	if f := decode[fault](t, a); a.status != 502 || f.Type != "Runtime.ExitError" || !strings.HasSuffix(f.Message, "exit status 2") {
		t.Errorf("%d %+v", a.status, f)
	}
}

func TestInitLimit(t *testing.T) {
	w := start(t, "INIT_SLEEP=1h", "lambda_init_timeout=200ms")
	a := w.post("/", `{}`)
	if f := decode[fault](t, a); a.status != 502 || !strings.HasSuffix(f.Message, "Init timed out after 0.20 seconds") {
		t.Errorf("%d %+v", a.status, f)
	}
}

func TestConcurrency(t *testing.T) {
	w := start(t, "lambda_concurrency=3", "lambda_queue=0")
	var pids sync.Map
	var refused atomic.Int64
	end := filepath.Join(t.TempDir(), "end")
	event, err := json.Marshal(map[string]string{"do": "await", "text": end})
	if err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	for range 6 {
		calls.Go(func() {
			switch a := w.post("/", string(event)); a.status {
			case 200:
				pids.Store(a.body, true)
			case 429:
				refused.Add(1)
			default:
				t.Errorf("%+v", a)
			}
		})
	}
	// No call ends before all have their outcome, or time has run out.
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if begun, err := filepath.Glob(end + ".*"); err == nil && len(begun) == 3 && refused.Load() == 3 {
			break
		}
	}
	if err := os.WriteFile(end, nil, 0o666); err != nil {
		t.Error(err)
	}
	calls.Wait()
	if n, m := count(&pids), refused.Load(); n != 3 || m != 3 {
		t.Errorf("%d processes served and %d calls were refused", n, m)
	}
}

func count(m *sync.Map) (n int) {
	m.Range(func(any, any) bool { n++; return true })
	return n
}

func TestFunctionURL(t *testing.T) {
	w := start(t, "FUNCTION_URL=1", "lambda_event=function-url")
	a := w.post("/a/b?q=1&q=2", "body", "X-A: b", "Cookie: c=d", "User-Agent: me", "Content-Type: text/plain")
	if a.status != 202 || a.body != "POST /a/b 1,2 b body" || a.header.Get("X-Agent") != "me" || a.header.Get("Set-Cookie") != "c=d" ||
		a.header.Get("Content-Type") != "text/plain" {
		t.Errorf("%+v", a)
	}
}

func TestSIGTERM(t *testing.T) {
	file := filepath.Join(t.TempDir(), "told")
	w := start(t, "SIGTERM_FILE="+file)
	w.await("/_/ready")
	w.stop()
	if text, err := os.ReadFile(file); err != nil || string(text) != "told" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestSoak counts what the watchdog holds before and after many invocations, some of which end their process.
func TestSoak(t *testing.T) {
	w := start(t, "lambda_concurrency=2")
	w.await("/_/ready")
	round := func(n int) {
		var callers sync.WaitGroup
		for c := range 4 {
			callers.Go(func() {
				for i := range n {
					if i%50 == 49 {
						w.post("/", `{"do":"exit"}`)
						continue
					}
					text := fmt.Sprintf("%d-%d", c, i)
					if a := w.post("/", `{"text":"`+text+`"}`); a.status != 200 || !strings.Contains(a.body, text) {
						t.Errorf("%+v", a)
						return
					}
				}
			})
		}
		callers.Wait()
		http.DefaultClient.CloseIdleConnections()
		w.await("/_/ready")
		http.DefaultClient.CloseIdleConnections()
	}
	round(100)
	descriptors, memory := w.holds(t)
	round(1000)
	const slack = 4 // each process may have a connection more, or less
	var after, kilobytes int
	var children []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		after, kilobytes = w.holds(t)
		if children = w.children(t); after <= descriptors+slack && len(children) == 2 {
			break // the last connections are closed, and the processes that ended last have their successors
		}
	}
	if after > descriptors+slack || kilobytes > memory+8<<10 {
		t.Errorf("%d descriptors and %d KiB have become %d and %d", descriptors, memory, after, kilobytes)
	}
	if len(children) != 2 {
		t.Errorf("children %v", children)
	}
	t.Logf("%d descriptors and %d KiB before, %d and %d after 4000 invocations", descriptors, memory, after, kilobytes)
}

// holds counts the watchdog's descriptors, and its resident memory in KiB.
func (w *watchdog) holds(t *testing.T) (descriptors, kilobytes int) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", w.cmd.Process.Pid)
	entries, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	_, rss, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(rss, &kilobytes); err != nil {
		t.Fatal(err)
	}
	return len(entries), kilobytes
}

// children are the watchdog's child processes, zombies included.
func (w *watchdog) children(t *testing.T) []string {
	t.Helper()
	var all []string
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", w.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) { // a thread may have ended
			t.Fatal(err)
		}
		all = append(all, strings.Fields(string(text))...)
	}
	return all
}
