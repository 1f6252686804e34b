package scaler

import (
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// decision is what a function needs now.
type decision int

const (
	keep decision = iota
	zero
	wake
)

// demand is what a function has to do.
type demand struct {
	// calls is how many calls are in flight or waiting.
	calls int
	// last is when a call last came or ended; zero if none did.
	last time.Time
}

// decide tells what a function with this policy and this many wanted replicas needs. since is the earliest that its idle
// time can have begun.
func decide(now time.Time, policy function.Scale, replicas int, d demand, since time.Time) decision {
	switch {
	case replicas == 0 && d.calls > 0:
		return wake
	case replicas == 0 || !policy.Zero || d.calls > 0:
		return keep
	case now.Sub(later(d.last, since)) < policy.ZeroAfter:
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
