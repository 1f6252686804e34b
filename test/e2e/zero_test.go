package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
)

// awaitZero waits until the function is its record and nothing else.
func (f function) awaitZero(t *testing.T) {
	t.Helper()
	f.awaitReplicas(t, 0)
	eventually(t, f.String()+" is its record alone", func() (bool, string) {
		objects := f.objects(t)
		return slices.Equal(objects, []string{"Function/" + f.name}), fmt.Sprint(objects)
	})
}

func TestZero_WhenIdle(t *testing.T) {
	t.Parallel()
	f := deploy(t, label(label(contract(parrot()), labelZero, "true"), labelZeroDuration, "3s"))
	f.call(t, `{"n":1}`).is(t, "call", http.StatusOK)
	f.awaitZero(t)
	wantHeap(t, f, map[string]string{"n": "1"})
	f.call(t, `{"n":2}`).is(t, "call that wakes", http.StatusOK)
	wantHeap(t, f, map[string]string{"n": "2"})
	f.awaitZero(t)
}

func TestZero_NeverUnasked(t *testing.T) {
	t.Parallel()
	idle := deploy(t, label(parrot(), labelZeroDuration, "1s"))
	idle.awaitReplicas(t, 1)
	zeroed := deploy(t, label(label(parrot(), labelZero, "true"), labelZeroDuration, "1s"))
	zeroed.awaitZero(t)
	// By now the first has been idle for at least as long as the second was.
	if s, _ := idle.status(t); s.Replicas != 1 {
		t.Errorf("a function without the label has %d replicas", s.Replicas)
	}
}

// TestZero_NotWhileBusy holds a call open for longer than the idle time.
func TestZero_NotWhileBusy(t *testing.T) {
	t.Parallel()
	f := deploy(t, label(label(scripted(), labelZero, "true"), labelZeroDuration, "2s"))
	if a := f.call(t, "sleep 12; echo done").is(t, "long call", http.StatusOK); a.body != "done\n" {
		t.Errorf("answer %q", a.body)
	}
	f.awaitZero(t)
}

func TestZero_ManyCallsAtOnce(t *testing.T) {
	t.Parallel()
	f := deploy(t, parrot())
	f.awaitReplicas(t, 1)
	f.scale(t, 0)
	f.awaitZero(t)
	var calls sync.WaitGroup
	for i := range 200 {
		calls.Go(func() {
			body := fmt.Sprint("call ", i)
			a, err := gateway.send(t.Context(), request{method: "POST", path: f.path(""), body: body, auth: nobody})
			if err != nil || a.status != http.StatusOK || a.body != body {
				t.Errorf("%s: %d %q, %v", body, a.status, a.body, err)
			}
		})
	}
	calls.Wait()
	f.awaitReplicas(t, 1)
}

// TestZero_UpdatedWhileAtZero wakes as the new version.
func TestZero_UpdatedWhileAtZero(t *testing.T) {
	t.Parallel()
	d := scripted()
	d.EnvVars = map[string]string{"VERSION": "one"}
	f := deploy(t, d)
	f.says(t, "VERSION", "one")
	f.scale(t, 0)
	f.awaitZero(t)
	d.EnvVars = map[string]string{"VERSION": "two"}
	f.update(t, d)
	if a := f.call(t, "printf $VERSION").is(t, "call", http.StatusOK); a.body != "two" {
		t.Errorf("woke as version %q", a.body)
	}
}

func TestScale_Bounds(t *testing.T) {
	t.Parallel()
	f := deploy(t, label(label(parrot(), labelMin, "2"), labelMax, "3"))
	f.awaitReplicas(t, 2)
	f.scale(t, 9)
	f.awaitReplicas(t, 3)
	f.scale(t, 1)
	f.awaitReplicas(t, 2)
	f.scale(t, 0)
	f.awaitZero(t)
	f.call(t, "wake").is(t, "call", http.StatusOK)
	f.awaitReplicas(t, 2)
}
