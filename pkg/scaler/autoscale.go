package scaler

import (
	"fmt"
	"math"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// burstFactor is how many times as high as what the replicas are to have a load must be to be a burst.
	burstFactor = 2
	// slack is how full the others may become, of what they are to have, when a replica goes: a load that is just at the
	// border between two numbers would otherwise have one come and go for ever.
	slack = 0.95
	// downPause is the time between two steps down. A replica that goes has its calls finished by then, if they are short, and
	// the load shows what its going has done.
	downPause = 5 * time.Second
	// tiny is far below any load that counts, and above what adding up fractions errs by.
	tiny = 1e-9
)

// situation is what a recommendation is made from, beside the trace.
type situation struct {
	policy function.Scale
	// replicas is how many are wanted now.
	replicas int
	// inFlight is how many calls are at replicas, and limit how many one replica is given at a time; 0 is no limit.
	inFlight, limit int
	// partial says that the load may be higher than what was measured.
	partial bool
}

// recommendation is how many replicas there are to be.
type recommendation struct {
	// needed is how many the load needs, and replicas how many there are to be now: fewer are reached step by step.
	needed, replicas int
	// reason is one of few words, and why says the same with figures. Both are empty if nothing changes.
	reason, why string
}

// Reasons of changes, as metrics have them: the load by its type, and these.
const (
	reasonBurst  = "burst"
	reasonBounds = "bounds"
	reasonIdle   = "idle"
)

// recommend tells how many replicas a function that is called is to have.
//
// The load of a window divided by what one replica is to have is what OpenFaaS's autoscaler goes by. A burst, which is two
// rounds in a row with twice the load that the replicas are to have, is met in one step by the load of those rounds, and until
// it has left the window the last rounds count as much as the window does (Knative's panic mode:
// https://knative.dev/docs/serving/autoscaling/kpa-specific/). Replicas go step by step, when no two rounds of the window have
// needed them and none has come in it.
func (t *trace) recommend(now time.Time, s situation) recommendation {
	least, most := s.policy.Least(), s.policy.Max
	if s.policy.Fixed || least >= most {
		return s.bounded(least, max(least, most))
	}
	window := windowOf(s.policy.Type)
	load := t.stable(s.policy.Type, window)
	bounded := func(replicas int) int { return min(max(replicas, least), most) }
	need := func(load float64) int { return bounded(ceil(load / s.policy.PerReplica())) }

	needed, reason := need(load), string(s.policy.Type)
	low, high := t.lately()
	burst := s.policy.Type == function.ScaleRPS && low >= burstFactor*float64(s.replicas)*s.policy.PerReplica()
	if burst {
		t.burst = now
	}
	inWindow := func(at time.Time) bool { return !at.IsZero() && now.Sub(at) < window }
	switch {
	case burst && need(high) > needed:
		load, needed, reason = high, need(high), reasonBurst
	case inWindow(t.burst) && need(low) > needed:
		load, needed, reason = low, need(low), reasonBurst
	}
	// What is to stay, of which some may be there only for calls that they have in flight.
	stay := max(needed, need(max(load, t.peak())/slack))
	if s.limit > 0 {
		stay = max(stay, bounded(ceil(float64(s.inFlight)/float64(s.limit))))
	}
	stay = t.mostNeeded(now, stay, s.policy.DownWindow)

	r := recommendation{needed: needed, replicas: s.replicas}
	switch {
	case needed > s.replicas:
		r.replicas = needed
	case stay < s.replicas && !s.partial && !inWindow(t.risen) && now.Sub(t.steppedDown) >= downPause:
		r.replicas = max(stay, s.replicas-max(s.policy.DownStep, 1))
		t.steppedDown = now
	default:
		return r
	}
	r.reason = reason
	if load/s.policy.PerReplica() < float64(least) && r.replicas == least {
		r.reason = reasonBounds
	}
	r.why = fmt.Sprintf("%d for %s %s at %s each", r.replicas, s.policy.Type, figure(load), figure(s.policy.PerReplica()))
	return r
}

// bounded is the recommendation for a function whose number of replicas no load decides on.
func (s situation) bounded(least, most int) recommendation {
	r := recommendation{replicas: min(max(s.replicas, least), most)}
	r.needed = r.replicas
	if r.replicas != s.replicas {
		r.reason, r.why = reasonBounds, fmt.Sprintf("%d within %d to %d", r.replicas, least, most)
	}
	return r
}

func ceil(f float64) int { return int(math.Ceil(min(f, math.MaxInt32) - tiny)) }

func figure(f float64) string { return fmt.Sprintf("%.4g", f) }

// measure takes a function's load since the last round into its trace.
func (u *upTime) measure(now time.Time, policy function.Scale, load Load, cpu float64, cpuKnown bool) {
	before, since := u.measured, u.measuredAt
	u.measured, u.measuredAt = load, now
	over := now.Sub(since)
	// Counters that went back are those of a provider that has begun anew, or has gone.
	if since.IsZero() || over <= 0 || load.Started < before.Started || load.CallTime < before.CallTime {
		return
	}
	var figure float64
	switch policy.Type {
	case function.ScaleCapacity:
		figure = (load.CallTime-before.CallTime).Seconds()/over.Seconds() + float64(load.Queued)
	case function.ScaleCPU:
		if !cpuKnown {
			return
		}
		figure = cpu
	default:
		// What is queued is to be made within a window.
		figure = float64(load.Started-before.Started)/over.Seconds() + float64(load.Queued)/windowOf(policy.Type).Seconds()
	}
	u.trace.add(now, over, figure, windowOf(policy.Type))
}
