package lambda

import (
	"context"
	"sync"
	"time"
)

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// runSlot runs one process after another until ctx ends. settled is called when the first is initialised, or has failed.
//
// A process that has served is replaced at once, as often as invocations kill it: each of them has come from a caller. One that
// has not is replaced after a pause that doubles. One that was parked is replaced when the pool is woken.
func (p *Pool) runSlot(ctx context.Context, settled func()) {
	defer settled()
	failures := 0
	for ctx.Err() == nil {
		started, ok := p.awaitCall(ctx)
		if !ok {
			return
		}
		ready := sync.OnceFunc(func() { settled(); started() })
		end := p.runProcess(ctx, ready)
		ready()
		if end != unused {
			failures = 0
			continue
		}
		pause := time.NewTimer(backoff(failures))
		failures++
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// backoff is the pause after a failure that so many came before.
func backoff(failures int) time.Duration {
	if failures > 6 {
		return lastPause
	}
	return min(firstPause<<failures, lastPause)
}
