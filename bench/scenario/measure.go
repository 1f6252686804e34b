package scenario

import (
	"errors"
	"fmt"
	"time"

	"github.com/dragonchain/dc-provider/bench/contest"
	"github.com/dragonchain/dc-provider/bench/load"
	"github.com/dragonchain/dc-provider/bench/report"
)

// answersWithin is how long a contestant may take from listening to its first right answer.
const answersWithin = 15 * time.Second

// await sends a request again and again until it is answered as it should be. What listens may not serve yet: the
// of-watchdog answers 500 as long as its process does not listen.
func (t *Turn) await(address string, r load.Request) error {
	var last error
	for end := time.Now().Add(answersWithin); time.Now().Before(end); {
		result, err := load.Run(t.Context, load.Config{Address: address, Requests: []load.Request{r}, Count: 1, Timeout: answersWithin})
		if err == nil {
			err = result.Err()
		}
		if err == nil {
			return nil
		}
		if t.Context.Err() != nil {
			return t.Context.Err()
		}
		last = errors.Join(err, t.check())
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("no right answer in %v: %w", answersWithin, last)
}

// measure puts cfg on a contestant that is ready and gathers what is measured of it. p is nil for direct calls.
func (t *Turn) measure(cfg load.Config, p *contest.Process, wholeTree bool) (Measured, error) {
	var before time.Duration
	if p != nil {
		before = p.CPU()
	}
	result, err := t.load(cfg)
	if err != nil {
		return Measured{}, err
	}
	m := fromLoad(result)
	if p == nil {
		return m, nil
	}
	m.Values["cpu-ns/op"] = float64(p.CPU()-before) / float64(result.Answered)
	memory := p.Memory
	if wholeTree {
		memory = p.TreeMemory
	}
	bytes, err := memory()
	m.Values["rss-bytes"] = float64(bytes)
	return m, err
}

// load puts cfg on whoever is at its address, for the turn's time if it names no number of requests.
func (t *Turn) load(cfg load.Config) (*load.Result, error) {
	if cfg.Count == 0 {
		cfg.Warmup, cfg.Duration = t.Warmup, t.Duration
	}
	result, err := load.Run(t.Context, cfg)
	if err == nil {
		err = result.Err()
	}
	return result, err
}

// fromLoad gives the values that every load has.
func fromLoad(r *load.Result) Measured {
	return Measured{
		Count:   r.Requests,
		Latency: report.Pairs(r.Latency),
		Values: map[string]float64{
			"ns/op":               r.Latency.Mean(),
			"p50-ns":              float64(r.Quantile(0.5)),
			"p99-ns":              float64(r.Quantile(0.99)),
			"req/s":               r.Throughput(),
			"generator-cpu-ns/op": float64(r.CPU) / float64(r.Requests),
		},
	}
}
