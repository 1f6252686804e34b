package contest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shell starts a shell script as a Process.
func shell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Command{Name: "sh", Path: "/bin/sh", Args: []string{"-c", script}, Dir: t.TempDir(), Address: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	return p
}

// eventually waits until a condition that other processes bring about holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
	}
}

func TestProcess_StopEndsTheTree(t *testing.T) {
	// The second child ignores SIGTERM and is in a session of its own.
	p := shell(t, `sleep 600 & setsid sh -c 'trap "" TERM; sleep 601; sleep 602' & wait`)
	eventually(t, "four processes", func() bool { return p.Children() >= 3 })
	family := tree(p.PID)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, m := range family {
		eventually(t, "the end of a process", func() bool { return !m.alive() })
	}
	if entries, err := os.ReadDir(p.Dir); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestProcess_EndedEarly(t *testing.T) {
	p := shell(t, "echo alas >&2; exit 3")
	_, err := p.AwaitListening(t.Context())
	if err == nil || !strings.Contains(err.Error(), "alas") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
	if p.Check() == nil {
		t.Error("nothing is said of its end")
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

func TestProcess_NeverListens(t *testing.T) {
	p := shell(t, "exec sleep 600")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.AwaitListening(ctx); err == nil {
		t.Error("no error")
	}
}

func TestProcess_CountsTheTimeOfChildren(t *testing.T) {
	p := shell(t, `sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; echo done; exec sleep 600`)
	eventually(t, "the end of the loop", func() bool { return strings.Contains(p.Tail(), "done") })
	if used := p.CPU(); used < 20*time.Millisecond {
		t.Errorf("three hundred thousand rounds of a shell took %v", used)
	}
}

func TestProcess_Memory(t *testing.T) {
	p := shell(t, "sleep 600 & wait")
	eventually(t, "a child", func() bool { return p.Children() == 1 })
	alone, err := p.Memory()
	if err != nil {
		t.Fatal(err)
	}
	all, err := p.TreeMemory()
	if err != nil {
		t.Fatal(err)
	}
	if alone < 100<<10 || all <= alone {
		t.Errorf("%d bytes alone, %d with its child", alone, all)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.TreeMemory(); err == nil {
		t.Error("memory of a process that is gone")
	}
}

func TestTools_OpenNeedsPrepare(t *testing.T) {
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "-prepare") {
		t.Errorf("got %v", err)
	}
}

func TestTools_Open(t *testing.T) {
	dir := t.TempDir()
	want := Tools{"a": {Path: "/a", Version: "1", Bytes: 2}, "b": {Missing: "why"}}
	raw, err := json.Marshal(want)
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, manifest), raw, 0o644)); err != nil {
		t.Fatal(err)
	}
	got, err := Open(dir)
	if err != nil || got["a"] != want["a"] || got["b"] != want["b"] {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestReason(t *testing.T) {
	const module = "example.org/a@1"
	const out = "go: example.org/a@1: example.org/a@1: invalid version: 403 Forbidden\n\tserver response: no"
	if got, want := reason(module, out, errors.New("exit status 1")), "go install "+module+": invalid version: 403 Forbidden"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := reason(module, "", errors.New("no go")), "go install "+module+": no go"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
