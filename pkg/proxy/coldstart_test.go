package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// TestColdStart_IsToldToWhoAsks has several calls wait for a replica. Each is told where its own time went, and the replica's
// start is counted once.
func TestColdStart_IsToldToWhoAsks(t *testing.T) {
	reached := make(map[function.Phase]time.Time)
	w, metrics := newMeteredWorld(t, func(c *Config) {
		c.ColdStart = func(_ function.Ref, replica string) function.ColdStart {
			if replica != "echo-0" {
				t.Errorf("asked of replica %q", replica)
			}
			return function.NewColdStart(reached)
		}
	})
	w.deploy(echo)
	began := time.Now()
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(func() {
			answer, _ := w.request("GET", "/function/echo", "", "X-Cold-Start", "1")
			h := answer.Header
			if answer.StatusCode != 200 || h.Get("X-Cold-Start") != "pod" {
				t.Errorf("status %d, header %v", answer.StatusCode, h)
			}
			var sum float64
			for _, phase := range []string{"Record", "Schedule", "Container", "Process", "First-Byte"} {
				value := h.Get("X-Cold-Start-" + phase + "-Seconds")
				spent, err := strconv.ParseFloat(value, 64)
				if err != nil || spent < 0 || len(value)-strings.IndexByte(value, '.') != 7 {
					t.Errorf("%s took %q", phase, value)
				}
				sum += spent
			}
			all, err := strconv.ParseFloat(h.Get("X-Cold-Start-Seconds"), 64)
			if err != nil || all <= 0 || all > time.Since(began).Seconds() || sum > all+1e-5 || sum < all-1e-5 {
				t.Errorf("%v in all, %v in the phases, of %v", all, sum, time.Since(began))
			}
		})
	}
	calls.Go(func() {
		if answer, _ := w.request("GET", "/function/echo", ""); answer.Header.Get("X-Cold-Start") != "" {
			t.Error("told to a caller who did not ask")
		}
	})
	w.await(func() bool { return w.proxy.Load(echo).Waiting == 4 })
	for _, phase := range []function.Phase{function.PhaseRecord, function.PhaseSchedule, function.PhaseContainer, function.PhaseProcess} {
		reached[phase] = time.Now()
	}
	w.setEndpoints(echo, w.replica("echo-0", hello))
	calls.Wait()

	if answer, _ := w.request("GET", "/function/echo", "", "X-Cold-Start", "1"); answer.Header.Get("X-Cold-Start") != "" {
		t.Error("a call that did not wait was told of a cold start")
	}
	for _, phase := range []string{"record", "schedule", "container", "process", "first_byte"} {
		m := series(t, metrics, "dc_proxy_cold_start_seconds", "pod", phase)
		if m == nil || m.Histogram.GetSampleCount() != 1 {
			t.Errorf("phase %s: %v", phase, m)
		}
	}
}

// TestColdStart_IsNotEveryWait has a call wait for a replica that had been up for long, and only refused connections for a
// moment.
func TestColdStart_IsNotEveryWait(t *testing.T) {
	up := time.Now().Add(-time.Hour)
	w, metrics := newMeteredWorld(t, func(c *Config) {
		c.ColdStart = func(function.Ref, string) function.ColdStart {
			return function.NewColdStart(map[function.Phase]time.Time{function.PhaseRecord: up, function.PhaseProcess: up})
		}
	})
	w.deploy(echo)
	answered := make(chan http.Header)
	go func() {
		answer, _ := w.request("GET", "/function/echo", "", "X-Cold-Start", "1")
		answered <- answer.Header
	}()
	w.awaitWake()
	w.setEndpoints(echo, w.replica("echo-0", hello))
	if h := <-answered; h.Get("X-Cold-Start") != "" {
		t.Errorf("headers %v", h)
	}
	if m := series(t, metrics, "dc_proxy_cold_start_seconds", "pod", "first_byte"); m != nil {
		t.Errorf("counted: %v", m)
	}
}
