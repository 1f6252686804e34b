package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// effect is a script for a contract whose every run writes a key of its own, named after id, and answers with it. So a run
// that took effect beside another shows in the heap, and one that did not is told by its answer.
func effect(id string) string {
	return fmt.Sprintf(`read run </proc/sys/kernel/random/uuid && echo "{\"%s/$run\":1}"`, id)
}

// effectKey is the key in the answer of effect, "" if it is no such answer.
func effectKey(body string) string {
	key, begun := strings.CutPrefix(body, `{"`)
	key, ended := strings.CutSuffix(key, "\":1}\n")
	if !begun || !ended {
		return ""
	}
	return key
}

func withCallID(f function, id, path, body string) request {
	return request{method: "POST", path: f.path(path), body: body, header: http.Header{"X-Call-Id": {id}}, auth: nobody}
}

func TestCallID_TakesEffectOnce(t *testing.T) {
	t.Parallel()
	d := contract(scripted())
	d.EnvVars = map[string]string{"content_type": "application/x-moo"}
	f := deploy(t, d)
	first := gateway.ask(t, withCallID(f, "one", "", effect("one"))).is(t, "first", http.StatusOK)
	if effectKey(first.body) == "" || first.header.Get("X-Call-Replayed") != "" || first.header.Get("X-Call-Id") != "one" {
		t.Fatalf("the first call answers %q with headers %v", first.body, first.header)
	}
	wantEffects := func(t *testing.T, want int) {
		t.Helper()
		if keys := f.heapKeys(t, ""); len(keys) != want {
			t.Errorf("the heap has %q, want %d keys", keys, want)
		}
	}

	t.Run("a repeat gets the same answer", func(t *testing.T) {
		for range 2 {
			again := gateway.ask(t, withCallID(f, "one", "", effect("one"))).is(t, "repeat", http.StatusOK)
			if again.body != first.body || again.header.Get("X-Call-Replayed") != "true" {
				t.Errorf("the repeat answers %q with headers %v, the first %q", again.body, again.header, first.body)
			}
			if got, want := again.header.Get("Content-Type"), first.header.Get("Content-Type"); got != want || want != "application/x-moo" {
				t.Errorf("the repeat has content type %q, the first %q", got, want)
			}
		}
		wantEffects(t, 1)
	})
	t.Run("another request with the same id is refused", func(t *testing.T) {
		gateway.ask(t, withCallID(f, "one", "", effect("two"))).refused(t, "another body", http.StatusUnprocessableEntity)
		gateway.ask(t, withCallID(f, "one", "?q=1", effect("one"))).refused(t, "another query", http.StatusUnprocessableEntity)
		wantEffects(t, 1)
	})
	t.Run("repeats at once", func(t *testing.T) {
		const callers = 8
		bodies := make([]string, callers)
		var calling sync.WaitGroup
		for i := range callers {
			calling.Go(func() {
				a, err := gateway.send(t.Context(), withCallID(f, "many", "", effect("many")))
				if err != nil || a.status != http.StatusOK {
					t.Errorf("call %d: %v %d %q", i, err, a.status, a.body)
				}
				bodies[i] = a.body
			})
		}
		calling.Wait()
		for i, body := range bodies {
			if body != bodies[0] || effectKey(body) == "" {
				t.Errorf("call %d answers %q, the first %q", i, body, bodies[0])
			}
		}
		wantEffects(t, 2)
	})
	t.Run("what failed runs again", func(t *testing.T) {
		failing := withCallID(f, "failing", "", "echo half; exit 3")
		for range 2 {
			if a := gateway.ask(t, failing).is(t, "failing call", http.StatusInternalServerError); a.header.Get("X-Call-Replayed") != "" {
				t.Errorf("an answer without effect is replayed: %v", a.header)
			}
		}
		wantEffects(t, 2)
	})
	t.Run("another contract has its own ids", func(t *testing.T) {
		other := deploy(t, d)
		a := gateway.ask(t, withCallID(other, "one", "", effect("one"))).is(t, "first", http.StatusOK)
		if a.body == first.body || a.header.Get("X-Call-Replayed") != "" {
			t.Errorf("another contract answers %q with headers %v", a.body, a.header)
		}
	})
	t.Run("an id that is too long", func(t *testing.T) {
		gateway.ask(t, withCallID(f, strings.Repeat("i", 257), "", effect("long"))).refused(t, "257 bytes", http.StatusBadRequest)
		wantEffects(t, 2)
	})
}

