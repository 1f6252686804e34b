package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// world is a Pool whose spares are assigned and adopted by the test.
type world struct {
	*Pool
	mu        sync.Mutex
	assigned  map[string][]string // functions by spare
	adopted   map[string][]string
	discarded []string
	outcomes  []Outcome
	// assign and adopt, if set, fail steps.
	assign, adopt func(Spare, *function.Function) error
}

func newWorld(t *testing.T, cfg Config) *world {
	t.Helper()
	w := &world{assigned: map[string][]string{}, adopted: map[string][]string{}}
	step := func(to map[string][]string, fail *func(Spare, *function.Function) error) func(context.Context, Spare, *function.Function) error {
		return func(ctx context.Context, s Spare, f *function.Function) error {
			w.mu.Lock()
			to[s.ID] = append(to[s.ID], f.ID)
			do := *fail
			w.mu.Unlock()
			if do != nil {
				if err := do(s, f); err != nil {
					return err
				}
			}
			return ctx.Err()
		}
	}
	cfg.Assign, cfg.Adopt = step(w.assigned, &w.assign), step(w.adopted, &w.adopt)
	cfg.Discard = func(s Spare) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.discarded = append(w.discarded, s.ID)
	}
	cfg.OnClaim = func(_ *function.Function, o Outcome, _ Phases) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.outcomes = append(w.outcomes, o)
	}
	var err error
	if w.Pool, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

func spareOf(id, namespace, node string) Spare {
	return Spare{ID: id, Namespace: namespace, Pod: "spare-" + id, Node: node}
}

func fn(id string) *function.Function {
	return &function.Function{ID: id, Spec: function.Spec{Ref: function.Ref{Name: "f-" + id, Namespace: "fn"}}}
}

