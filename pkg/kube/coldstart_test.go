package kube

import (
	"slices"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// phasesOf are those of which the end was seen, in their order.
func phasesOf(s function.ColdStart) (seen []function.Phase) {
	for _, t := range s.Split(time.Time{}, time.Now().Add(time.Hour)) {
		seen = append(seen, t.Phase)
	}
	return seen
}

// TestColdStart_ByWatchAndPush goes to zero and back, since what was seen of one start is not to count for the next.
func TestColdStart_ByWatchAndPush(t *testing.T) {
	w := newWorld(t, nil)
	w.create(cow())
	for range 2 {
		began := time.Now()
		if err := w.cluster.Scale(t.Context(), cowRef, 1); err != nil {
			t.Fatal(err)
		}
		w.pod("cow", "cow-1", "10.0.0.1", false)
		w.knows("cow-1")
		fn, _ := w.cluster.Lookup(cowRef)
		came := time.Now()
		w.cluster.MarkReady(cowRef, fn.ID, "cow-1", "10.0.0.1", function.Startup{Container: came.Add(-20 * time.Millisecond), Process: came.Add(-time.Millisecond)})
		s := w.cluster.ColdStart(cowRef, "cow-1")
		if got, want := phasesOf(s), []function.Phase{"record", "container", "process", "first_byte"}; !slices.Equal(got, want) {
			t.Errorf("phases %v, want %v", got, want)
		}
		for _, spent := range s.Split(began, time.Now().Add(time.Hour)) {
			if spent.Phase == function.PhaseFirstByte && spent.Time < time.Hour-time.Minute {
				t.Errorf("the first byte's time begins with an earlier start: %v", spent.Time)
			}
			if spent.Phase != function.PhaseFirstByte && spent.Time > time.Minute {
				t.Errorf("phase %s took %v", spent.Phase, spent.Time)
			}
		}
		if err := w.cluster.Scale(t.Context(), cowRef, 0); err != nil {
			t.Fatal(err)
		}
		w.eventually("the pod is gone", func() string {
			w.cluster.starts.mu.Lock()
			defer w.cluster.starts.mu.Unlock()
			if n := len(w.cluster.starts.reached); n > 0 || len(w.cluster.table.podsOf(cowRef)) > 0 {
				return "something is kept"
			}
			return ""
		})
	}
}

// TestStarts_Claimed shows a spare that has been running all the time: only what its watchdog says of the function counts.
func TestStarts_Claimed(t *testing.T) {
	s := starts{reached: map[function.Ref]map[string]map[function.Phase]time.Time{}}
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	s.mark(cowRef, "", function.PhaseRecord, at(-100))
	s.mark(cowRef, "spare-1", function.PhaseClaim, at(1))
	s.observe(cowRef, "spare-1", &pod{node: "n", running: at(-5000), ready: true}, at(5))
	s.mark(cowRef, "spare-1", function.PhaseAssign, at(10))
	s.pushed(cowRef, "spare-1", function.Startup{Container: at(110)}, at(120))
	got := s.of(cowRef, "spare-1").Split(zero, at(125))
	want := []function.PhaseTime{
		{Phase: "claim", Time: time.Millisecond}, {Phase: "assign", Time: 9 * time.Millisecond}, {Phase: "container", Time: 100 * time.Millisecond},
		{Phase: "process", Time: 10 * time.Millisecond}, {Phase: "first_byte", Time: 5 * time.Millisecond},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	s.forget(cowRef, "spare-1")
	s.forget(cowRef, "")
	if len(s.reached) != 0 {
		t.Errorf("kept %v", s.reached)
	}
}