// TestKill_CallIDs ends the provider with SIGKILL while contracts are called with call ids, twice. Every call is made by two
// callers at once, who both repeat it until they have an answer: it is the same for both, and the effect is there once. It
// runs alone: nobody is served meanwhile.
func TestKill_CallIDs(t *testing.T) {
	const pairsOfCallers, callsBefore = 6, 30
	f := deploy(t, contract(scripted()))
	f.call(t, effect("begun")).is(t, "call", http.StatusOK)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var interrupted atomic.Int64
	answers := make([]map[string]string, pairsOfCallers) // by call id
	for pair := range answers {
		answers[pair] = map[string]string{}
	}
	for round := range 2 {
		before, ok := providerProcess(t)
		if !ok {
			t.Fatal("the provider's process is not on this machine: run the tests by make test-e2e")
		}
		var enough atomic.Int64
		enough.Store(callsBefore)
		kill, killed := make(chan struct{}), make(chan struct{})
		var calling sync.WaitGroup
		for pair, answered := range answers {
			calling.Go(func() {
				// The first call that begins after the kill is the last.
				for n, last := 0, false; !last; n++ {
					select {
					case <-killed:
						last = true
					default:
					}
					id := fmt.Sprintf("%d-%d-%d", round, pair, n)
					body, err := callTwice(ctx, f, id, &interrupted)
					if err != nil {
						t.Errorf("call %s: %v", id, err)
						return
					}
					answered[id] = body
					if enough.Add(-1) == 0 {
						close(kill)
					}
				}
			})
		}
		select {
		case <-kill:
		case <-ctx.Done():
			t.Errorf("%d calls short of the number to kill at", enough.Load())
		}
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Errorf("kill the provider, process %d: %v", before, err)
		}
		close(killed)
		calling.Wait()
		if t.Failed() {
			return
		}
		awaitProvider(t, before)
	}
	effects := map[string][]string{} // by call id
	for _, key := range f.heapKeys(t, "") {
		id, _, _ := strings.Cut(key, "/")
		effects[id] = append(effects[id], key)
	}
	delete(effects, "begun")
	calls := 0
	for _, answered := range answers {
		for id, body := range answered {
			calls++
			if keys := effects[id]; len(keys) != 1 || keys[0] != effectKey(body) {
				t.Errorf("call %s has the effects %q, its answer was %q", id, keys, body)
			}
			again := gateway.ask(t, withCallID(f, id, "", effect(id))).is(t, "repeat of "+id, http.StatusOK)
			if again.body != body || again.header.Get("X-Call-Replayed") != "true" {
				t.Errorf("call %s answered %q, and now %q with headers %v", id, body, again.body, again.header)
			}
		}
	}
	if len(effects) != calls {
		t.Errorf("%d calls have taken effect, want %d", len(effects), calls)
	}
	if interrupted.Load() == 0 {
		t.Error("no call was interrupted, so that this shows nothing")
	}
	t.Logf("%d calls, %d times interrupted", calls, interrupted.Load())
}

// callTwice has two callers make the same call at once, and returns the answer that both got.
func callTwice(ctx context.Context, f function, id string, interrupted *atomic.Int64) (body string, err error) {
	var bodies [2]string
	var errs [2]error
	var both sync.WaitGroup
	for i := range bodies {
		both.Go(func() { bodies[i], errs[i] = callUntilAnswered(ctx, f, id, interrupted) })
	}
	both.Wait()
	for _, err := range errs {
		if err != nil {
			return "", err
		}
	}
	if bodies[0] != bodies[1] {
		return "", fmt.Errorf("two callers got %q and %q", bodies[0], bodies[1])
	}
	return bodies[0], nil
}

// callUntilAnswered repeats a call while nobody answers, or somebody answers that he cannot now. It counts the times that
// this happens.
func callUntilAnswered(ctx context.Context, f function, id string, interrupted *atomic.Int64) (body string, err error) {
	for {
		a, err := gateway.send(ctx, withCallID(f, id, "", effect(id)))
		switch {
		case err == nil && a.status == http.StatusOK:
			return a.body, nil
		case err == nil && a.status != http.StatusBadGateway && a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout:
			return "", fmt.Errorf("%d %q", a.status, a.body)
		}
		interrupted.Add(1)
		select {
		case <-time.After(pollFirst):
		case <-ctx.Done():
			return "", fmt.Errorf("not answered in time; last seen: %d %q, %v", a.status, a.body, err)
		}
	}
}
