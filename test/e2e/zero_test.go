package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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

// TestZero_CallersWhoLeave has half of those who wait for a wake give up, by deadlines of their own that are shorter than a wake, the first
// caller among them. The others are answered, and nothing is left of those.
func TestZero_CallersWhoLeave(t *testing.T) {
	t.Parallel()
	d := parrot()
	d.Namespace = newPool(t, 0)
	f := deployAtZero(t, d)
	var calls sync.WaitGroup
	for i := range 60 {
		calls.Go(func() {
			ctx, leaves := t.Context(), i%2 == 0
			if leaves {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Duration(50+5*i)*time.Millisecond)
				defer cancel()
			}
			body := fmt.Sprint("call ", i)
			a, err := gateway.send(ctx, request{method: http.MethodPost, path: f.path(""), body: body, auth: nobody})
			if leaves && errors.Is(err, context.DeadlineExceeded) {
				return
			}
			if err != nil || a.status != http.StatusOK || a.body != body {
				t.Errorf("%s: %d %q, %v", body, a.status, a.body, err)
			}
		})
	}
	calls.Wait()
	eventually(t, "nobody waits, and no call goes on", func() (bool, string) {
		name, metrics := `function_name="`+f.String()+`"`, scrape(t)
		waiting, inFlight := series(t, metrics, "dc_proxy_waiting", name), series(t, metrics, "dc_proxy_in_flight", name)
		return waiting == 0 && inFlight == 0, fmt.Sprint(waiting, " wait, ", inFlight, " go on")
	})
	f.awaitReplicas(t, 1)
}

// TestZero_WakeBesideABurst has two hundred callers of one function at zero, all of whom are answered at last, and meanwhile one caller
// each of others: these are answered before any of the many is.
func TestZero_WakeBesideABurst(t *testing.T) {
	t.Parallel()
	const callers, hold = 200, 30 * time.Second
	for name, spares := range map[string]int{"without spares": 0, "with one spare": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := newPool(t, spares)
			many := label(probe(t), labelMax, "1")
			many.Namespace = namespace
			burst := deployAtZero(t, many)
			var others []function
			for range 2 {
				d := parrot()
				d.Namespace = namespace
				others = append(others, deployAtZero(t, d))
			}
			awaitSpares(t, namespace, spares)
			var answered atomic.Int64
			var calls sync.WaitGroup
			for i := range callers {
				calls.Go(func() {
					body := fmt.Sprint("call ", i)
					q := request{method: http.MethodPost, path: burst.path("/echo?after=" + hold.String()), body: body, auth: nobody}
					a, err := gateway.send(t.Context(), q)
					if err != nil || a.status != http.StatusOK || a.body != body {
						t.Errorf("%s: %d %q, %v", body, a.status, a.body, err)
					}
					answered.Add(1)
				})
			}
			defer calls.Wait()
			eventually(t, "all are there", func() (bool, string) {
				s, _ := burst.status(t)
				return s.Replicas > 0, fmt.Sprint(s.Replicas, " replicas are wanted")
			})
			var ended []<-chan woken
			for _, f := range others {
				ended = append(ended, f.wakeBeside(t, f.name))
			}
			for i, f := range others {
				(<-ended[i]).is(t, f.name)
			}
			if n := answered.Load(); n > 0 {
				t.Errorf("%d of the many were answered first", n)
			}
		})
	}
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
