package scaler

import (
	"slices"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// steadyAfter is how long demand may last before it is no short one any more.
	steadyAfter = 10 * time.Second
	// steadyCalls is how many calls at a time a claimed spare is left alone with, if the function has no limit of its own.
	steadyCalls = 10
	// moveLater is how long a function that is called no more, and does not go to zero by itself, may be kept from replicas of its own
	// while others wake, and wakesQuiet how long none has to have woken. movesAtOnce is how many get theirs in one round.
	moveLater   = time.Minute
	wakesQuiet  = 3 * time.Second
	movesAtOnce = 2
)

// Claimed is a function that is served by claimed spares alone.
type Claimed struct {
	Ref function.Ref
	// ID is the record's identity.
	ID string
	// Since is when the first of them was claimed.
	Since time.Time
}

// steady tells whether a function's demand is more than a claimed spare is for: calls are more at a time than one replica
// should have, or they went on for longer than a short demand does. A function that does not go to zero by itself has
// replicas for good, and these are to be ones that Kubernetes looks after.
func steady(now time.Time, policy *function.Policy, since time.Time, d demand) bool {
	most := policy.MaxInFlight
	if most == 0 {
		most = steadyCalls
	}
	switch {
	case d.calls > most:
		return true
	case now.Sub(since) < steadyAfter:
		return false
	case !policy.Scale.Zero, d.calls > 0:
		return true
	default:
		return d.last.Sub(since) >= steadyAfter
	}
}

// atLeisure tells whether a function is steady by its policy alone: nobody calls it, nor did for long.
func atLeisure(policy *function.Policy, since time.Time, d demand) bool {
	return !policy.Scale.Zero && d.calls == 0 && d.last.Sub(since) < steadyAfter
}

// settleClaimed has functions whose demand is steady get replicas of their own. Those that nobody calls now, and that are to stay
// nevertheless, get theirs when no others wake: a Deployment costs several times what a wake does.
func (s *Scaler) settleClaimed() {
	if s.cfg.Claimed == nil {
		return
	}
	now, moves := s.cfg.Now(), 0
	claimed := s.cfg.Claimed()
	quiet := !slices.ContainsFunc(claimed, func(c Claimed) bool { return now.Sub(c.Since) < wakesQuiet })
	for _, c := range claimed {
		f, ok := s.cfg.Lookup(c.Ref)
		if !ok || f.ID != c.ID {
			continue
		}
		load := s.cfg.Load(c.Ref)
		calls := load.InFlight + load.Waiting + load.Queued
		d := demand{calls: calls, last: load.Last}
		if !steady(now, &f.Policy, c.Since, d) {
			continue
		}
		if atLeisure(&f.Policy, c.Since, d) {
			if now.Sub(c.Since) < moveLater && (!quiet || moves >= movesAtOnce) {
				continue
			}
			moves++
		}
		s.cfg.Log.Info("function gets replicas of its own", "function", c.Ref.Name, "namespace", c.Ref.Namespace, "in_flight", calls)
		s.cfg.Steady(c.Ref, c.ID)
	}
}
