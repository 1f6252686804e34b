package scaler

import (
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestDecide(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	goes := function.Scale{Min: 1, Max: 20, Zero: true, ZeroAfter: 10 * time.Minute}
	stays := function.Scale{Min: 1, Max: 20, ZeroAfter: 10 * time.Minute}
	for _, tt := range []struct {
		name     string
		now      time.Time
		policy   function.Scale
		replicas int
		demand   demand
		since    time.Time
		want     decision
	}{
		{"never called, up too short", at(9 * time.Minute), goes, 1, demand{}, begin, keep},
		{"never called, up long enough", at(10 * time.Minute), goes, 1, demand{}, begin, zero},
		{"called lately", at(time.Hour), goes, 1, demand{last: at(51 * time.Minute)}, begin, keep},
		{"last called long ago", at(time.Hour), goes, 1, demand{last: at(50 * time.Minute)}, begin, zero},
		{"came up after its last call", at(time.Hour), goes, 1, demand{last: at(time.Minute)}, at(51 * time.Minute), keep},
		{"a call of an hour is under way", at(time.Hour), goes, 1, demand{calls: 1, last: begin}, begin, keep},
		{"several replicas go at once", at(time.Hour), goes, 5, demand{}, begin, zero},
		{"not asked to go", at(1000 * time.Hour), stays, 1, demand{}, begin, keep},
		{"at zero, nobody calls", at(time.Hour), goes, 0, demand{}, begin, keep},
		{"at zero, somebody waits", at(time.Hour), goes, 0, demand{calls: 1}, begin, wake},
		{"sent to zero by hand, somebody waits", at(time.Hour), stays, 0, demand{calls: 3}, begin, wake},
		{"the clock went back", begin, goes, 1, demand{last: at(time.Hour)}, at(time.Hour), keep},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := decide(tt.now, tt.policy, tt.replicas, tt.demand, tt.since); got != tt.want {
				t.Errorf("decision %d, want %d", got, tt.want)
			}
		})
	}
}
