package e2e

import (
	"testing"
	"time"
)

// How often the cluster is asked where it gives no signal: seldom, where it takes long, since the answer costs the cluster
// the time that is measured.
const (
	pollFirst = 50 * time.Millisecond
	pollLast  = time.Second
)

// settleLimit is how long the cluster may take to do what was asked for: seconds where nothing else runs, far more where two
// processors start dozens of pods.
const settleLimit = 2 * time.Minute

// eventually waits until state says that it is so, for settleLimit at most. The state seen last tells the reader of a failure
// what there was instead.
func eventually(t *testing.T, what string, state func() (ok bool, seen string)) {
	t.Helper()
	deadline := time.After(settleLimit)
	for pause := pollFirst; ; pause = min(2*pause, pollLast) {
		ok, seen := state()
		if ok {
			return
		}
		select {
		case <-time.After(pause):
		case <-deadline:
			t.Fatalf("%s: not so after %s; last seen: %s", what, settleLimit, seen)
		case <-t.Context().Done():
			t.Fatalf("%s: test ended; last seen: %s", what, seen)
		}
	}
}
