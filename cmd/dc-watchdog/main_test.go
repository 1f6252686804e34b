package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/test/freeport"
)

const patience = 20 * time.Second

// TestMain lets this test binary be dc-watchdog itself: with "be-dc-watchdog" as its first argument it is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "be-dc-watchdog" {
		os.Exit(run(os.Args[2:], os.Environ(), os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// running is a dc-watchdog in a process of its own.
type running struct {
	t    testing.TB
	cmd  *exec.Cmd
	url  string
	pid  int    // of the watchdog, seen from here
	log  []byte // its stderr; read it after wait
	exit chan error
}

// start runs dc-watchdog behind a wrapper (unshare, setpriv, or nothing) and waits until it serves.
func start(t *testing.T, wrapper []string, environ ...string) *running {
	t.Helper()
	port := freePort(t)
	r := launch(t, wrapper, nil, port, "msg=serving", append([]string{"port=" + port, "metrics_port=0"}, environ...)...)
	if slices.Contains(wrapper, "--fork") {
		r.pid = onlyChild(t, r.pid)
	}
	return r
}

// launch runs dc-watchdog behind a wrapper until its log has a line with a part.
func launch(t testing.TB, wrapper, args []string, port, until string, environ ...string) *running {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args = slices.Concat(wrapper, []string{exe, "be-dc-watchdog"}, args)
	r := &running{t: t, cmd: exec.Command(args[0], args[1:]...), url: "http://127.0.0.1:" + port, exit: make(chan error, 1)}
	r.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir()}, environ...)
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.pid = r.cmd.Process.Pid
	serving := make(chan struct{})
	go func() {
		var once sync.Once
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			r.log = append(append(r.log, lines.Bytes()...), '\n')
			if bytes.Contains(lines.Bytes(), []byte(until)) {
				once.Do(func() { close(serving) })
			}
		}
		r.exit <- r.cmd.Wait()
	}()
	t.Cleanup(func() { r.cmd.Process.Kill() })
	select {
	case <-serving:
	case err := <-r.exit:
		t.Fatalf("ended: %v\n%s", err, r.log)
	case <-time.After(patience):
		t.Fatal("does not serve")
	}
	return r
}

// wait returns the exit code.
func (r *running) wait() int {
	r.t.Helper()
	select {
	case <-r.exit:
		return r.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		r.t.Fatal("does not end")
		return 0
	}
}

func (r *running) post(body string) (int, string) {
	r.t.Helper()
	res, err := http.Post(r.url, "text/plain", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// freePort is a port that nothing listens on, and nobody but this test will.
func freePort(t testing.TB) string {
	t.Helper()
	return strconv.Itoa(freeport.Reserve(t))
}

func onlyChild(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatalf("children of %d: %q", pid, text)
	}
	return child
}

// asProcess1 is what makes the watchdog process 1 of a namespace, as it is in a container. Where that is not allowed it becomes a
// subreaper, which the kernel treats the same for what is tested here.
func asProcess1(t *testing.T) (wrapper []string) {
	wrapper = []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if err := exec.Command(wrapper[0], append(wrapper[1:], "true")...).Run(); err == nil {
		return wrapper
	}
	t.Log("no namespace to be had: testing as a subreaper")
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.Syscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { syscall.Syscall(syscall.SYS_PRCTL, prSetChildSubreaper, 0, 0) })
	return nil
}

// Orphans that a function leaves behind, and that end later, do not stay as zombies; nor is an invocation's own exit taken from it.
func TestProcess1_ReapsOrphans(t *testing.T) {
	// Each invocation leaves one in a session of its own, where the end of its group does not reach, and fails with a status
	// that shows whether its exit was seen.
	w := start(t, asProcess1(t), "fprocess="+script(t, `
		read n
		setsid sh -c 'sleep 0.05; exit 3' >/dev/null 2>&1 </dev/null &
		[ "$n" = count ] && exec cat /proc/[0-9]*/stat
		exit 7`))
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for range 50 {
				if status, body := w.post("x\n"); status != 500 || body != "exit status 7\n" {
					t.Errorf("%d %q", status, body)
				}
			}
		})
	}
	calls.Wait()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		_, stats := w.post("count\n")
		zombies := strings.Count(stats, ") Z ")
		if zombies <= 1 { // the last invocation's own may just have ended
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d zombies:\n%s", zombies, stats)
		}
	}
	if n := countFDs(t, w.pid); n > 20 {
		t.Errorf("%d descriptors", n)
	}
	syscall.Kill(w.pid, syscall.SIGTERM)
	w.wait()
}

// The pod's secret is in this program's environment, where a function could read it as the same user.
func TestRun_EnvironmentHiddenFromFunction(t *testing.T) {
	var wrapper []string
	if os.Geteuid() == 0 { // with no more rights than in a container
		wrapper = []string{"setpriv", "--bounding-set=-sys_ptrace,-perfmon,-sys_admin", "--inh-caps=-sys_ptrace,-perfmon,-sys_admin"}
	}
	w := start(t, wrapper, "DC_OF_THE_POD=the-secret", "fprocess="+script(t, `
		cat /proc/self/environ >/dev/null && cat "/proc/$PPID/environ" && echo read it`))
	if status, body := w.post(""); status != 500 || body != "exit status 1\n" {
		t.Errorf("%d %q", status, body)
	}
	syscall.Kill(w.pid, syscall.SIGTERM)
	if code := w.wait(); code != 0 {
		t.Errorf("exit code %d\n%s", code, w.log)
	}
}

