package scenario

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/dragonchain/dc-provider/bench/contest"
	"github.com/dragonchain/dc-provider/bench/load"
)

// Site is an installation with a hot function.
type Site struct {
	// Gateway and Path are the address and the path that the gateway has the function at. Function is the replica's address.
	Gateway, Path, Function string
	// Rivals are the addresses of the baselines, by name. Those that take no part have none, and NoRivals says why.
	Rivals   map[string]string
	NoRivals string
	// CPU is the processor time so far of a pod: of ours, a rival's, or direct's, which is the function's. False if nobody can tell.
	CPU func(name string) (time.Duration, bool)
}

// Rival is a baseline that an installation is to run as it runs its gateway.
type Rival struct {
	Name string
	// Command gives the program and its arguments. It listens on an address before the function at another, and has its files in dir.
	Command func(dir, listen, upstream string) ([]string, error)
}

// Hot is the scenario of a function on an installation, beside the baselines before the same replica. open deploys the function and runs
// the rivals, with their files in dir, and what it returns takes all of it away.
func Hot(tools contest.Tools, open func(ctx context.Context, dir string, rivals []Rival) (Site, func(context.Context) error, error)) *Scenario {
	s := &Scenario{
		Name: "cluster/hot",
		About: "One function with one replica on the cluster, called by the installation's own gateway, and by the baselines before the same pod. " +
			"Closed loop, 64 connections, POST of 3 bytes. The baselines are pods as the gateway is one: called by a Service, and given memory and " +
			"processors by the same requests and limits. All of them run all the time, and take turns with being called.",
		Plot: "req/s", Timed: true, Absent: map[string]string{},
	}
	var site Site
	var rivals []Rival
	add := func(name string, at func() (address, path string)) {
		s.Contestants = append(s.Contestants, Contestant{name, func(t *Turn) (Measured, error) {
			address, path := at()
			if address == "" {
				return Measured{}, nil
			}
			return t.measureAt(&site, name, address, path)
		}})
	}
	add(direct, func() (address, path string) { return site.Function, functionPath })
	add(ours, func() (address, path string) { return site.Gateway, site.Path })
	for _, f := range s.there(tools, []front{nginxProxy, haproxyProxy, faasProxy}) {
		rivals = append(rivals, Rival{f.name, func(dir, listen, upstream string) ([]string, error) {
			args, err := f.command(dir, listen, upstream)
			return append([]string{tools[f.tool].Path}, args...), err
		}})
		add(f.name, func() (address, path string) { return site.Rivals[f.name], functionPath })
	}
	s.Before = func(ctx context.Context) (after func(context.Context) error, err error) {
		dir, err := os.MkdirTemp("", "dc-bench-")
		if err != nil {
			return nil, err
		}
		var leave func(context.Context) error
		if site, leave, err = open(ctx, dir, rivals); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		for _, r := range rivals {
			if site.Rivals[r.Name] == "" {
				s.Absent[r.Name] = site.NoRivals
			}
		}
		return func(ctx context.Context) error { return errors.Join(leave(ctx), os.RemoveAll(dir)) }, nil
	}
	return s
}

// measureAt measures a contestant of a site.
func (t *Turn) measureAt(site *Site, name, address, path string) (Measured, error) {
	call := anyAnswer(address, path)
	if err := t.await(address, call); err != nil {
		return Measured{}, err
	}
	contestant, itKnows := site.CPU(name)
	function, functionKnows := site.CPU(direct)
	result, err := t.load(load.Config{Address: address, Requests: []load.Request{call}, Conns: 64})
	if err != nil {
		return Measured{}, err
	}
	m := fromLoad(result)
	note := func(value, name string, before time.Duration, known bool) {
		if now, ok := site.CPU(name); ok && known {
			m.Values[value] = float64(now-before) / float64(result.Answered)
		}
	}
	note("function-cpu-ns/op", direct, function, functionKnows)
	if name != direct {
		note("cpu-ns/op", name, contestant, itKnows)
	}
	return m, nil
}
