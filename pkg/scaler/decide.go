package scaler

import (
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// decision is what a function needs now.
type decision int

const (
	keep decision = iota
	// rest is to keep what stays parked.
	rest
	zero
	wake
	// scale is to have another number of replicas, none of them none.
	scale
)

// demand is what a function has to do.
type demand struct {
	// calls is how many calls are in flight or waiting.
	calls int
	// last is when a call last came or ended; zero if none did.
	last time.Time
	// partial says that there may be more.
	partial bool
}

// decide tells what a function with this policy and this many wanted replicas needs, as far as calls alone tell. since is the
// earliest that its idle time can have begun.
func decide(now time.Time, policy function.Scale, replicas int, d demand, since time.Time) decision {
	switch {
	case replicas == 0 && d.calls > 0:
		return wake
	case replicas == 0 || !policy.Zero || d.calls > 0:
		return keep
	case now.Sub(later(d.last, since)) < policy.ZeroAfter:
		return keep
	case replicas == policy.Standby:
		return rest
	case d.partial:
		return keep
	default:
		return zero
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
