package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/dragonchain/dc-provider/bench/contest"
	"github.com/dragonchain/dc-provider/bench/report"
	"github.com/dragonchain/dc-provider/bench/scenario"
)

// kind is a way to run a function.
type kind struct {
	name string
	spec map[string]any
}

// kinds are the two that differ in how they start: with the watchdog put in, and without it.
var kinds = []kind{
	{"fork", map[string]any{"image": "dragonchain/example-shell:dev", "envProcess": "cat"}},
	// A replica that serves by itself stays for its write_timeout when it is to go, by default for half a minute.
	{"entrypoint", map[string]any{"image": "dragonchain/example-hello:dev", "envVars": map[string]string{"write_timeout": "2s"}}},
}

const (
	// lifeLimit ends a run that hangs, and cleanupLimit the delete that follows a failed one.
	lifeLimit    = 3 * time.Minute
	cleanupLimit = 30 * time.Second
	// askLimit is how long the cluster may take to say what it is.
	askLimit = 10 * time.Second
	// pollEvery is how exactly the end of the last pod is seen.
	pollEvery = 10 * time.Millisecond
)

// Scenarios are those on the cluster that the environment names, and the versions of that cluster.
func Scenarios(ctx context.Context, tools contest.Tools) ([]*scenario.Scenario, contest.Tools) {
	s := &scenario.Scenario{
		Name: "cluster/life",
		About: "A new function in each turn: deploy to first answer, first byte after zero (by a spare), delete until answered and until " +
			"nothing is left. Closed loop, one client, one call at a time, when no other pod comes or goes; images on the node.",
		Plot: "first-byte-after-zero-ns",
	}
	t, err := connect()
	wakes := wakeScenarios(t)
	skipped := func(why error) []*scenario.Scenario {
		all := append([]*scenario.Scenario{s, t.hotScenario(tools)}, wakes...)
		for _, s := range all {
			s.Skip = why.Error()
		}
		return all
	}
	if err != nil {
		return skipped(err), nil
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	versions, err := t.versions(ctx)
	if err != nil {
		return skipped(err), nil
	}
	r := newRoom(t)
	r.in(s, wakeSpares, nil)
	for _, k := range kinds {
		turns := 0
		s.Contestants = append(s.Contestants, scenario.Contestant{Name: k.name, Turn: func(turn *scenario.Turn) (scenario.Measured, error) {
			turns++
			values, err := r.life(turn.Context, k, fmt.Sprintf("bench-%s-%d", k.name, turns))
			return scenario.Measured{Count: 1, Values: values}, err
		}})
		s.Goals = append(s.Goals,
			report.Goal{Metric: "deploy-to-first-answer-ns", Relation: report.Value, Of: k.name, AtMost: 2.5e9},
			report.Goal{Metric: "first-byte-after-zero-ns", Relation: report.Value, Of: k.name, AtMost: 600e6},
			report.Goal{Metric: "delete-ns", Relation: report.Value, Of: k.name, AtMost: 500e6})
	}
	return append([]*scenario.Scenario{s, t.hotScenario(tools)}, wakes...), versions
}

// life measures one function from its deploy to its end. The function is gone when life returns, whatever happened.
func (r *room) life(ctx context.Context, k kind, name string) (measured map[string]float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, lifeLimit)
	defer cancel()
	gone := false
	defer func() {
		if !gone {
			after, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
			defer cancel()
			// The run failed, and that is what is told. What was deployed must not stay.
			_ = r.delete(after, name)
		}
	}()
	measured = map[string]float64{}
	record := func(what string, since time.Time) { measured[what] = float64(time.Since(since)) }

	if _, err := r.connectOnce(ctx); err != nil {
		return nil, err
	}
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	started := time.Now()
	if err := r.deploy(ctx, k, name); err != nil {
		return nil, err
	}
	if err := r.call(ctx, name); err != nil {
		return nil, err
	}
	record("deploy-to-first-answer-ns", started)

	if err := errors.Join(r.scaleToZero(ctx, name), r.settle(ctx)); err != nil {
		return nil, err
	}
	firstByte, err := r.firstByte(ctx, name)
	if err != nil {
		return nil, err
	}
	measured["first-byte-after-zero-ns"] = float64(firstByte)

	started = time.Now()
	if err := r.delete(ctx, name); err != nil {
		return nil, err
	}
	gone = true
	record("delete-ns", started)
	if err := r.awaitNoPods(ctx, name); err != nil {
		return nil, err
	}
	record("delete-to-nothing-ns", started)
	return measured, nil
}

func (t *target) deploy(ctx context.Context, k kind, name string) error {
	spec := map[string]any{"service": name, "namespace": t.namespace}
	for key, value := range k.spec {
		spec[key] = value
	}
	return t.manage(ctx, http.MethodPost, "/system/functions", spec)
}

func (t *target) delete(ctx context.Context, name string) error {
	return t.manage(ctx, http.MethodDelete, "/system/functions", map[string]any{"functionName": name, "namespace": t.namespace})
}

// toZero returns when the function is nothing but its record: a pod that is still ending would share the node with the wake.
func (t *target) toZero(ctx context.Context, name string) error {
	if err := t.scaleToZero(ctx, name); err != nil {
		return err
	}
	return t.awaitNoPods(ctx, name)
}

func (t *target) scaleToZero(ctx context.Context, name string) error {
	return t.manage(ctx, http.MethodPost, "/system/scale-function/"+name,
		map[string]any{"serviceName": name, "namespace": t.namespace, "replicas": 0})
}

func (t *target) awaitNoPods(ctx context.Context, name string) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		pods, err := t.pods(ctx, name)
		if err != nil || pods == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d pods of %s still there: %w", pods, name, ctx.Err())
		}
	}
}
