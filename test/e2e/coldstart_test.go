package e2e

import (
	"net/http"
	"strconv"
	"testing"
)

// TestColdStart_ToldToWhoAsks wakes functions with and without the watchdog, which tells of its start.
func TestColdStart_ToldToWhoAsks(t *testing.T) {
	t.Parallel()
	namespace := newPool(t, 0)
	for name, d := range map[string]deployment{"behind the watchdog": parrot(), "own entrypoint": probe(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d.Namespace = namespace
			f := deploy(t, d)
			f.awaitReplicas(t, 1)
			ask := func() http.Header {
				q := request{method: http.MethodGet, path: f.path("/"), auth: nobody, header: http.Header{"X-Cold-Start": {"1"}}}
				return gateway.ask(t, q).is(t, "call", http.StatusOK).header
			}
			if h := ask(); h.Get("X-Cold-Start") != "" {
				t.Errorf("a call of a hot function is told of a cold start: %v", h)
			}
			f.scale(t, 0)
			f.awaitZero(t)
			h := ask()
			if h.Get("X-Cold-Start") != "pod" {
				t.Fatalf("not told of a cold start: %v", h)
			}
			seconds := func(name string) float64 {
				value, err := strconv.ParseFloat(h.Get(name), 64)
				if err != nil || value < 0 {
					t.Errorf("%s is %q", name, h.Get(name))
				}
				return value
			}
			var sum float64
			for _, phase := range []string{"Record", "Schedule", "Container", "Process", "First-Byte"} {
				// The watch may be behind a watchdog that is quick.
				if name := "X-Cold-Start-" + phase + "-Seconds"; h.Get(name) != "" || phase != "Schedule" && phase != "Container" {
					sum += seconds(name)
				}
			}
			if all := seconds("X-Cold-Start-Seconds"); all <= 0 || sum > all+1e-4 || sum < all-1e-4 {
				t.Errorf("%v in all, %v in the phases: %v", all, sum, h)
			}
			t.Log(h)
		})
	}
}
