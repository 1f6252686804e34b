package scaler

import (
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Windows over which a load is measured, by its type: OpenFaaS's. The load of ScaleCapacity is the highest in its window, the
// others are means.
const (
	rpsWindow      = 30 * time.Second
	capacityWindow = 45 * time.Second
	cpuWindow      = time.Minute
)

// sample is the load in one round.
type sample struct {
	end  time.Time
	over time.Duration
	load float64
}

// trace is what a function had to do lately. Its zero value is that of one that had nothing to do.
type trace struct {
	samples []sample // the oldest first
	// needs are the highest numbers of replicas of the last time, each with its time, the highest and oldest first: what came
	// before a higher one says nothing any more.
	needs []need
	// steppedDown is when replicas were last taken, burst when a burst was last there, and risen when replicas last came, by
	// whomever, or, which may hide that, when this trace began.
	steppedDown, burst, risen time.Time
}

type need struct {
	at       time.Time
	replicas int
}

func windowOf(t function.ScaleType) time.Duration {
	switch t {
	case function.ScaleCapacity:
		return capacityWindow
	case function.ScaleCPU:
		return cpuWindow
	default:
		return rpsWindow
	}
}

// add takes the load of the time before now, and forgets what is older than the window.
func (t *trace) add(now time.Time, over time.Duration, load float64, window time.Duration) {
	if len(t.samples) == 0 && load == 0 {
		return // nothing has happened, which is what an empty trace says
	}
	old := 0
	for old < len(t.samples) && now.Sub(t.samples[old].end) >= window {
		old++
	}
	t.samples = append(t.samples[old:], sample{end: now, over: over, load: load})
	for _, s := range t.samples {
		if s.load > 0 {
			return
		}
	}
	t.samples = nil
}

// stable is the load of the window: the highest of it, or its mean. There was none before the first sample.
func (t *trace) stable(kind function.ScaleType, window time.Duration) float64 {
	var sum, highest float64
	var over time.Duration
	for _, s := range t.samples {
		sum += s.load * s.over.Seconds()
		over += s.over
		highest = max(highest, s.load)
	}
	if kind == function.ScaleCapacity {
		return highest
	}
	return sum / max(window, over).Seconds()
}

// lately is the lowest and the highest load of the last two rounds. One round that stands out is no burst yet.
func (t *trace) lately() (low, high float64) {
	if len(t.samples) < 2 {
		return 0, 0
	}
	a, b := t.samples[len(t.samples)-2].load, t.samples[len(t.samples)-1].load
	return min(a, b), max(a, b)
}

// peak is the highest load of the window that was there for two rounds.
func (t *trace) peak() float64 {
	var peak float64
	for i := 1; i < len(t.samples); i++ {
		peak = max(peak, min(t.samples[i-1].load, t.samples[i].load))
	}
	return peak
}

// mostNeeded notes how many replicas are needed now, and returns the most that were in the window.
func (t *trace) mostNeeded(now time.Time, replicas int, window time.Duration) int {
	for len(t.needs) > 0 && t.needs[len(t.needs)-1].replicas <= replicas {
		t.needs = t.needs[:len(t.needs)-1]
	}
	t.needs = append(t.needs, need{now, replicas})
	for now.Sub(t.needs[0].at) > window {
		t.needs = t.needs[1:]
	}
	return t.needs[0].replicas
}
