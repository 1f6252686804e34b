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
			// The watch may be behind a watchdog that is quick.
			tellsOfStart(t, h, []string{"Record", "Process", "First-Byte"}, []string{"Schedule", "Container"})
			t.Log(h)
		})
	}
}

// tellsOfStart checks that an answer's phases are those of a start, and as long together as it was. Some may be missing.
func tellsOfStart(t *testing.T, h http.Header, phases, perhaps []string) {
	t.Helper()
	seconds := func(name string) float64 {
		value, err := strconv.ParseFloat(h.Get(name), 64)
		if err != nil || value < 0 {
			t.Errorf("%s is %q", name, h.Get(name))
		}
		return value
	}
	var sum float64
	for i, phase := range append(phases, perhaps...) {
		if name := "X-Cold-Start-" + phase + "-Seconds"; h.Get(name) != "" || i < len(phases) {
			sum += seconds(name)
		}
	}
	if all := seconds("X-Cold-Start-Seconds"); all <= 0 || sum > all+1e-4 || sum < all-1e-4 {
		t.Errorf("%v in all, %v in the phases: %v", all, sum, h)
	}
}

// TestColdStart_OfAClaim is told of the steps of a claim, as the histograms are.
func TestColdStart_OfAClaim(t *testing.T) {
	t.Parallel()
	d := parrot()
	d.Namespace = newPool(t, 1)
	h := deployAtZero(t, d).wakeByClaim(t, "first").header
	tellsOfStart(t, h, []string{"Claim", "Assign", "Process", "First-Byte"}, []string{"Record", "Container"})
	t.Log(h)
	metrics := scrape(t)
	for _, phase := range []string{"claim", "assign", "process", "first_byte"} {
		if n := series(t, metrics, "dc_proxy_cold_start_seconds_count", `kind="claim",phase="`+phase+`"`); n < 1 {
			t.Errorf("%v starts by a claim with the phase %s", n, phase)
		}
	}
}
