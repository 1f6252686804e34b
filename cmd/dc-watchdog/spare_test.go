package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const (
	testPod    = "pool-fn-1"
	testUID    = "uid-of-the-pod"
	testRecord = "uid-of-the-record"
)

var readyToken = readypush.DeriveToken([]byte("ready-key"), "hello.fn", testRecord)

// pod is a pod of the warm pool: what outlives the container in it.
type pod struct {
	t                        testing.TB
	key                      *assignment.ProviderKey
	port                     string
	dir, secrets, token, own string // own is there in the image of spares alone
	environ                  []string
}

func newPod(t testing.TB) *pod {
	t.Helper()
	key, err := assignment.DeriveProviderKey([]byte("ready-key"))
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{t: t, key: key, port: freePort(t), dir: t.TempDir(), secrets: t.TempDir()}
	p.token = filepath.Join(t.TempDir(), "token")
	p.own = filepath.Join(t.TempDir(), "dc-watchdog")
	p.write(p.token, "the-service-account-token\n")
	p.write(p.own, "")
	p.environ = []string{
		"DC_POD=" + testPod, "DC_POD_UID=" + testUID, "DC_SPARE_KEY=" + key.Public(), "DC_SPARE_PORT=" + p.port, "port=" + p.port,
		"DC_SPARE_DIR=" + p.dir, "DC_SPARE_SECRETS_DIR=" + p.secrets, "DC_SPARE_TOKEN_FILE=" + p.token, "DC_SPARE_MARK=" + p.own,
		"metrics_port=0", "healthcheck_interval=0",
	}
	return p
}