// However many functions wake at once, each spare becomes one function's, and those that get none are told so.
func TestClaim_NoSpareForTwo(t *testing.T) {
	const spares, functions = 40, 100
	w := newWorld(t, Config{NodeClaims: functions})
	var group sync.WaitGroup
	for i := range spares {
		group.Go(func() { w.Add(spareOf(fmt.Sprint(i), "fn", "n")) })
	}
	var mu sync.Mutex
	var got, without int
	for i := range functions {
		group.Go(func() {
			// Registering again, and the keeper that would take spares away, come at any time.
			w.Add(spareOf(fmt.Sprint(i%spares), "fn", "n"))
			err := w.Claim(t.Context(), fn(fmt.Sprint(i)))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				got++
			case errors.Is(err, ErrNoSpare):
				without++
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	for i := got; i < spares; i++ { // those that came later than all who asked
		if err := w.Claim(t.Context(), fn(fmt.Sprint("late", i))); err != nil {
			t.Error(err)
		}
		got++
	}
	if got != spares || len(w.adopted) != spares {
		t.Errorf("%d claims of %d spares, %d went without", got, spares, without)
	}
	for id, functions := range w.adopted {
		if len(functions) != 1 || !slices.Equal(functions, w.assigned[id]) {
			t.Errorf("spare %s was assigned to %v and adopted by %v", id, w.assigned[id], functions)
		}
	}
	if err := w.Claim(t.Context(), fn("last")); !errors.Is(err, ErrNoSpare) {
		t.Errorf("a claim of none: %v", err)
	}
}

// A spare that says that it was assigned is given up, unless it was so by a claim that is under way here: whoever asks it in the
// middle of that would take the function's pod away.
func TestAdd_Assigned(t *testing.T) {
	w := newWorld(t, Config{})
	s := spareOf("a", "fn", "n")
	s.Identity.Function = "f.fn"
	w.Add(spareOf("a", "fn", "n"))
	if _, outcome := w.await(t.Context(), fn("1"), nil); outcome != Claimed {
		t.Fatal(outcome)
	}
	if w.Add(s) || len(w.discarded) > 0 {
		t.Errorf("in the middle of a claim: discarded %v", w.discarded)
	}
	w.Remove("a")
	once := w.Add(s)
	if once || w.Add(s) || len(w.discarded) != 1 || w.Registered("a") {
		t.Errorf("of another provider's claim: discarded %v", w.discarded)
	}
}

// The spares of a node that is lost take no assignment: one claim finds out, and those after it go elsewhere while they can.
func TestClaim_ShunsALostNode(t *testing.T) {
	now := time.Unix(1e9, 0)
	w := newWorld(t, Config{Now: func() time.Time { return now }})
	w.assign = func(s Spare, _ *function.Function) error {
		if s.Node == "lost" {
			return errors.New("no answer")
		}
		return nil
	}
	for _, id := range []string{"a", "b", "c"} { // chosen first, by their names
		w.Add(spareOf(id, "fn", "lost"))
	}
	for _, id := range []string{"x", "y"} {
		w.Add(spareOf(id, "fn", "n"))
	}
	claim := func(id string, wantErr bool, discarded ...string) {
		t.Helper()
		if err := w.Claim(t.Context(), fn(id)); (err != nil) != wantErr {
			t.Errorf("claim %s: %v", id, err)
		}
		if !slices.Equal(w.discarded, discarded) {
			t.Errorf("claim %s: discarded %v, want %v", id, w.discarded, discarded)
		}
	}
	claim("1", false, "a")
	claim("2", false, "a")
	claim("3", true, "a", "b", "c") // none but theirs are left
	w.assign = nil
	w.Add(spareOf("d", "fn", "lost"))
	w.Add(spareOf("z", "fn", "n"))
	now = now.Add(shunTime)
	claim("4", false, "a", "b", "c")
	if _, there := w.adopted["d"]; !there {
		t.Errorf("adopted %v: the node is shunned still", w.adopted)
	}
}

// A node that does not answer in time costs a claim one spare, and those that a claim is to avoid cost it none.
func TestClaim_AvoidsNodes(t *testing.T) {
	w := newWorld(t, Config{})
	w.assign = func(s Spare, _ *function.Function) error {
		if s.Node == "silent" {
			return fmt.Errorf("post: %w", context.DeadlineExceeded)
		}
		return nil
	}
	w.Add(spareOf("a", "fn", "silent"))
	w.Add(spareOf("b", "fn", "silent"))
	if err := w.Claim(t.Context(), fn("1")); !errors.Is(err, context.DeadlineExceeded) || !slices.Equal(w.discarded, []string{"a"}) {
		t.Errorf("%v; discarded %v", err, w.discarded)
	}
	if got := w.Shunned(); !slices.Equal(got, []string{"silent"}) {
		t.Errorf("shunned %v", got)
	}
	if err := w.Claim(t.Context(), fn("2"), "other", "silent"); !errors.Is(err, ErrNoSpare) || !w.Registered("b") {
		t.Errorf("a claim that is to avoid them: %v", err)
	}
	w.Shun("told")
	w.Add(spareOf("c", "fn", "told"))
	w.Add(spareOf("d", "fn", "n"))
	if err := w.Claim(t.Context(), fn("3")); err != nil || w.Registered("d") {
		t.Errorf("%v; adopted %v, and the other node was not told of", err, w.adopted)
	}
}

// A spare that the keeper takes away is claimed by nobody, and one that was claimed is not taken away.
func TestRetire_OrClaim(t *testing.T) {
	for range 200 {
		w := newWorld(t, Config{})
		w.Add(spareOf("a", "fn", "n"))
		var group sync.WaitGroup
		var retired bool
		var claimed error
		group.Go(func() { retired = w.Retire("a") })
		group.Go(func() { claimed = w.Claim(t.Context(), fn("f")) })
		group.Wait()
		if retired == (claimed == nil) {
			t.Fatalf("retired: %t, claim: %v", retired, claimed)
		}
	}
}

func TestClaim_StepFails(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		spares    []string
		assign    map[string]bool // those that fail
		adopt     map[string]bool
		err       error
		adopted   []string
		discarded []string
		outcome   Outcome
	}{
		"first cannot be assigned, second is taken": {
			spares: []string{"a", "b"}, assign: map[string]bool{"a": true}, adopted: []string{"b"}, discarded: []string{"a"}, outcome: Claimed,
		},
		"first cannot be adopted, second is taken": {
			spares: []string{"a", "b"}, adopt: map[string]bool{"a": true}, adopted: []string{"a", "b"}, discarded: []string{"a"}, outcome: Claimed,
		},
		"no second": {
			spares: []string{"a"}, assign: map[string]bool{"a": true}, err: broken, discarded: []string{"a"}, outcome: Failed,
		},
		"not a third": {
			spares: []string{"a", "b", "c"}, assign: map[string]bool{"a": true, "b": true, "c": true},
			err: broken, discarded: []string{"a", "b"}, outcome: Failed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{})
			for _, id := range test.spares {
				w.Add(spareOf(id, "fn", "n"))
			}
			fail := func(which map[string]bool) func(Spare, *function.Function) error {
				return func(s Spare, _ *function.Function) error {
					if which[s.ID] {
						return broken
					}
					return nil
				}
			}
			w.assign, w.adopt = fail(test.assign), fail(test.adopt)
			if err := w.Claim(t.Context(), fn("f")); !errors.Is(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			var adopted []string
			for id := range w.adopted {
				adopted = append(adopted, id)
			}
			slices.Sort(adopted)
			if !slices.Equal(adopted, test.adopted) || !slices.Equal(w.discarded, test.discarded) {
				t.Errorf("adopted %v, discarded %v", adopted, w.discarded)
			}
			if !slices.Equal(w.outcomes, []Outcome{test.outcome}) {
				t.Errorf("outcomes %v", w.outcomes)
			}
			for _, id := range test.discarded { // what is given up does not come back by registering
				if w.Add(spareOf(id, "fn", "n")) || w.Registered(id) {
					t.Errorf("spare %s may be claimed again", id)
				}
			}
		})
	}
}

// What is wrong with a function is no reason to give spares up.
func TestClaim_NotAssignable(t *testing.T) {
	w := newWorld(t, Config{})
	w.Add(spareOf("a", "fn", "n"))
	w.assign = func(Spare, *function.Function) error { return fmt.Errorf("%w: no such secret", ErrNotAssignable) }
	if err := w.Claim(t.Context(), fn("f")); !errors.Is(err, ErrNotAssignable) {
		t.Errorf("error %v", err)
	}
	if !w.Registered("a") || len(w.discarded) > 0 || !slices.Equal(w.outcomes, []Outcome{Refused}) {
		t.Errorf("registered: %t, discarded %v, outcomes %v", w.Registered("a"), w.discarded, w.outcomes)
	}
}

func TestClaim_CallerLeaves(t *testing.T) {
	w := newWorld(t, Config{})
	w.Add(spareOf("a", "fn", "n"))
	w.Add(spareOf("b", "fn", "n"))
	ctx, cancel := context.WithCancel(t.Context())
	w.assign = func(Spare, *function.Function) error { cancel(); return nil }
	if err := w.Claim(ctx, fn("f")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if len(w.discarded) != 1 || len(w.assigned) != 1 {
		t.Errorf("discarded %v, assigned %v: the second is nobody's business then", w.discarded, w.assigned)
	}
}

// A step that hangs is cut off, and the spare given up.
func TestClaim_StepHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.Add(spareOf("a", "fn", "n"))
		w.cfg.Assign = func(ctx context.Context, _ Spare, _ *function.Function) error {
			<-ctx.Done()
			return ctx.Err()
		}
		if err := w.Claim(t.Context(), fn("f")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if !slices.Equal(w.discarded, []string{"a"}) {
			t.Errorf("discarded %v", w.discarded)
		}
	})
}

