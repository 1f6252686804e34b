package proxy

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// headerColdStart with the value 1 in a request asks where the time went, if the call waits for its function to start. The
// answer then has it too, with the kind of the start, and one more for each phase and for their sum, in seconds.
const (
	headerColdStart        = "X-Cold-Start"
	headerColdStartSeconds = "X-Cold-Start-Seconds"
)

// coldStart is where the time of a call went that waited for its function to start.
type coldStart struct {
	kind  function.StartKind
	times []function.PhaseTime
}

// splitWait finds out where the time of a call that waited has gone, once the endpoint has answered. If its wait was not for
// the endpoint to start it was no cold start.
func (c *call) splitWait(now time.Time) {
	if c.p.cfg.ColdStart == nil || c.phases[phaseWake] == 0 {
		return
	}
	start := c.p.cfg.ColdStart(c.f.Ref, c.slot.endpoint.Replica)
	times := start.Split(c.came, now)
	if !slices.ContainsFunc(times[:len(times)-1], func(t function.PhaseTime) bool { return t.Time > 0 }) {
		return
	}
	c.cold = &coldStart{start.Kind(), times}
	a := c.at
	a.mu.Lock()
	first := !c.slot.startTold
	c.slot.startTold = true
	a.mu.Unlock()
	if first {
		c.p.coldStarts.observe(c.cold)
	}
}

// each calls add with every header that tells of the cold start. It may be nil.
func (s *coldStart) each(add func(name, value string)) {
	if s == nil {
		return
	}
	var sum time.Duration
	for _, t := range s.times {
		sum += t.Time
		add(phaseHeaders[t.Phase], seconds(t.Time))
	}
	add(headerColdStart, string(s.kind))
	add(headerColdStartSeconds, seconds(sum))
}

// seconds is a duration as in X-Duration-Seconds.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) }

// phaseHeaders are the names of the headers for the phases.
var phaseHeaders = map[function.Phase]string{
	function.PhaseRecord:    "X-Cold-Start-Record-Seconds",
	function.PhaseSchedule:  "X-Cold-Start-Schedule-Seconds",
	function.PhaseClaim:     "X-Cold-Start-Claim-Seconds",
	function.PhaseAssign:    "X-Cold-Start-Assign-Seconds",
	function.PhaseContainer: "X-Cold-Start-Container-Seconds",
	function.PhaseProcess:   "X-Cold-Start-Process-Seconds",
	function.PhaseFirstByte: "X-Cold-Start-First-Byte-Seconds",
}

// startSeries names one histogram of cold starts.
type startSeries struct {
	kind  function.StartKind
	phase function.Phase
}

// coldStarts counts the starts of all functions' replicas that calls waited for: each once, by the call that came first.
type coldStarts struct {
	mu      sync.Mutex
	seconds map[startSeries]histogram
}

func (s *coldStarts) observe(start *coldStart) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seconds == nil {
		s.seconds = make(map[startSeries]histogram)
	}
	for _, t := range start.times {
		series := startSeries{start.kind, t.Phase}
		h := s.seconds[series]
		h.observe(phaseBounds[:], t.Time)
		s.seconds[series] = h
	}
}

func (s *coldStarts) snapshot() map[startSeries]histogram {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[startSeries]histogram, len(s.seconds))
	for series, h := range s.seconds {
		all[series] = h.clone()
	}
	return all
}
