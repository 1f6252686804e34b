package scenario

import (
	"context"

	"github.com/dragonchain/dc-provider/bench/contest"
	"github.com/dragonchain/dc-provider/bench/load"
)

// Site is an installation with a hot function: the address and the path that its gateway has it at, and the address of its replica.
type Site struct{ Gateway, Path, Function string }

// Hot is the scenario of a function on an installation, beside the baselines before the same replica. open deploys the function, and
// what it returns takes it away.
func Hot(tools contest.Tools, open func(context.Context) (Site, func(context.Context) error, error)) *Scenario {
	s := &Scenario{
		Name: "cluster/hot",
		About: "One function with one replica on the cluster, called by the installation's own gateway, and by the baselines before the same pod. " +
			"Closed loop, 64 connections, POST of 3 bytes. The gateway and the function are pods, and are given processors as their requests say; the baselines are not.",
		Plot: "req/s", Timed: true, Absent: map[string]string{},
	}
	var site Site
	s.Before = func(ctx context.Context) (after func(context.Context) error, err error) {
		site, after, err = open(ctx)
		return after, err
	}
	cfg := load.Config{Conns: 64}
	for _, c := range []struct {
		name string
		at   func() (address, path string)
	}{
		{direct, func() (string, string) { return site.Function, functionPath }},
		{ours, func() (string, string) { return site.Gateway, site.Path }},
	} {
		s.Contestants = append(s.Contestants, Contestant{c.name, func(t *Turn) (Measured, error) {
			address, path := c.at()
			cfg := cfg
			cfg.Address, cfg.Requests = address, []load.Request{anyAnswer(address, path)}
			return t.measure(cfg, nil, false)
		}})
	}
	for _, f := range s.there(tools, []front{nginxProxy, haproxyProxy, faasProxy}) {
		s.Contestants = append(s.Contestants, Contestant{f.name, func(t *Turn) (Measured, error) {
			p, address, err := t.startBefore(f, site.Function)
			if err != nil {
				return Measured{}, err
			}
			cfg := cfg
			cfg.Address, cfg.Requests = address, []load.Request{anyAnswer(address, functionPath)}
			if err := t.await(address, cfg.Requests[0]); err != nil {
				return Measured{}, err
			}
			return t.measure(cfg, p, true)
		}})
	}
	return s
}
