package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

const annotationPark = "com.dragonchain.park"

// awaitParked waits until the function's log tells so many times that it was parked.
func (f function) awaitParked(t *testing.T, times int) {
	t.Helper()
	eventually(t, fmt.Sprintf("parked %d times", times), func() (bool, string) {
		n, lines := 0, readLogs(t, f, -1, nil)
		for _, line := range lines {
			if has("parked")(line) {
				n++
			}
		}
		return n >= times, fmt.Sprint(lines)
	})
}

// TestPark_Lambda has the process ended while the replica stays, and another one start with the next call.
func TestPark_Lambda(t *testing.T) {
	t.Parallel()
	f := deploy(t, annotate(lambdaImage(), annotationPark, "1s"))
	first := decode[greeting](t, f.call(t, `{"name":"Ada"}`).is(t, "event", http.StatusOK))
	f.awaitParked(t, 1)
	f.awaitReplicas(t, 1)
	second := decode[greeting](t, f.call(t, `{"name":"Bob"}`).is(t, "event after parking", http.StatusOK))
	if second.Greeting != "Hello, Bob" || second.PID == first.PID {
		t.Errorf("answers %+v and %+v: the process should have been another", first, second)
	}
	f.awaitParked(t, 2)
}

// TestPark_HTTP does the same with a server, and sees its memory go.
func TestPark_HTTP(t *testing.T) {
	t.Parallel()
	f := deploy(t, annotate(watchedProbe(t), annotationPark, "1s"))
	f.get(t, "/").is(t, "call", http.StatusOK)
	f.awaitParked(t, 1)
	f.awaitReplicas(t, 1)
	parked := f.usage(t)
	f.get(t, "/").is(t, "call after parking", http.StatusOK)
	if parked == nil || parked.TotalMemoryBytes == 0 {
		t.Errorf("a parked function uses %+v", parked)
	}
}
