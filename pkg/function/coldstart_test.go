package function_test

import (
	"slices"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestColdStart_Split(t *testing.T) {
	const ms = time.Millisecond
	zero := time.Now()
	type (
		reached = map[function.Phase]time.Duration
		times   = []function.PhaseTime
	)
	tests := map[string]struct {
		reached         reached
		came, firstByte time.Duration
		kind            function.StartKind
		want            times
	}{
		"a pod that the call has had made": {
			reached{"record": 10 * ms, "schedule": 50 * ms, "container": 400 * ms, "process": 500 * ms}, 0, 505 * ms, "pod",
			times{{"record", 10 * ms}, {"schedule", 40 * ms}, {"container", 350 * ms}, {"process", 100 * ms}, {"first_byte", 5 * ms}},
		},
		"a claim": {
			reached{"record": -time.Hour, "schedule": -time.Hour, "claim": 1 * ms, "assign": 21 * ms, "container": 121 * ms, "process": 131 * ms}, 0, 135 * ms, "claim",
			times{{"claim", 1 * ms}, {"assign", 20 * ms}, {"container", 100 * ms}, {"process", 10 * ms}, {"first_byte", 4 * ms}},
		},
		"a call that came late": {
			reached{"record": 10 * ms, "schedule": 50 * ms, "container": 400 * ms, "process": 500 * ms}, 300 * ms, 510 * ms, "pod",
			times{{"record", 0}, {"schedule", 0}, {"container", 100 * ms}, {"process", 100 * ms}, {"first_byte", 10 * ms}},
		},
		"a call of a replica that had long been there": {
			reached{"record": -3 * ms, "process": -1 * ms}, 0, 7 * ms, "pod",
			times{{"record", 0}, {"process", 0}, {"first_byte", 7 * ms}},
		},
		"an end that was not seen": {
			reached{"record": 10 * ms, "process": 500 * ms}, 0, 505 * ms, "pod",
			times{{"record", 10 * ms}, {"process", 490 * ms}, {"first_byte", 5 * ms}},
		},
		"ends that were seen in another order": {
			reached{"record": 10 * ms, "schedule": 700 * ms, "container": 400 * ms, "process": 500 * ms}, 0, 800 * ms, "pod",
			times{{"record", 10 * ms}, {"schedule", 690 * ms}, {"container", 0}, {"process", 0}, {"first_byte", 100 * ms}},
		},
		"an end that was seen after the answer": {
			reached{"record": 10 * ms, "process": 900 * ms}, 0, 500 * ms, "pod",
			times{{"record", 10 * ms}, {"process", 490 * ms}, {"first_byte", 0}},
		},
		"nothing known": {nil, 0, 9 * ms, "pod", times{{"first_byte", 9 * ms}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			at := map[function.Phase]time.Time{}
			for phase, d := range tt.reached {
				at[phase] = zero.Add(d)
			}
			s := function.NewColdStart(at)
			if got := s.Split(zero.Add(tt.came), zero.Add(tt.firstByte)); !slices.Equal(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
			if s.Kind() != tt.kind {
				t.Errorf("kind %s", s.Kind())
			}
		})
	}
}