func TestAdd_Again(t *testing.T) {
	w := newWorld(t, Config{})
	s := spareOf("a", "fn", "n")
	if !w.Add(s) || !w.Registered("a") {
		t.Error("a spare may not be claimed")
	}
	s.IP = netip.MustParseAddr("10.0.0.2") // its container was started again, and has another key too
	if !w.Add(s) || w.free["a"].IP != s.IP {
		t.Error("the spare is not known as what it registered as last")
	}
	if !w.Retire("a") || w.Add(s) || w.Registered("a") {
		t.Error("a spare that was taken away may be claimed")
	}
	w.Remove("a")
	if !w.Add(s) {
		t.Error("what was removed is not forgotten")
	}
}

func TestChoose(t *testing.T) {
	a, b := spareOf("a", "fn", "one"), spareOf("b", "fn", "two")
	young := a
	young.since = time.Unix(1, 0)
	for name, test := range map[string]struct {
		free    []Spare
		starts  map[string]int
		had     bool
		want    string
		outcome Outcome
	}{
		"none":                       {outcome: None},
		"one":                        {free: []Spare{a}, want: "a", outcome: Claimed},
		"the last, for one that had": {free: []Spare{a}, had: true, outcome: Reserved},
		"two, for one that had":      {free: []Spare{a, b}, had: true, want: "a", outcome: Claimed},
		"the oldest":                 {free: []Spare{young, b}, want: "b", outcome: Claimed},
		"the idler node":             {free: []Spare{a, b}, starts: map[string]int{"one": 2, "two": 1}, want: "b", outcome: Claimed},
		"one node full":              {free: []Spare{a, b}, starts: map[string]int{"one": 4, "two": 3}, want: "b", outcome: Claimed},
		"all full":                   {free: []Spare{a, b}, starts: map[string]int{"one": 4, "two": 4}, outcome: Busy},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				s, outcome := choose(slices.Clone(test.free), test.starts, 4, test.had)
				if s.ID != test.want || outcome != test.outcome {
					t.Errorf("%q, %s", s.ID, outcome)
				}
			}
		})
	}
}

