package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const loadModel = "closed loop, one client, one call at a time; a new function for each run; images on the node"

// kind is a way to run a function.
type kind struct {
	name string
	spec map[string]any
}

// kinds are the two that differ in how they start: with the watchdog put in, and without it.
var kinds = []kind{
	{"fork", map[string]any{"image": "dragonchain/example-shell:dev", "envProcess": "cat"}},
	{"entrypoint", map[string]any{"image": "dragonchain/example-hello:dev"}},
}

const (
	// lifeLimit ends a run that hangs, and cleanupLimit the delete that follows a failed one.
	lifeLimit    = 3 * time.Minute
	cleanupLimit = 30 * time.Second
	// pollEvery is how exactly the end of the last pod is seen.
	pollEvery = 10 * time.Millisecond
)

// life measures one function from its deploy to its end. The function is gone when life returns, whatever happened.
func (t *target) life(ctx context.Context, k kind, name string) (measured []measurement, err error) {
	ctx, cancel := context.WithTimeout(ctx, lifeLimit)
	defer cancel()
	gone := false
	defer func() {
		if !gone {
			after, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
			defer cancel()
			// The run failed, and that is what is told. What was deployed must not stay.
			_ = t.delete(after, name)
		}
	}()
	record := func(what string, since time.Time) {
		measured = append(measured, measurement{Name: what + "/" + k.name, Nanoseconds: time.Since(since).Nanoseconds()})
	}

	if _, err := t.connectOnce(ctx); err != nil {
		return nil, err
	}
	started := time.Now()
	if err := t.deploy(ctx, k, name); err != nil {
		return nil, err
	}
	if err := t.call(ctx, name); err != nil {
		return nil, err
	}
	record("DeployToFirstAnswer", started)

	if err := t.toZero(ctx, name); err != nil {
		return nil, err
	}
	firstByte, err := t.firstByte(ctx, name)
	if err != nil {
		return nil, err
	}
	measured = append(measured, measurement{Name: "FirstByteAfterZero/" + k.name, Nanoseconds: firstByte.Nanoseconds()})

	started = time.Now()
	if err := t.delete(ctx, name); err != nil {
		return nil, err
	}
	gone = true
	record("Delete", started)
	if err := t.awaitNoPods(ctx, name); err != nil {
		return nil, err
	}
	record("DeleteToNothing", started)
	return measured, nil
}

func (t *target) deploy(ctx context.Context, k kind, name string) error {
	spec := map[string]any{"service": name}
	for key, value := range k.spec {
		spec[key] = value
	}
	return t.manage(ctx, http.MethodPost, "/system/functions", spec)
}

func (t *target) delete(ctx context.Context, name string) error {
	return t.manage(ctx, http.MethodDelete, "/system/functions", map[string]any{"functionName": name})
}

// toZero returns when the function is nothing but its record: a pod that is still ending would share the node with the wake.
func (t *target) toZero(ctx context.Context, name string) error {
	if err := t.manage(ctx, http.MethodPost, "/system/scale-function/"+name, map[string]any{"serviceName": name, "replicas": 0}); err != nil {
		return err
	}
	return t.awaitNoPods(ctx, name)
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