func (p *pod) write(path, text string) {
	p.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// spare starts the container in the image of spares.
func (p *pod) spare(environ ...string) *running {
	p.t.Helper()
	return launch(p.t, nil, []string{"spare"}, p.port, "msg=spare address", append(slices.Clone(p.environ), environ...)...)
}

// function starts it in the image of a function, which sets environ, until the log says so.
func (p *pod) function(until string, environ ...string) *running {
	p.t.Helper()
	if err := os.Remove(p.own); err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	return launch(p.t, nil, []string{"spare"}, p.port, until, append(slices.Clone(p.environ), environ...)...)
}

// ask is what the provider asks a spare.
func (p *pod) ask(w *running) (s assignment.Spare, token string) {
	p.t.Helper()
	challenge := readypush.NewChallenge()
	status, body := p.request(w, "GET", nil, challenge)
	if status != 200 {
		p.t.Fatalf("%d %s", status, body)
	}
	s, token, err := p.key.OpenIdentity(challenge, netip.MustParseAddr("127.0.0.1"), body)
	if err != nil {
		p.t.Fatal(err)
	}
	return s, token
}

func (p *pod) request(w *running, method string, body []byte, challenge string) (int, []byte) {
	p.t.Helper()
	req, err := http.NewRequest(method, w.url+assignment.Path, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if challenge != "" {
		req.Header.Set(readypush.ChallengeHeader, challenge)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, text
}

func (p *pod) seal(s assignment.Spare, a assignment.Assignment) []byte {
	p.t.Helper()
	sealed, err := p.key.Seal(s, a)
	if err != nil {
		p.t.Fatal(err)
	}
	return sealed
}

// assign asks the spare and assigns a.
func (p *pod) assign(w *running, a assignment.Assignment) {
	p.t.Helper()
	s, _ := p.ask(w)
	if status, body := p.request(w, "POST", p.seal(s, a), ""); status != 204 {
		p.t.Fatalf("%d %s", status, body)
	}
}

func (p *pod) get(w *running, path string) int {
	p.t.Helper()
	res, err := http.Get(w.url + path)
	if err != nil {
		p.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func (p *pod) files(dir string) []string {
	p.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// hello is a function that shows its environment.
func hello(env ...string) assignment.Assignment {
	a := assignment.Assignment{Function: "hello.fn", Record: testRecord, Env: map[string]string{"fprocess": "env", "DC_FUNCTION": "hello.fn"}}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		a.Env[name] = value
	}
	return a
}

// cloud is the provider's side: it hears calls and ready pushes.
type cloud struct {
	*httptest.Server
	calls  atomic.Int64
	ready  chan string // the pod that pushed
	refuse atomic.Int64
}

func newCloud(t testing.TB) *cloud {
	c := &cloud{ready: make(chan string, 10)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.URL.Path == "/dc/ready" {
			m, err := readypush.Parse(body)
			if err != nil || !m.Verify(readyToken) {
				t.Errorf("ready push %s: %v", body, err)
			}
			w.WriteHeader(http.StatusNoContent)
			c.ready <- m.Pod
			return
		}
		call, err := assignment.ParseCall(body)
		if err != nil || call.Pod != testPod || r.URL.Path != assignment.CallPath || r.Method != "POST" {
			t.Errorf("call %s %s %s: %v", r.Method, r.URL, body, err)
		}
		if c.calls.Add(1) <= c.refuse.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(c.Close)
	return c
}

func within(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestSpare_BecomesAReplica(t *testing.T) {
	p, c := newPod(t), newCloud(t)
	w := p.spare("DC_SPARE_URL=" + c.URL + assignment.CallPath)
	within(t, "the spare does not call", func() bool { return c.calls.Load() == 1 })
	// Nobody is sent to a free spare, and a probe that fails is an event every few seconds.
	if health, ready := p.get(w, "/_/health"), p.get(w, "/_/ready"); health != 200 || ready != 200 {
		t.Errorf("a spare's health is %d and its readiness %d", health, ready)
	}
	if status := p.get(w, "/"); status != 503 {
		t.Errorf("a call was answered %d", status)
	}
	s, token := p.ask(w)
	if s.Pod != testPod || s.UID != testUID || s.Function != "" || token != "the-service-account-token" {
		t.Errorf("%+v, token %q", s, token)
	}

	bin := t.TempDir()
	program := filepath.Join(bin, "only-in-the-functions-path")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nenv\ncat \"$SECRETS/api-key\"\npwd\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	a := hello("fprocess=only-in-the-functions-path", "PATH="+bin+":"+os.Getenv("PATH"), "SECRETS="+p.secrets, "who=the function", "dollar=$(HOME) $$",
		"DC_READY_URL="+c.URL+"/dc/ready", "DC_READY_TOKEN="+readyToken.Hex())
	a.Secrets = map[string][]byte{"api-key": []byte("hunter2"), "empty": nil}
	p.assign(w, a)
	if s, _ := p.ask(w); s.Function != "hello.fn" {
		t.Errorf("%+v tells nothing of its assignment", s)
	}
	if status, _ := p.request(w, "POST", p.seal(s, hello()), ""); status != 409 {
		t.Errorf("a second assignment was answered %d", status)
	}
	if health, ready := p.get(w, "/_/health"), p.get(w, "/_/ready"); health != 200 || ready != 503 {
		t.Errorf("health is %d and readiness %d after the assignment", health, ready)
	}
	syscall.Kill(w.pid, syscall.SIGTERM)
	if code := w.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}

	image := t.TempDir() // the working directory that the image sets
	f := p.function("msg=serving", "who=the image", "of_the_image=yes", "PWD="+image)
	if from := <-c.ready; from != testPod {
		t.Errorf("%s is ready", from)
	}
	status, body := f.post("")
	for _, line := range []string{"who=the function", "of_the_image=yes", "dollar=$(HOME) $$", "hunter2"} {
		if !strings.Contains("\n"+body, "\n"+line) {
			t.Errorf("no %q in %d %s", line, status, body)
		}
	}
	if strings.Contains(body, "DC_") || strings.Contains(body, readyToken.Hex()) {
		t.Errorf("the function sees what is the provider's: %s", body)
	}
	if files := p.files(p.dir); !slices.Equal(files, []string{"assignment"}) {
		t.Errorf("the function finds %v", files)
	}
	if text, err := os.ReadFile(filepath.Join(p.dir, "assignment")); err != nil || bytes.Contains(text, []byte(readyToken.Hex())) {
		t.Errorf("the function finds its token: %v", err)
	}
	if files := p.files(p.secrets); !slices.Equal(files, []string{"api-key", "empty"}) {
		t.Errorf("secrets %v", files)
	}
	if info, err := os.Stat(filepath.Join(p.secrets, "api-key")); err != nil || info.Mode() != 0o444 {
		t.Errorf("%v, %v", info.Mode(), err)
	}

	// The container is killed, as when its memory is used up, and starts again.
	syscall.Kill(f.pid, syscall.SIGKILL)
	f.wait()
	p.write(filepath.Join(p.dir, "..new-123"), "half")
	again := p.function("msg=serving")
	if status, body := again.post(""); status != 200 || !strings.Contains(body, "who=the function") || !strings.Contains(body, "hunter2") {
		t.Errorf("%d %s", status, body)
	}
	if p.get(again, "/_/ready") != 200 {
		t.Error("not ready after it was started again")
	}
	syscall.Kill(again.pid, syscall.SIGTERM)
	if code := again.wait(); code != 0 {
		t.Errorf("exit code %d\n%s", code, again.log)
	}
	select {
	case <-c.ready:
		t.Error("a token that was taken away was used again")
	default:
	}
}

// The limit of the pod's memory follows the claim by a moment; what is told of it is the function's from the start.
func TestClaim_MemoryOfTheFunction(t *testing.T) {
	p := newPod(t)
	seen := filepath.Join(t.TempDir(), "seen")
	a := hello("mode=lambda", `DC_COMMAND=["sh","-c","echo $AWS_LAMBDA_FUNCTION_MEMORY_SIZE >`+seen+`; exec sleep 1000","handler"]`)
	a.MemoryLimitBytes = 77 << 20
	w := p.spare()
	p.assign(w, a)
	syscall.Kill(w.pid, syscall.SIGTERM)
	w.wait()
	f := p.function("msg=serving")
	within(t, "the function does not see 77 MB", func() bool {
		text, err := os.ReadFile(seen)
		return err == nil && string(text) == "77\n"
	})
	syscall.Kill(f.pid, syscall.SIGTERM)
	f.wait()
}

func TestSpare_CallsUntilItIsHeard(t *testing.T) {
	p, c := newPod(t), newCloud(t)
	c.refuse.Store(3)
	p.spare("DC_SPARE_URL=" + c.URL + assignment.CallPath)
	within(t, "the spare gives up", func() bool { return c.calls.Load() == 4 })
}

func TestSpare_OneOfManyAssignments(t *testing.T) {
	p := newPod(t)
	w := p.spare()
	s, _ := p.ask(w)
	var kept atomic.Int64
	var posts sync.WaitGroup
	for i := range 20 {
		sealed := p.seal(s, hello(fmt.Sprint("number=", i)))
		posts.Go(func() {
			switch status, body := p.request(w, "POST", sealed, ""); status {
			case 204:
				if !kept.CompareAndSwap(0, int64(i+1)) {
					t.Error("two were kept")
				}
			case 409:
			default:
				t.Errorf("%d %s", status, body)
			}
		})
	}
	posts.Wait()
	if kept.Load() == 0 {
		t.Fatal("none was kept")
	}
	syscall.Kill(w.pid, syscall.SIGTERM)
	w.wait()
	f := p.function("msg=serving")
	if _, body := f.post(""); !strings.Contains(body, fmt.Sprintf("\nnumber=%d\n", kept.Load()-1)) {
		t.Errorf("%d was kept, and what runs is %s", kept.Load()-1, body)
	}
}

func TestSpare_RefusesWhatIsNotForIt(t *testing.T) {
	p := newPod(t)
	w := p.spare()
	s, _ := p.ask(w)
	good := p.seal(s, hello())
	stranger, err := assignment.DeriveProviderKey([]byte("another"))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := stranger.Seal(s, hello())
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(good)
	changed[len(changed)-1] ^= 1
	for name, body := range map[string][]byte{"nothing": nil, "of a stranger": forged, "changed": changed, "cut off": good[:len(good)-1], "longer": append(bytes.Clone(good), 0)} {
		if status, text := p.request(w, "POST", body, ""); status != 401 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	for _, challenge := range []string{"", "x", strings.Repeat("a", 200)} {
		if status, _ := p.request(w, "GET", nil, challenge); status != 400 {
			t.Errorf("challenge %.10q: %d", challenge, status)
		}
	}
	if status, _ := p.request(w, "PUT", good, ""); status != 405 {
		t.Errorf("PUT: %d", status)
	}
	if err := os.Remove(p.token); err != nil {
		t.Fatal(err)
	}
	if status, _ := p.request(w, "GET", nil, readypush.NewChallenge()); status != 503 {
		t.Errorf("without a token: %d", status)
	}
	if status, text := p.request(w, "POST", good, ""); status != 204 {
		t.Errorf("after all that: %d %s", status, text)
	}
}

// What was sent to a process that has died is worth nothing to the next one, which has another key.
func TestSpare_StartedAgain(t *testing.T) {
	p := newPod(t)
	w := p.spare()
	before, _ := p.ask(w)
	old := p.seal(before, hello("number=1"))
	syscall.Kill(w.pid, syscall.SIGKILL)
	w.wait()
	w = p.spare()
	if status, _ := p.request(w, "POST", old, ""); status != 401 {
		t.Errorf("an old assignment was answered %d", status)
	}
	p.assign(w, hello("number=2"))
	// Killed with its assignment: it must not take another, and says so.
	syscall.Kill(w.pid, syscall.SIGKILL)
	w.wait()
	w = p.spare()
	s, _ := p.ask(w)
	if s.Function != "hello.fn" {
		t.Errorf("%+v has forgotten its assignment", s)
	}
	if status, _ := p.request(w, "POST", p.seal(s, hello("number=3")), ""); status != 409 {
		t.Errorf("another assignment was answered %d", status)
	}
	syscall.Kill(w.pid, syscall.SIGTERM)
	w.wait()
	if _, body := p.function("msg=serving").post(""); !strings.Contains(body, "\nnumber=2\n") {
		t.Errorf("runs %s", body)
	}
}

// Whenever a spare is killed, its assignment is there as a whole or not at all.
func TestSpare_KilledWhileItWrites(t *testing.T) {
	p := newPod(t)
	a := hello("DC_READY_TOKEN=" + readyToken.Hex())
	a.Secrets = map[string][]byte{"large": bytes.Repeat([]byte("secret "), 300_000)}
	var free, assigned int
	var takes time.Duration // undisturbed
	for round := range 15 {
		w := p.spare()
		s, _ := p.ask(w)
		if s.Function != "" {
			t.Fatalf("%+v before it was assigned anything", s)
		}
		sealed := p.seal(s, a)
		pid, started, killed := w.pid, time.Now(), time.NewTimer(0)
		if round > 0 {
			killed = time.AfterFunc(rand.N(takes*5/4), func() { syscall.Kill(pid, syscall.SIGKILL) })
		}
		res, err := http.Post(w.url+assignment.Path, "", bytes.NewReader(sealed))
		if err == nil {
			res.Body.Close()
		}
		killed.Stop()
		if round == 0 {
			takes = time.Since(started)
		}
		syscall.Kill(w.pid, syscall.SIGKILL)
		w.wait()

		w = p.spare()
		s, _ = p.ask(w)
		switch files := p.files(p.dir); {
		case s.Function == "hello.fn" && slices.Contains(files, "assignment") && slices.Contains(files, "ready-token"):
			assigned++
			for _, f := range files {
				if err := os.Remove(filepath.Join(p.dir, f)); err != nil {
					t.Fatal(err)
				}
			}
		case s.Function == "" && len(files) == 0:
			free++
			if err == nil && res.StatusCode == 204 {
				t.Error("an assignment that was answered is gone")
			}
		default:
			t.Errorf("%+v with %v", s, files)
		}
		syscall.Kill(w.pid, syscall.SIGKILL)
		w.wait()
	}
	t.Logf("%d kept, %d not", assigned, free)
}

func TestSpare_NoTwoInOneFolder(t *testing.T) {
	p := newPod(t)
	p.spare()
	var stderr bytes.Buffer
	other := slices.Concat(p.environ, []string{"DC_SPARE_PORT=" + freePort(t)})
	if code := run([]string{"spare"}, other, io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), "is another spare's") {
		t.Errorf("exit code %d, %s", code, &stderr)
	}
}

// In memory that is full nothing is kept, and what was not kept leaves nothing behind.
func TestSpare_MemoryFull(t *testing.T) {
	p := newPod(t)
	mount := []string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs -o size=64k none "$0" && exec "$@"`, p.dir}
	if out, err := exec.Command(mount[0], append(mount[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no file system of its own to be had: %s", out)
	}
	w := launch(t, mount, []string{"spare"}, p.port, "msg=spare address", p.environ...)
	s, _ := p.ask(w)
	large := hello("DC_READY_TOKEN=" + readyToken.Hex())
	large.Secrets = map[string][]byte{"large": make([]byte, 200<<10)}
	if status, body := p.request(w, "POST", p.seal(s, large), ""); status != 507 {
		t.Errorf("%d %s", status, body)
	}
	if s, _ := p.ask(w); s.Function != "" {
		t.Errorf("%+v has what it could not keep", s)
	}
	p.assign(w, hello())
}

func TestClaim_NothingToRunHere(t *testing.T) {
	valid := func(p *pod, change func(*assignment.Assignment)) {
		a := hello()
		a.Pod, a.UID = testPod, testUID
		change(&a)
		text, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		p.write(filepath.Join(p.dir, "assignment"), string(text))
	}
	other := int64(os.Getuid() + 1)
	for _, r := range []struct {
		name   string
		put    func(*pod)
		code   int
		stderr string
	}{
		{"nothing assigned", func(*pod) {}, 3, "before anything was assigned"},
		{"for another pod", func(p *pod) { valid(p, func(a *assignment.Assignment) { a.Pod = "other" }) }, 3, "the assignment is for pod other"},
		{"for an earlier pod", func(p *pod) { valid(p, func(a *assignment.Assignment) { a.UID = "other" }) }, 3, "(uid other)"},
		{"for another user", func(p *pod) { valid(p, func(a *assignment.Assignment) { a.User = &other }) }, 3, "cannot"},
		{"half", func(p *pod) { p.write(filepath.Join(p.dir, "assignment"), `{"function":"he`) }, 3, "nothing to run: assignment: "},
		{"empty", func(p *pod) { p.write(filepath.Join(p.dir, "assignment"), "") }, 3, "nothing to run: assignment: "},
		{"too long", func(p *pod) { p.write(filepath.Join(p.dir, "assignment"), strings.Repeat(" ", assignment.MaxBytes+1)) }, 3, "not a file of at most"},
		{"a folder", func(p *pod) { os.Mkdir(filepath.Join(p.dir, "assignment"), 0o755) }, 3, "not a file of at most"},
		{"a pipe", func(p *pod) { syscall.Mkfifo(filepath.Join(p.dir, "assignment"), 0o600) }, 3, "not a file of at most"},
		{"a link", func(p *pod) { os.Symlink("/dev/zero", filepath.Join(p.dir, "assignment")) }, 3, "too many levels"},
		{"a token that is none", func(p *pod) {
			valid(p, func(*assignment.Assignment) {})
			p.write(filepath.Join(p.dir, "ready-token"), "not hexadecimal")
		}, 1, "is not hexadecimal"},
		{"no place for secrets", func(p *pod) {
			valid(p, func(a *assignment.Assignment) { a.Secrets = map[string][]byte{"a": nil} })
			os.RemoveAll(p.secrets)
		}, 1, "place secrets: "},
		{"a program that is not there", func(p *pod) { valid(p, func(a *assignment.Assignment) { a.Env["fprocess"] = "no-such-program" }) }, 1, "no-such-program"},
		{"no command", func(p *pod) { valid(p, func(a *assignment.Assignment) { delete(a.Env, "fprocess") }) }, 1, "no command"},
	} {
		t.Run(r.name, func(t *testing.T) {
			p := newPod(t)
			os.Remove(p.own)
			r.put(p)
			var stderr bytes.Buffer
			if code := run([]string{"spare"}, p.environ, io.Discard, &stderr); code != r.code || !strings.Contains(stderr.String(), r.stderr) {
				t.Errorf("exit code %d, want %d; %s", code, r.code, &stderr)
			}
		})
	}
	for name, change := range map[string]map[string]string{
		"no name": {"DC_POD": ""}, "no uid": {"DC_POD_UID": ""}, "no key": {"DC_SPARE_KEY": ""}, "a key that is none": {"DC_SPARE_KEY": "abc"},
		"no port": {"DC_SPARE_PORT": "x"}, "no folder": {"DC_SPARE_DIR": "/proc/nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			for n := range maps.Keys(change) {
				p.environ = append(p.environ, n+"="+change[n])
			}
			var stderr bytes.Buffer
			if code := run([]string{"spare"}, p.environ, io.Discard, &stderr); code != 1 || !strings.HasPrefix(stderr.String(), "dc-watchdog: ") && !strings.Contains(stderr.String(), "\ndc-watchdog: ") {
				t.Errorf("exit code %d, %s", code, &stderr)
			}
		})
	}
}

// Others of the same user cannot look into a spare: its key is there.
func TestSpare_KeepsPrivate(t *testing.T) {
	p := newPod(t)
	w := p.spare()
	var reader []string
	if os.Geteuid() == 0 { // with no more rights than in a container
		reader = []string{"setpriv", "--bounding-set=-sys_ptrace,-perfmon,-sys_admin", "--inh-caps=-sys_ptrace,-perfmon,-sys_admin"}
	}
	reader = append(reader, "cat", fmt.Sprintf("/proc/%d/environ", w.pid))
	if out, err := exec.Command(reader[0], reader[1:]...).Output(); err == nil {
		t.Errorf("read %q", out)
	}
}
