package e2e

import (
	"testing"
	"time"
)

// pollEvery is how often the cluster is asked where it gives no signal.
const pollEvery = 100 * time.Millisecond

// eventually waits until state says that it is so. The state seen last tells the reader of a failure what there was instead.
func eventually(t *testing.T, limit time.Duration, what string, state func() (ok bool, seen string)) {
	t.Helper()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	deadline := time.After(limit)
	for {
		ok, seen := state()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not so after %s; last seen: %s", what, limit, seen)
		case <-t.Context().Done():
			t.Fatalf("%s: test ended; last seen: %s", what, seen)
		}
	}
}
