package scaler

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestSteady(t *testing.T) {
	claimed := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return claimed.Add(time.Duration(seconds) * time.Second) }
	zero := function.Policy{Scale: function.Scale{Zero: true}}
	narrow := function.Policy{Scale: function.Scale{Zero: true}, MaxInFlight: 2}
	for name, test := range map[string]struct {
		policy function.Policy
		now    time.Time
		demand demand
		want   bool
	}{
		"just claimed, the call that woke it":         {zero, at(0), demand{calls: 1, last: at(0)}, false},
		"a short call, idle since":                    {zero, at(60), demand{calls: 0, last: at(1)}, false},
		"a call that takes long":                      {zero, at(10), demand{calls: 1, last: at(0)}, true},
		"a call that takes nearly long":               {zero, at(9), demand{calls: 1, last: at(0)}, false},
		"calls again and again":                       {zero, at(12), demand{calls: 0, last: at(11)}, true},
		"calls that ended in time":                    {zero, at(300), demand{calls: 0, last: at(9)}, false},
		"as many at a time as one should have":        {zero, at(1), demand{calls: 10, last: at(0)}, false},
		"more":                                        {zero, at(1), demand{calls: 11, last: at(0)}, true},
		"as many as its label allows":                 {narrow, at(1), demand{calls: 2, last: at(0)}, false},
		"more than its label allows":                  {narrow, at(1), demand{calls: 3, last: at(0)}, true},
		"never goes to zero by itself, just claimed":  {function.Policy{}, at(9), demand{calls: 0, last: at(1)}, false},
		"never goes to zero by itself, a while later": {function.Policy{}, at(10), demand{calls: 0, last: at(1)}, true},
		"no call seen, as after a restart":            {zero, at(20), demand{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := steady(test.now, &test.policy, claimed, test.demand); got != test.want {
				t.Errorf("%t", got)
			}
		})
	}
}

// Functions that are to stay though nobody calls them get replicas of their own when no others wake, a few at a time; those that are
// called get theirs at once.
func TestSettleClaimed_AtLeisure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var claimed []Claimed
		add := func(name string, ago time.Duration, calls int) {
			ref := function.Ref{Name: name, Namespace: "fn"}
			w.deploy(ref, 1, function.Scale{})
			w.last[ref], w.calls[ref] = time.Now().Add(-ago), calls
			claimed = append(claimed, Claimed{Ref: ref, ID: "1", Since: time.Now().Add(-ago)})
		}
		var moved []string
		s := w.scaler(t)
		defer s.Close()
		s.cfg.Claimed = func() []Claimed { return slices.Clone(claimed) }
		s.cfg.Steady = func(ref function.Ref, _ string) {
			moved = append(moved, ref.Name)
			claimed = slices.DeleteFunc(claimed, func(c Claimed) bool { return c.Ref == ref })
		}
		settle := func(want ...string) {
			t.Helper()
			moved = nil
			s.settleClaimed()
			if !slices.Equal(moved, want) {
				t.Errorf("moved %v, want %v", moved, want)
			}
		}
		for _, name := range []string{"a", "b", "c"} {
			add(name, steadyAfter, 0)
		}
		add("called", steadyAfter, 1)
		add("old", moveLater, 0)
		add("wakes", 0, 0)
		settle("called", "old")
		settle()
		wait(wakesQuiet)
		settle("a", "b")
		settle("c")
		wait(steadyAfter)
		settle("wakes")
	})
}
