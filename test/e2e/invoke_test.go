package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// shown is what the probe tells of a request.
type shown struct {
	Method, URI, Body string
	Header            http.Header
	Length            int64
}

func TestInvoke_WhatTheFunctionSees(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]deployment{"own entrypoint": probe(t), "behind the watchdog": watchedProbe(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := deploy(t, d)
			a := gateway.ask(t, request{
				method: "PUT", path: f.path("/a/b%2Fc/?q=1&q=2"), body: "moo", auth: nobody,
				header: http.Header{"Authorization": {"Bearer mine"}, "X-Call-Id": {"given"}, "X-Many": {"1", "2"}},
			}).is(t, "call", http.StatusOK)
			var got shown
			if err := json.Unmarshal([]byte(a.body), &got); err != nil {
				t.Fatal(err)
			}
			if got.Method != "PUT" || got.Body != "moo" || got.Length != 3 || !strings.HasSuffix(got.URI, "/?q=1&q=2") {
				t.Errorf("the function saw %s %s, length %d, body %q", got.Method, got.URI, got.Length, got.Body)
			}
			for key, want := range map[string]string{"Authorization": "Bearer mine", "X-Call-Id": "given"} {
				if got.Header.Get(key) != want {
					t.Errorf("the function saw %s: %q, want %q", key, got.Header.Get(key), want)
				}
			}
			if len(got.Header["X-Many"]) != 2 || got.Header.Get("X-Forwarded-For") == "" || got.Header.Get("X-Forwarded-Host") == "" {
				t.Errorf("the function saw headers %v", got.Header)
			}
			if a.header.Get("X-Call-Id") != "given" || a.header.Get("X-Start-Time") == "" {
				t.Errorf("the caller saw headers %v", a.header)
			}
		})
	}
}

func TestInvoke_StatusAndHeadersPass(t *testing.T) {
	t.Parallel()
	f := deploy(t, probe(t))
	for _, status := range []int{201, 302, 404, 418, 429, 500, 503} {
		a := f.get(t, fmt.Sprintf("/status?code=%d", status)).is(t, "the function's own status", status)
		if a.body != fmt.Sprintf("status %d", status) || a.header.Get("X-Probe") == "" {
			t.Errorf("%d: body %q, headers %v", status, a.body, a.header)
		}
		if a.header.Get("X-OpenFaaS-Internal") != "" {
			t.Errorf("%d is marked as the platform's", status)
		}
	}
	if a := gateway.ask(t, request{method: "HEAD", path: f.path("/"), auth: nobody}); a.status != http.StatusOK || a.body != "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
	gateway.ask(t, request{method: "OPTIONS", path: f.path("/"), auth: nobody}).is(t, "OPTIONS", http.StatusOK)
}

func TestInvoke_UnknownFunction(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]listener{"gateway": gateway, "provider": provider} {
		for _, path := range []string{"/function/" + unique(t, "absent"), "/function/" + unique(t, "absent") + ".kube-system/a"} {
			a := l.ask(t, request{method: "POST", path: path, auth: nobody}).is(t, name+" "+path, http.StatusNotFound)
			if a.header.Get("X-OpenFaaS-Internal") == "" {
				t.Errorf("%s %s: the 404 is not marked as the platform's", name, path)
			}
		}
	}
}

// TestInvoke_RightAfterDeploy calls without waiting for anything: the call is held until the first replica is there.
func TestInvoke_RightAfterDeploy(t *testing.T) {
	t.Parallel()
	f := deploy(t, parrot())
	if a := f.call(t, "first").is(t, "first call", http.StatusOK); a.body != "first" {
		t.Errorf("answer %q", a.body)
	}
}

func TestInvoke_ForkMode(t *testing.T) {
	t.Parallel()
	f := deploy(t, scripted())
	tests := []struct {
		name, script string
		status       int
		body         string
	}{
		{"output is the answer", "echo moo", 200, "moo\n"},
		{"no output", ":", 200, ""},
		{"stderr is not in the answer", "echo moo; echo low >&2", 200, "moo\n"},
		{"exit code", "echo half; exit 3", 500, "exit status 3\nhalf\n"},
		{"request as environment", "echo $Http_Method $Http_Path $Http_Query", 200, "POST /sub q=1\n"},
		{"not root", "id -u", 200, "1000\n"},
		{"the provider's own variables are kept from it", "env | grep -c ^DC_; true", 200, "0\n"},
		{"no token of Kubernetes", "ls /var/run/secrets/kubernetes.io 2>/dev/null; true", 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := gateway.ask(t, request{method: "POST", path: f.path("/sub?q=1"), body: tt.script, auth: nobody}).is(t, tt.script, tt.status)
			if a.body != tt.body {
				t.Errorf("answer %q, want %q", a.body, tt.body)
			}
		})
	}
}

