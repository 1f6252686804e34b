package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/openfaas/faas-provider/types"
)

// says waits until the function's environment has the value: the new version serves.
func (f function) says(t *testing.T, variable, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s serves %s=%s", f, variable, want), func() (bool, string) {
		a := f.call(t, "printf %s \"$"+variable+"\"")
		return a.status == http.StatusOK && a.body == want, fmt.Sprint(a.status, " ", a.body)
	})
}

func TestRollout_NoCallIsLost(t *testing.T) {
	t.Parallel()
	d := scripted()
	d.EnvVars = map[string]string{"VERSION": "one"}
	f := deploy(t, d)
	f.says(t, "VERSION", "one")

	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	defer callers.Wait()
	defer stop()
	for range 4 {
		callers.Go(func() {
			for ctx.Err() == nil {
				a, err := gateway.send(ctx, request{method: "POST", path: f.path(""), body: "sleep 0.05; echo ok", auth: nobody})
				if ctx.Err() == nil && (err != nil || a.status != http.StatusOK || a.body != "ok\n") {
					t.Errorf("during the update: %d %q, %v", a.status, a.body, err)
				}
			}
		})
	}
	d.EnvVars = map[string]string{"VERSION": "two"}
	f.update(t, d)
	f.says(t, "VERSION", "two")
	f.awaitReplicas(t, 1)
}

// TestRollout_NeverReady updates to versions that cannot serve: the old one goes on, and the status says what is wrong.
func TestRollout_NeverReady(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		broken func(deployment) deployment
		why    []string
	}{
		{"image is nowhere", func(d deployment) deployment {
			d.Image = "dragonchain/there-is-no-such-image:dev"
			return d
		}, []string{"there-is-no-such-image"}},
		{"process crashes", func(d deployment) deployment {
			d.EnvVars = map[string]string{"CRASH": "yes"}
			return d
		}, []string{"exit", "crash", "Crash"}},
		{"process never listens", func(d deployment) deployment {
			d.EnvVars = map[string]string{"DEAF": "yes"}
			return d
		}, []string{"NotReady"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			good := probe(t)
			f := deploy(t, good)
			f.get(t, "/env?name=VERSION").is(t, "the good version", http.StatusOK)
			f.awaitReplicas(t, 1)
			f.update(t, tt.broken(good))
			eventually(t, "the status tells why", func() (bool, string) {
				f.get(t, "/env?name=VERSION").is(t, "the good version meanwhile", http.StatusOK)
				said := f.statusText(t)
				return containsAny(said, tt.why), said
			})
			if s, _ := f.status(t); s.AvailableReplicas != 1 {
				t.Errorf("%d replicas available, want the old one", s.AvailableReplicas)
			}
			mended := good
			mended.EnvVars = map[string]string{"MENDED": "yes"}
			f.update(t, mended)
			eventually(t, "the mended version serves", func() (bool, string) {
				a := f.get(t, "/env?name=MENDED").is(t, "call", http.StatusOK)
				return a.body == "yes", a.body
			})
			eventually(t, "the status has nothing to tell", func() (bool, string) {
				said := f.statusText(t)
				return said == "", said
			})
		})
	}
}

// TestRollout_UnchangedSpecification restarts all the same: the value of a secret may be what changed.
func TestRollout_UnchangedSpecification(t *testing.T) {
	t.Parallel()
	name := unique(t, "secret")
	makeSecret(t, name, "first")
	d := scripted()
	d.Secrets = []string{name}
	f := deploy(t, d)
	script := "cat /var/openfaas/secrets/" + name
	if a := f.call(t, script).is(t, "call", http.StatusOK); a.body != "first" {
		t.Fatalf("secret reads %q", a.body)
	}
	gateway.do(t, "PUT", "/system/secrets", encode(t, types.Secret{Name: name, Value: "second"})).is(t, "change the secret", http.StatusAccepted)
	pod := f.call(t, "hostname").body
	f.update(t, d)
	eventually(t, "another pod has the new value", func() (bool, string) {
		value, now := f.call(t, script).body, f.call(t, "hostname").body
		return value == "second" && now != pod, value + " in " + now
	})
	// A secret that a function still mounts can be deleted: chains delete secrets first and the function after.
	removeSecret(t, name, "")
	if a := f.call(t, script).is(t, "call", http.StatusOK); a.body != "second" {
		t.Errorf("secret reads %q after it was deleted", a.body)
	}
}