// One function that comes up again and again leaves the last spare to others, until it has been content for a while. A node
// that starts as many as it may gets another when one of them serves, or has had its time.
func TestClaim_Shares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{NodeClaims: 2})
		claim := func(id string, want error) {
			t.Helper()
			if err := w.Claim(t.Context(), fn(id)); !errors.Is(err, want) {
				t.Errorf("claim for %s: %v, want %v", id, err, want)
			}
		}
		w.Add(spareOf("1", "fn", "n"))
		w.Add(spareOf("other", "elsewhere", "n"))
		claim("greedy", nil)
		w.Add(spareOf("2", "fn", "n"))
		claim("greedy", ErrNoSpare)
		claim("modest", nil)
		w.Add(spareOf("3", "fn", "n"))
		claim("third", ErrNoSpare) // the node starts two
		free, starting := w.Counts()
		if want := map[string]int{"fn": 1, "elsewhere": 1}; !maps.Equal(free, want) || !maps.Equal(starting, map[string]int{"n": 2}) {
			t.Errorf("free %v, starting %v", free, starting)
		}
		w.Serves("1")
		if _, starting := w.Counts(); starting["n"] != 1 {
			t.Errorf("starting %v when one serves", starting)
		}
		claim("third", nil)
		time.Sleep(lately) // of the bubble's clock
		w.Add(spareOf("4", "fn", "n"))
		claim("greedy", nil)
		if want := []Outcome{Claimed, Reserved, Claimed, Busy, Claimed, Claimed}; !slices.Equal(w.outcomes, want) {
			t.Errorf("outcomes %v, want %v", w.outcomes, want)
		}
	})
}

// A claim waits a moment for a busy node, and no longer.
func TestClaim_WaitsForABusyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{NodeClaims: 1})
		for _, id := range []string{"1", "2", "3"} {
			w.Add(spareOf(id, "fn", "n"))
		}
		if err := w.Claim(t.Context(), fn("first")); err != nil {
			t.Fatal(err)
		}
		second := make(chan error, 1)
		go func() { second <- w.Claim(t.Context(), fn("second")) }()
		synctest.Wait()
		select {
		case err := <-second:
			t.Fatalf("the second did not wait: %v", err)
		default:
		}
		w.Serves(firstUsed(w))
		if err := <-second; err != nil {
			t.Errorf("the second: %v", err)
		}
		began := time.Now()
		if err := w.Claim(t.Context(), fn("third")); !errors.Is(err, ErrNoSpare) || time.Since(began) != busyWait {
			t.Errorf("the third, after %v: %v", time.Since(began), err)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if err := w.Claim(gone, fn("fourth")); !errors.Is(err, ErrNoSpare) {
			t.Errorf("one whose caller has left: %v", err)
		}
		if want := []Outcome{Claimed, Claimed, Busy, Busy}; !slices.Equal(w.outcomes, want) {
			t.Errorf("outcomes %v, want %v", w.outcomes, want)
		}
	})
}

// However many want a spare of a busy node, not all of them wait: each that does holds up other work.
func TestClaim_FewWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{NodeClaims: 1})
		for i := range mostWait + 4 {
			w.Add(spareOf(fmt.Sprint(i), "fn", "n"))
		}
		if err := w.Claim(t.Context(), fn("first")); err != nil {
			t.Fatal(err)
		}
		var waits sync.WaitGroup
		for i := range mostWait {
			waits.Go(func() {
				if err := w.Claim(t.Context(), fn(fmt.Sprint("waits", i))); !errors.Is(err, ErrNoSpare) {
					t.Errorf("waits%d: %v", i, err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		if err := w.Claim(t.Context(), fn("late")); !errors.Is(err, ErrNoSpare) || time.Since(began) > 0 {
			t.Errorf("one too many, after %v: %v", time.Since(began), err)
		}
		waits.Wait()
	})
}

// firstUsed is a spare that was claimed.
func firstUsed(w *world) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.adopted {
		return id
	}
	return ""
}