// TestInvoke_ExecTimeout lets a process and its child outlive their time. The answer comes at once, and no process stays.
func TestInvoke_ExecTimeout(t *testing.T) {
	t.Parallel()
	d := scripted()
	d.EnvVars = map[string]string{"exec_timeout": "1s"}
	f := deploy(t, d)
	f.call(t, "true").is(t, "warm up", http.StatusOK)
	started := time.Now()
	a := f.call(t, "sleep 87 & sleep 87")
	if a.status != http.StatusGatewayTimeout || time.Since(started) > 20*time.Second {
		t.Errorf("got %d %q after %s, want 504 after about a second", a.status, a.body, time.Since(started))
	}
	// The answer does not wait for the kernel, nor for process 1 to collect what it left: a zombie would show here as well.
	eventually(t, "no process is left", func() (bool, string) {
		ps := f.call(t, "ps | grep [s]leep; true").body
		return ps == "", ps
	})
}

// TestInvoke_CallerGoesAway hangs up on the function, which tells of it by another call.
func TestInvoke_CallerGoesAway(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]deployment{"own entrypoint": probe(t), "behind the watchdog": watchedProbe(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := deploy(t, d)
			f.get(t, "/").is(t, "warm up", http.StatusOK)
			ctx, hangUp := context.WithCancel(t.Context())
			hung := make(chan error, 1)
			go func() {
				_, err := gateway.send(ctx, request{method: "GET", path: f.path("/hang?id=1"), auth: nobody})
				hung <- err
			}()
			eventually(t, "the function has the call", func() (bool, string) {
				lines := readLogs(t, f, 20, nil)
				for _, line := range lines {
					if strings.Contains(line.Text, "hanging 1") {
						return true, ""
					}
				}
				return false, fmt.Sprint(lines)
			})
			hangUp()
			if err := <-hung; err == nil {
				t.Fatal("a call that was hung up on was answered")
			}
			f.get(t, "/gone?id=1").is(t, "the function saw its caller leave", http.StatusOK)
		})
	}
}

// TestInvoke_ForkedProcessEndsWithItsCaller does the same to a process, which is killed.
func TestInvoke_ForkedProcessEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	f := deploy(t, scripted())
	ctx, hangUp := context.WithCancel(t.Context())
	hung := make(chan error, 1)
	go func() {
		_, err := gateway.send(ctx, request{method: "POST", path: f.path(""), body: "sleep 97", auth: nobody})
		hung <- err
	}()
	running := func() (bool, string) {
		ps := f.call(t, "ps | grep '[s]leep 97'; true").body
		return ps != "", ps
	}
	eventually(t, "the process runs", running)
	hangUp()
	<-hung
	eventually(t, "the process is killed", func() (bool, string) {
		still, ps := running()
		return !still, ps
	})
}

// TestInvoke_NeverReady has functions without any replica that could serve: the call ends before the wake deadline, and both
// it and the status tell why.
func TestInvoke_NeverReady(t *testing.T) {
	t.Parallel()
	crashing := probe(t)
	crashing.EnvVars = map[string]string{"CRASH": "yes"}
	absent := deployment{Image: "dragonchain/there-is-no-such-image:dev"}
	tests := []struct {
		name string
		d    deployment
		why  []string // any of these
	}{
		{"process crashes", crashing, []string{"exit", "crash", "Crash"}},
		{"image is nowhere", absent, []string{"there-is-no-such-image"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := deploy(t, tt.d)
			started := time.Now()
			a := f.get(t, "/").is(t, "call", http.StatusServiceUnavailable)
			if took := time.Since(started); took > 50*time.Second {
				t.Errorf("answered after %s, want it before the wake deadline", took)
			}
			if a.header.Get("X-OpenFaaS-Internal") == "" {
				t.Error("the 503 is not marked as the platform's")
			}
			eventually(t, "the status tells why", func() (bool, string) {
				said := f.statusText(t)
				return containsAny(said, tt.why), said
			})
			if s, _ := f.status(t); s.AvailableReplicas != 0 {
				t.Errorf("%d replicas available", s.AvailableReplicas)
			}
		})
	}
}

func containsAny(s string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}
