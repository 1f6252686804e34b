package invoke_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/invoke"
)

// counter is a contract whose every run is a new number.
func counter(runs *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		n := runs.Add(1)
		w.Header().Add("X-Run", fmt.Sprint(n))
		w.Header().Add("X-Run", "again")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"run-%d": %d}`, n, n)
	}
}

func (b *bench) repeat(id, body string) *http.Request {
	r := b.request("POST", body)
	r.Header.Set("X-Call-Id", id)
	return r
}

func TestServeContract_RepeatGetsTheRecordedAnswer(t *testing.T) {
	var runs atomic.Int64
	b := newBench(t, counter(&runs), nil)
	for n := range 3 {
		answer, body := b.do(b.repeat("a", "{}"))
		if answer.StatusCode != 201 || body != `{"run-1": 1}` || strings.Join(answer.Header["X-Run"], " ") != "1 again" {
			t.Errorf("call %d: status %d, %q, %v", n, answer.StatusCode, body, answer.Header)
		}
		if replayed := answer.Header.Get("X-Call-Replayed") == "true"; replayed != (n > 0) {
			t.Errorf("call %d says that it is a repeat: %t", n, replayed)
		}
	}
	b.wantHeap(map[string]string{"run-1": "1"})
	for _, other := range []*http.Request{b.repeat("a", "[]"), b.repeat("a", "")} {
		answer, _ := b.do(other)
		b.wantRefused(answer, invoke.ErrCallReused)
	}
	otherPath := b.repeat("a", "{}")
	otherPath.URL.RawQuery = "x=2"
	answer, _ := b.do(otherPath)
	b.wantRefused(answer, invoke.ErrCallReused)
	if answer, _ := b.do(b.repeat(strings.Repeat("i", 257), "{}")); answer.StatusCode != statusOfErrors {
		t.Errorf("a long call id: status %d", answer.StatusCode)
	}
	if _, body := b.do(b.repeat("b", "{}")); body != `{"run-2": 2}` {
		t.Errorf("another call: %q", body)
	}
	if _, body := b.do(b.request("POST", "{}")); body != `{"run-3": 3}` {
		t.Errorf("a call without an id: %q", body)
	}
}

// The heap of a new contract may come later than its first call, which waits for a replica.
func TestServeContract_HeapThatIsYetToCome(t *testing.T) {
	var b *bench
	b = newBench(t, func(w http.ResponseWriter, r *http.Request) {
		if err := b.store.Create(r.Context(), b.contract.Heap()); err != nil {
			t.Error(err)
		}
		io.WriteString(w, `{"a": 1}`)
	}, nil)
	b.contract.ID = "2"
	if answer, body := b.do(b.repeat("a", "{}")); answer.StatusCode != 200 || body != `{"a": 1}` {
		t.Errorf("status %d, %q", answer.StatusCode, body)
	}
	b.wantHeap(map[string]string{"a": "1"})
}

func TestServeContract_RepeatWaitsForTheFirst(t *testing.T) {
	var runs atomic.Int64
	began, release := make(chan struct{}), make(chan struct{})
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		if runs.Load() == 0 {
			close(began)
			<-release
		}
		counter(&runs)(w, r)
	}, nil)
	var calls sync.WaitGroup
	call := func() {
		if _, body := b.do(b.repeat("a", "{}")); body != `{"run-1": 1}` {
			t.Errorf("body %q", body)
		}
	}
	calls.Go(call)
	<-began
	for range 8 {
		calls.Go(call)
	}
	close(release)
	calls.Wait()
	if runs.Load() != 1 {
		t.Errorf("%d runs", runs.Load())
	}
}

// What had no effect is run again: an answer that says so, one that cannot be kept, and one whose caller left.
func TestServeContract_RepeatRunsAgainWhatHadNoEffect(t *testing.T) {
	var runs atomic.Int64
	for name, first := range map[string]func(w http.ResponseWriter){
		"its own 500":  func(w http.ResponseWriter) { w.WriteHeader(500) },
		"its own 429":  func(w http.ResponseWriter) { w.WriteHeader(429) },
		"unstorable":   func(w http.ResponseWriter) { _, _ = io.WriteString(w, "\xff") },
		"broken off":   func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"not the last": func(w http.ResponseWriter) { w.WriteHeader(503) },
	} {
		t.Run(name, func(t *testing.T) {
			runs.Store(0)
			var began atomic.Bool
			b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
				if !began.Swap(true) {
					first(w)
					return
				}
				counter(&runs)(w, r)
			}, nil)
			b.do(b.repeat("a", "{}"))
			for range 2 {
				if _, body := b.do(b.repeat("a", "{}")); body != `{"run-1": 1}` {
					t.Errorf("the repeat gets %q", body)
				}
			}
		})
	}
	t.Run("its own 404 is an answer", func(t *testing.T) {
		runs.Store(0)
		b := newBench(t, func(w http.ResponseWriter, _ *http.Request) {
			runs.Add(1)
			http.Error(w, "no such account", 404)
		}, nil)
		for range 2 {
			if answer, body := b.do(b.repeat("a", "{}")); answer.StatusCode != 404 || body != "no such account\n" {
				t.Errorf("status %d, %q", answer.StatusCode, body)
			}
		}
		if runs.Load() != 1 {
			t.Errorf("%d runs", runs.Load())
		}
	})
}

// Two providers on one store run the same call at once: one commit, and the same answer for both.
func TestServeContract_AnotherProviderIsFaster(t *testing.T) {
	var runs atomic.Int64
	var both sync.WaitGroup
	both.Add(2)
	contract := func(w http.ResponseWriter, r *http.Request) {
		both.Done()
		both.Wait()
		counter(&runs)(w, r)
	}
	a := newBench(t, contract, nil)
	b := newBench(t, contract, func(cfg *invoke.Config) { cfg.Store = a.store })
	var calls sync.WaitGroup
	bodies := make([]string, 2)
	for i, bench := range []*bench{a, b} {
		calls.Go(func() { _, bodies[i] = bench.do(bench.repeat("a", "{}")) })
	}
	calls.Wait()
	if bodies[0] != bodies[1] || bodies[0] == "" || runs.Load() != 2 {
		t.Errorf("%q and %q after %d runs", bodies[0], bodies[1], runs.Load())
	}
	keys, _, err := a.store.List(t.Context(), a.contract.Heap(), "", "", 0)
	if err != nil || len(keys) != 1 {
		t.Errorf("the heap has %q, %v", keys, err)
	}
}

// A commit whose outcome the caller was not told is found by the repeat.
func TestServeContract_RepeatAfterALostAnswer(t *testing.T) {
	var runs atomic.Int64
	var lost atomic.Bool
	b := newBench(t, counter(&runs), func(cfg *invoke.Config) {
		cfg.Store = losing{Store: cfg.Store, lost: &lost}
	})
	if answer, _ := b.do(b.repeat("a", "{}")); answer.StatusCode != statusOfErrors {
		t.Errorf("status %d, want an error", answer.StatusCode)
	}
	if answer, body := b.do(b.repeat("a", "{}")); body != `{"run-1": 1}` || answer.Header.Get("X-Call-Replayed") == "" {
		t.Errorf("the repeat gets %q, %v", body, answer.Header)
	}
	b.wantHeap(map[string]string{"run-1": "1"})
}

// losing is a Store whose first commit is made and not acknowledged.
type losing struct {
	invoke.Store
	lost *atomic.Bool
}

func (l losing) Commit(ctx context.Context, h function.Heap, c function.Commit) error {
	err := l.Store.Commit(ctx, h, c)
	if err == nil && !l.lost.Swap(true) {
		err = errors.New("the connection broke")
	}
	return err
}

// An id that was made for the call is known to nobody before its answer: a record of it would only fill the store.
func TestServeContract_RecordsOnlyIDsOfCallers(t *testing.T) {
	var runs atomic.Int64
	b := newBench(t, counter(&runs), nil)
	b.made = true
	if answer, body := b.do(b.repeat("made", "{}")); answer.StatusCode != 201 || body != `{"run-1": 1}` {
		t.Errorf("status %d, %q", answer.StatusCode, body)
	}
	if _, found, err := b.store.Recorded(t.Context(), b.contract.Heap(), "made"); err != nil || found {
		t.Errorf("recorded: %t, %v", found, err)
	}
	b.wantHeap(map[string]string{"run-1": "1"})
}