func script(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "function")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func countFDs(t *testing.T, pid int) int {
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if errors.Is(err, os.ErrPermission) && os.Geteuid() != 0 {
		t.Log("descriptors are not counted: the watchdog hides them from its own user")
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestProcess1_Signals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			w := start(t, asProcess1(t), "fprocess=cat")
			for _, passed := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2} {
				syscall.Kill(w.pid, passed)
			}
			if status, body := w.post("x"); status != 200 || body != "x" {
				t.Errorf("%d %q", status, body)
			}
			syscall.Kill(w.pid, sig)
			if code := w.wait(); code != 0 {
				t.Errorf("exit code %d\n%s", code, w.log)
			}
		})
	}
}

func TestRun_ProcessOfHTTPModeEnds(t *testing.T) {
	w := start(t, nil, "fprocess="+script(t, "sleep 0.1; exit 0"), "mode=http")
	if code := w.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(string(w.log), "the function's process has ended: exit status 0") {
		t.Errorf("log: %s", w.log)
	}
}

// Whoever read the log may be gone, and the function is served all the same.
func TestRun_LogWithoutReader(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	cmd := exec.Command(exe, "be-dc-watchdog")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "port=" + port, "metrics_port=0",
		"fprocess=" + script(t, "echo err >&2; cat")}
	cmd.Stderr = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(read).ReadString('\n'); err != nil || !strings.Contains(line, "serving") {
		t.Fatalf("%q, %v", line, err)
	}
	write.Close()
	read.Close()
	w := &running{t: t, cmd: cmd, url: "http://127.0.0.1:" + port}
	for range 5 {
		if status, body := w.post("x"); status != 200 || body != "x" {
			t.Errorf("%d %q", status, body)
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestRun_CommandLine(t *testing.T) {
	for _, r := range []struct {
		name           string
		args, environ  []string
		code           int
		stdout, stderr string
	}{
		{"version", []string{"-version"}, nil, 0, "dc-watchdog ", ""},
		{"help", []string{"--help"}, nil, 0, "", "fprocess"},
		{"unknown flag", []string{"-nope"}, nil, 2, "", "-nope"},
		{"unknown command", []string{"nope"}, nil, 2, "", "install DIR"},
		{"install without a folder", []string{"install"}, nil, 2, "", "install DIR"},
		{"install where it cannot", []string{"install", "/proc/nowhere"}, nil, 1, "", "install: "},
		{"no command", nil, nil, 1, "", "no command: set fprocess"},
		{"a mode that is not there", nil, []string{"fprocess=cat", "mode=turbo"}, 1, "", `mode "turbo" is not one of: fork, streaming`},
		{"no such program", nil, []string{"fprocess=no-such-program", "port=" + freePort(t)}, 1, "", "no-such-program"},
		{"unhealthy", []string{"-run-healthcheck"}, []string{"fprocess=cat", "TMPDIR=" + t.TempDir(), "port=" + freePort(t)}, 1, "", "unable to find lock file"},
	} {
		t.Run(r.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(r.args, r.environ, &stdout, &stderr); code != r.code {
				t.Errorf("exit code %d, want %d", code, r.code)
			}
			if !strings.Contains(stdout.String(), r.stdout) || !strings.Contains(stderr.String(), r.stderr) {
				t.Errorf("stdout %q, stderr %q", &stdout, &stderr)
			}
		})
	}
}

func TestRun_Healthcheck(t *testing.T) {
	for _, suppress := range []string{"false", "true"} {
		t.Run("suppress_lock="+suppress, func(t *testing.T) {
			w := start(t, nil, "fprocess=cat", "suppress_lock="+suppress)
			if code := run([]string{"-run-healthcheck"}, w.cmd.Env, io.Discard, io.Discard); code != 0 {
				t.Errorf("exit code %d", code)
			}
			syscall.Kill(w.pid, syscall.SIGTERM)
			w.wait()
			if code := run([]string{"-run-healthcheck"}, w.cmd.Env, io.Discard, io.Discard); code != 1 {
				t.Errorf("exit code %d after the end", code)
			}
		})
	}
}

func TestRun_Install(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	for range 2 { // the second replaces the first
		var stdout bytes.Buffer
		if code := run([]string{"install", dir}, nil, &stdout, os.Stderr); code != 0 || stdout.String() != dir+"/dc-watchdog\n" {
			t.Fatalf("exit code %d, %q", code, &stdout)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	info, err := files[0].Info()
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	out, err := exec.Command(dir+"/dc-watchdog", "be-dc-watchdog", "-version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "dc-watchdog ") {
		t.Errorf("installed: %q, %v", out, err)
	}
}
