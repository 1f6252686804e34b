package scaler

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// cpuEvery is how often replicas are asked what processor time they take. What they tell is a mean of some seconds.
	cpuEvery = 5 * time.Second
	// cpuLife is how long what they told counts when they tell no more.
	cpuLife = 3 * cpuEvery
	// cpuAtOnce is how many functions are asked at a time.
	cpuAtOnce = 32
)

// cpuReader keeps what functions take of the processors, for those that are scaled by it. Asking may take seconds where a
// replica hangs, for which no round waits.
type cpuReader struct {
	ask func(context.Context, *function.Function) (milli float64, known bool)

	mu   sync.Mutex
	read map[string]reading // by the record's ID
}

type reading struct {
	at    time.Time
	milli float64
}

// of is what a function takes, if that is known.
func (c *cpuReader) of(f *function.Function, now time.Time) (milli float64, known bool) {
	if f.Policy.Scale.Type != function.ScaleCPU {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, found := c.read[f.ID]
	return r.milli, found && now.Sub(r.at) <= cpuLife
}

// run asks until ctx ends.
func (c *cpuReader) run(ctx context.Context, functions func() []*function.Function, now func() time.Time) {
	if c.ask == nil {
		return
	}
	ticker := time.NewTicker(cpuEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.round(ctx, functions(), now)
		case <-ctx.Done():
			return
		}
	}
}

// round asks all functions that are scaled by what they take.
func (c *cpuReader) round(ctx context.Context, functions []*function.Function, now func() time.Time) {
	var group errgroup.Group
	group.SetLimit(cpuAtOnce)
	for _, f := range functions {
		if f.Replicas == 0 || f.Policy.Scale.Type != function.ScaleCPU {
			continue
		}
		group.Go(func() error {
			if milli, known := c.ask(ctx, f); known {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.read[f.ID] = reading{now(), milli}
			}
			return nil // one that is not known is looked for the next time
		})
	}
	_ = group.Wait() // no question has an error
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, r := range c.read {
		if now().Sub(r.at) > cpuLife {
			delete(c.read, id)
		}
	}
}
