package proxy

import (
	"testing"
	"time"
)

func TestPick_TheBusiestOfAllGetsNothing(t *testing.T) {
	a := &activity{slots: []*slot{{inFlight: 3}, {inFlight: 1}, {inFlight: 1}}}
	got := map[*slot]int{}
	for range 1000 {
		got[a.pickLocked(nil, time.Now())]++
	}
	if got[a.slots[0]] != 0 || got[a.slots[1]] < 300 || got[a.slots[2]] < 300 {
		t.Errorf("picks %v", got)
	}
}

func TestPick_SpreadsEvenlyWhenAllAreIdle(t *testing.T) {
	a := &activity{slots: []*slot{{}, {}}}
	got := map[*slot]int{}
	for range 1000 {
		got[a.pickLocked(nil, time.Now())]++
	}
	if got[a.slots[0]] < 400 || got[a.slots[1]] < 400 {
		t.Errorf("picks %v", got)
	}
}

func TestPick_FindsTheOnePlaceThatIsFree(t *testing.T) {
	a := &activity{limit: 2}
	for range 50 {
		a.slots = append(a.slots, &slot{inFlight: 2})
	}
	a.slots[31].inFlight = 1
	refused := a.slots[:5]
	for range 100 {
		if got := a.pickLocked(refused, time.Now()); got != a.slots[31] {
			t.Fatalf("picked %v", got)
		}
	}
	if got := a.pickLocked(a.slots[31:32], time.Now()); got != nil {
		t.Errorf("picked %v, though all are full or refused", got)
	}
}
