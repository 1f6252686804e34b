package proxy

import (
	"slices"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// stats counts what became of a function's calls. Its activity's mu guards it: a call ends under it anyway, so that counting
// needs no lock, no look-up by name and no allocation of its own.
type stats struct {
	// started counts calls that came, retried those that reached no endpoint and were tried again, rejected those that
	// found the queue full, and ejected endpoints.
	started, retried, rejected, ejected uint64
	// hits and misses count calls that found the endpoints known, and not.
	hits, misses uint64
	// codes are the statuses of calls that ended, in no order. There are few, so that looking through them is fastest.
	codes []codeStats
	// phases are the times that calls spent in each phase, of those that spent any there.
	phases [phases]histogram
}

// codeStats counts calls that ended with one status.
type codeStats struct {
	code  int
	count uint64
	// seconds is how long they took, from when they came but without their waits. Calls that were never given to an
	// endpoint are not in it.
	seconds histogram
}

const (
	// maxCodes bounds the statuses that are told apart: a function may answer with any number, and each costs memory.
	maxCodes  = 32
	otherCode = 0
)

// The phases of a call: in the queue because all endpoints are full; waiting for an endpoint to be there; connecting; and
// from the connection to the headers of the answer.
const (
	phaseQueue = iota
	phaseWake
	phaseConnect
	phaseFunction
	phases
)

// histogram counts durations below the bounds that each use of it is given, and the rest in one bucket more. It takes no
// memory until the first.
type histogram struct {
	buckets []uint64
	sum     time.Duration
}

func (h *histogram) observe(bounds []time.Duration, d time.Duration) {
	if h.buckets == nil {
		h.buckets = make([]uint64, len(bounds)+1)
	}
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.buckets[i]++
	h.sum += d
}

func (h *histogram) clone() histogram {
	return histogram{buckets: slices.Clone(h.buckets), sum: h.sum}
}

// countLocked counts a call that comes.
func (s *stats) countLocked(hit bool) {
	s.started++
	if hit {
		s.hits++
	} else {
		s.misses++
	}
}

// recordLocked counts a call that has ended.
func (s *stats) recordLocked(c *call, now time.Time) {
	code := s.codeLocked(c.status)
	code.count++
	for i, d := range c.phases {
		if d > 0 {
			s.phases[i].observe(phaseBounds[:], d)
		}
	}
	if c.placed.IsZero() {
		return
	}
	code.seconds.observe(gatewayBounds[:], now.Sub(c.came)-c.phases[phaseQueue]-c.phases[phaseWake])
}

func (s *stats) codeLocked(code int) *codeStats {
	for i := range s.codes {
		if s.codes[i].code == code {
			return &s.codes[i]
		}
	}
	if len(s.codes) >= maxCodes && code != otherCode {
		return s.codeLocked(otherCode)
	}
	s.codes = append(s.codes, codeStats{code: code})
	return &s.codes[len(s.codes)-1]
}

func (s *stats) clone() stats {
	copied := *s
	copied.codes = slices.Clone(s.codes)
	for i := range copied.codes {
		copied.codes[i].seconds = copied.codes[i].seconds.clone()
	}
	for i := range copied.phases {
		copied.phases[i] = copied.phases[i].clone()
	}
	return copied
}

// Invocations is how many calls of a function have ended since it was deployed, or since this process began.
func (p *Proxy) Invocations(ref function.Ref) uint64 {
	a := p.activities.find(ref)
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var n uint64
	for _, code := range a.stats.codes {
		n += code.count
	}
	return n
}
