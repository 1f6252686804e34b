package watchdog

import (
	"context"
	"net/http"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const (
	// usageLife is how long a rate is told again: anybody may ask.
	usageLife = time.Second
	// usageStale is how long ago a count may be that a rate of now is reckoned from.
	usageStale = 15 * time.Second
	// usageLook is the time that a rate is measured over where there is no such count. The kernel brings its count up to date
	// every few milliseconds.
	usageLook = 500 * time.Millisecond
)

// cpuMeter makes a rate of the processor time that is counted. It does nothing unless it is asked: who asks every few seconds is
// told the rate since the last time, and who asks seldom waits half a second for the rate in it, for that since the last time would
// tell nothing of now.
type cpuMeter struct {
	count func() (time.Duration, bool)
	turn  chan struct{} // holds a token while one measures; the others wait for the result

	// What follows belongs to whoever has the turn.

	at    time.Time // of the last count; zero if there is none
	used  time.Duration
	rated time.Time // when milli was reckoned; zero if it is not known
	milli float64
}

func newCPUMeter(count func() (time.Duration, bool)) *cpuMeter {
	return &cpuMeter{count: count, turn: make(chan struct{}, 1)}
}

// milliCPU is the rate in thousandths of a processor. It is not known without a count, or when ctx ends first.
func (m *cpuMeter) milliCPU(ctx context.Context) (rate float64, known bool) {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return 0, false
	}
	if !m.rated.IsZero() && time.Since(m.rated) < usageLife {
		return m.milli, true
	}
	if m.at.IsZero() || time.Since(m.at) > usageStale {
		if !m.begin() {
			return 0, false
		}
	}
	// One who asked before may have left while he waited for this.
	if !pause(ctx, usageLook-time.Since(m.at)) {
		return 0, false
	}
	return m.reckon()
}

func (m *cpuMeter) begin() (ok bool) {
	m.rated = time.Time{}
	m.at = time.Time{}
	used, ok := m.count()
	if ok {
		m.at, m.used = time.Now(), used
	}
	return ok
}

// reckon makes the rate since the last count.
func (m *cpuMeter) reckon() (rate float64, known bool) {
	since, before := m.at, m.used
	if !m.begin() {
		return 0, false
	}
	// A group that was made anew counts from zero.
	if passed := m.at.Sub(since); passed > 0 && m.used >= before {
		m.milli, m.rated = 1000*(m.used-before).Seconds()/passed.Seconds(), m.at
		return m.milli, true
	}
	return 0, false
}

// pause reports whether d has passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// serveUsage tells what this container uses to whoever can read it, which is the provider alone. It is never the function's.
func (w *Watchdog) serveUsage(rw http.ResponseWriter, r *http.Request) {
	challenge := r.Header.Get(readypush.ChallengeHeader)
	switch {
	case r.Method != http.MethodGet:
		rw.WriteHeader(http.StatusMethodNotAllowed)
		return
	case w.cfg.Push.Token == (readypush.Token{}):
		http.Error(rw, "there is no provider that this could be told to", http.StatusNotFound)
		return
	case challenge == "":
		http.Error(rw, "only the provider can ask for this", http.StatusUnauthorized)
		return
	case readypush.CheckChallenge(challenge) != nil:
		http.Error(rw, readypush.ErrChallenge.Error(), http.StatusBadRequest)
		return
	}
	sealed, err := w.cfg.Push.Token.SealUsage(challenge, localIP(r), w.usage(r.Context()))
	if err != nil {
		panic("watchdog: usage has no JSON: " + err.Error()) // its numbers are finite
	}
	rw.Header().Set("Content-Type", "application/octet-stream")
	// Whoever has left needs no answer.
	_, _ = rw.Write(sealed)
}

// usage is what is known of this container.
func (w *Watchdog) usage(ctx context.Context) readypush.Usage {
	var u readypush.Usage
	u.InFlight, u.Served = w.inFlight.counts()
	if milli, known := w.cpu.milliCPU(ctx); known {
		u.MilliCPU = &milli
	}
	if bytes, known := w.cfg.Cgroup.workingSet(); known {
		u.MemoryBytes = &bytes
	}
	return u
}
