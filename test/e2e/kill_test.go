package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestKill ends the provider with SIGKILL while contracts commit, twice. It comes back and serves, every commit that was
// acknowledged is there, and of any other either all is there or nothing. It runs alone: nobody is served meanwhile.
func TestKill(t *testing.T) {
	const contracts, callers = 3, 3
	writers := make([]*writer, 0, contracts*callers)
	for range contracts {
		f := deploy(t, contract(parrot()))
		f.call(t, `{"begun":1}`).is(t, "call", http.StatusOK)
		for i := range callers {
			writers = append(writers, &writer{f: f, id: i, acknowledged: map[int]bool{}})
		}
	}
	for range 2 {
		before, ok := providerProcess(t)
		if !ok {
			t.Fatal("the provider's process is not on this machine: run the tests by make test-e2e")
		}
		var enough atomic.Int64
		enough.Store(int64(len(writers)) * 20)
		kill := make(chan struct{})
		var writing sync.WaitGroup
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
		for _, w := range writers {
			writing.Go(func() {
				w.run(ctx, func() {
					if enough.Add(-1) == 0 {
						close(kill)
					}
				})
			})
		}
		select {
		case <-kill:
		case <-ctx.Done():
			t.Fatalf("%d commits short of the number to kill at", enough.Load())
		}
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatalf("kill the provider, process %d: %v", before, err)
		}
		writing.Wait() // each ends with the first call that is not answered
		stop()
		awaitProvider(t, before)
		for _, w := range writers {
			w.check(t)
		}
	}
	for _, w := range writers {
		w.f.call(t, `{"after":1}`).is(t, "call of "+w.f.String()+" afterwards", http.StatusOK)
	}
	deploy(t, parrot()).call(t, "new").is(t, "call of a new function", http.StatusOK)
}

// writer commits pairs of keys, numbered, until a call fails.
type writer struct {
	f            function
	id           int
	next         int
	acknowledged map[int]bool
}

// padding makes a commit span pages of the store, so that half of one could be written.
var padding = strings.Repeat("x", 6000)

func (w *writer) key(n int, half string) string { return fmt.Sprintf("%d/%06d/%s", w.id, n, half) }

func (w *writer) value(n int) string { return fmt.Sprintf("%d:%s", n, padding) }

func (w *writer) run(ctx context.Context, committed func()) {
	for {
		n := w.next
		w.next++
		body, err := json.Marshal(map[string]string{w.key(n, "a"): w.value(n), w.key(n, "b"): w.value(n)})
		if err != nil {
			panic("strings have no JSON: " + err.Error())
		}
		a, err := gateway.send(ctx, request{method: "POST", path: w.f.path(""), body: string(body), auth: nobody})
		if err != nil || a.status != http.StatusOK {
			return
		}
		w.acknowledged[n] = true
		committed()
	}
}

// check compares the heap with what was acknowledged.
func (w *writer) check(t *testing.T) {
	t.Helper()
	found := map[string]bool{}
	for _, key := range w.f.heapKeys(t, fmt.Sprintf("%d/", w.id)) {
		found[key] = true
	}
	for n := range w.next {
		a, b := found[w.key(n, "a")], found[w.key(n, "b")]
		if a != b {
			t.Errorf("%s: commit %d is torn: %t, %t", w.f, n, a, b)
		}
		if w.acknowledged[n] && !a {
			t.Errorf("%s: commit %d was acknowledged and is lost", w.f, n)
		}
	}
	for n := range w.acknowledged {
		if got, want := w.f.heap(t, w.key(n, "b")), strconv.Quote(w.value(n)); got != want {
			t.Errorf("%s: commit %d reads back as %.20s... of %d bytes", w.f, n, got, len(got))
		}
		break // one is enough: all are written alike
	}
}

// providerProcess is the process of the provider's container, found on this machine by the container's own control group.
func providerProcess(t *testing.T) (pid int, ok bool) {
	t.Helper()
	pods, err := cluster.CoreV1().Pods(providerNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=dc-provider"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		for _, c := range pod.Status.ContainerStatuses {
			if _, id, ok := strings.Cut(c.ContainerID, "://"); ok && c.State.Running != nil {
				if pid, ok := processOf(t, id, "/dc-provider"); ok {
					return pid, true
				}
			}
		}
	}
	return 0, false
}

// processOf is the process of a program in the control group of the container.
func processOf(t *testing.T, container, program string) (pid int, ok bool) {
	t.Helper()
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range groups {
		group, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(group), container) {
			continue // gone meanwhile, or another's
		}
		command, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if is, _, _ := strings.Cut(string(command), "\x00"); err != nil || is != program {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		return pid, true
	}
	return 0, false
}

// awaitProvider waits until another process than the one before serves both of its listeners, and Kubernetes says so too:
// its Services lead nowhere until it does.
func awaitProvider(t *testing.T, before int) {
	t.Helper()
	eventually(t, "the provider is back", func() (bool, string) {
		if now, ok := providerProcess(t); !ok || now == before {
			return false, fmt.Sprintf("found %t, process %d", ok, now)
		}
		var seen []string
		for _, l := range []listener{gateway, provider} {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			a, err := l.send(ctx, request{method: "GET", path: "/system/functions"})
			cancel()
			if err != nil || a.status != http.StatusOK {
				seen = append(seen, fmt.Sprintf("%s: %d, %v", l.url, a.status, err))
			}
		}
		return len(seen) == 0, strings.Join(seen, "; ")
	})
}
