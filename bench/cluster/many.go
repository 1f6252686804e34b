package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dragonchain/dc-provider/bench/report"
	"github.com/dragonchain/dc-provider/bench/scenario"
)

const (
	manyRounds = 5
	atOnce     = 10
	// sustainedFunctions are woken by sustainedCallers, each one after the other, and stay up.
	sustainedFunctions, sustainedCallers = 80, 10
	burstCalls                           = 200
)

// many is the wake of many functions, and of one that many call.
func (r *room) many() *scenario.Scenario {
	s := &scenario.Scenario{
		Name: "cluster/wake/many",
		About: fmt.Sprintf("%d functions at zero are called at once, with as many spares and with the %d that there are by default: until all have answered. "+
			"%d functions at zero are called by %d callers, each the next when the one before has answered. One function at zero is called %d times at once. "+
			"Four kinds of functions in turns; images on the node. A call that fails ends the first two, and is counted in the last.",
			atOnce, wakeSpares, sustainedFunctions, sustainedCallers, burstCalls),
		Plot: "all-answered-ns", Rounds: manyRounds,
		Goals: []report.Goal{
			{Metric: "all-answered-ns", Relation: report.Value, Of: "at-once", AtMost: 1.2e9},
			{Metric: "wakes/s", Relation: report.Value, Of: "sustained", AtLeast: 8},
			{Metric: "answered", Relation: report.Value, Of: "burst", AtLeast: burstCalls},
		},
	}
	add := func(name string, rounds int, turn func(context.Context) (map[string]float64, error)) {
		s.Contestants = append(s.Contestants, scenario.Contestant{Name: name, Turn: func(t *scenario.Turn) (scenario.Measured, error) {
			if rounds--; rounds < 0 {
				return scenario.Measured{}, nil
			}
			ctx, cancel := context.WithTimeout(t.Context, lifeLimit)
			defer cancel()
			values, err := turn(ctx)
			return scenario.Measured{Count: 1, Values: values}, err
		}})
	}
	ten := mixed("ten", atOnce)
	add("at-once", manyRounds, func(ctx context.Context) (map[string]float64, error) { return r.atOnce(ctx, ten, atOnce) })
	add("at-once-default-pool", manyRounds, func(ctx context.Context) (map[string]float64, error) { return r.atOnce(ctx, ten, wakeSpares) })
	add("burst", 3, r.burst)
	add("sustained", 1, r.sustained)
	return r.in(s, wakeSpares, func(ctx context.Context) error {
		return errors.Join(r.up(ctx, ten), r.up(ctx, map[string]kind{"burst": wakeKinds[0]}))
	})
}

// mixed names n functions of all kinds.
func mixed(prefix string, n int) map[string]kind {
	functions := make(map[string]kind, n)
	for i := range n {
		functions[fmt.Sprintf("%s-%d", prefix, i)] = wakeKinds[i%len(wakeKinds)]
	}
	return functions
}

// atOnce calls all functions at once, which are at zero before and after it.
func (r *room) atOnce(ctx context.Context, functions map[string]kind, spares int) (map[string]float64, error) {
	if err := errors.Join(r.spares(ctx, spares), r.settle(ctx)); err != nil {
		return nil, err
	}
	started := time.Now()
	var g errgroup.Group
	for name := range functions {
		g.Go(func() error { return r.call(ctx, name) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := time.Since(started)
	for name := range functions {
		g.Go(func() error { return r.toZero(ctx, name) })
	}
	return map[string]float64{"all-answered-ns": float64(all)}, g.Wait()
}

// burst calls one function many times at once.
func (r *room) burst(ctx context.Context) (map[string]float64, error) {
	const name = "burst"
	if err := errors.Join(r.spares(ctx, wakeSpares), r.settle(ctx)); err != nil {
		return nil, err
	}
	errs := make(chan error, burstCalls)
	started := time.Now()
	for range burstCalls {
		go func() { errs <- r.call(ctx, name) }()
	}
	answered := 0.0
	for range burstCalls {
		if err := <-errs; err == nil {
			answered++
		}
	}
	all := time.Since(started)
	return map[string]float64{"answered": answered, "all-answered-ns": float64(all)}, r.toZero(ctx, name)
}

// sustained wakes functions of which none was up before, and deletes them.
func (r *room) sustained(ctx context.Context) (map[string]float64, error) {
	functions := mixed("sustained", sustainedFunctions)
	if err := r.records(ctx, functions); err != nil {
		return nil, err
	}
	if err := errors.Join(r.spares(ctx, wakeSpares), r.settle(ctx)); err != nil {
		return nil, err
	}
	started := time.Now()
	var g errgroup.Group
	g.SetLimit(sustainedCallers)
	for name := range functions {
		g.Go(func() error { return r.call(ctx, name) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	took := time.Since(started)
	for name := range functions {
		g.Go(func() error { return r.delete(ctx, name) })
	}
	return map[string]float64{"wakes/s": sustainedFunctions / took.Seconds()}, g.Wait()
}
