package scenario

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/dragonchain/dc-provider/bench/contest"
	"github.com/dragonchain/dc-provider/bench/load"
	"github.com/dragonchain/dc-provider/bench/report"
)

const (
	ours   = "ours"
	direct = "direct"

	startsPerTurn = 10
	wakesPerTurn  = 17
	// parkAfter is short, because the bench waits for it before each wake.
	parkAfter = 200 * time.Millisecond
)

// watchdog is one way to run a function under some watchdog.
type watchdog struct {
	name, tool string
	// command gives arguments and environment for a watchdog on port that runs program. In mode http that listens on upstream.
	command func(port int, program string, upstream int) (args, env []string)
}

// byEnv is a watchdog that is told everything by its environment.
func byEnv(name, tool string, settings ...string) watchdog {
	return watchdog{name, tool, func(port int, program string, upstream int) (args, env []string) {
		env = append([]string{fmt.Sprintf("port=%d", port), "fprocess=" + program}, settings...)
		if upstream != 0 {
			env = append(env, "upstream_url=http://"+local(upstream))
		}
		return nil, env
	}}
}

func baseline(mode string) watchdog {
	return watchdog{"baseline", "baseline", func(port int, program string, upstream int) (args, env []string) {
		args = []string{"-addr", local(port), "-mode", mode, "-upstream", "http://" + local(upstream)}
		return append(args, strings.Fields(program)...), nil
	}}
}

// theirs are the OpenFaaS watchdogs among candidates that are there, or the baseline where one of them is not.
func theirs(tools contest.Tools, mode string, candidates ...watchdog) (there []watchdog, absent map[string]string) {
	absent = map[string]string{}
	for _, w := range candidates {
		if missing := tools[w.tool].Missing; missing != "" {
			absent[w.name] = missing + ". The baseline takes its place"
			continue
		}
		there = append(there, w)
	}
	if len(absent) > 0 {
		there = append(there, baseline(mode))
	}
	return there, absent
}

var (
	oursHTTP   = byEnv(ours, "dc-watchdog", "mode=http")
	oursFork   = byEnv(ours, "dc-watchdog", "mode=fork")
	oursSerial = byEnv("ours-serializing", "dc-watchdog", "mode=serializing")
	oursStream = byEnv("ours-streaming", "dc-watchdog", "mode=streaming")
	ofHTTP     = byEnv("of-watchdog", "of-watchdog", "mode=http")
	classic    = byEnv("classic-watchdog", "classic-watchdog")
	ofSerial   = byEnv("of-serializing", "of-watchdog", "mode=serializing")
	ofStream   = byEnv("of-streaming", "of-watchdog", "mode=streaming")
	helloCall  = hello("POST", "/")
)

// hello is a call of the hello server.
func hello(method, path string) load.Request {
	r := load.NewRequest(method, "bench", path, []byte("moo"), "Content-Type: text/plain")
	r.Body = []byte("hello world\n")
	return r
}

// echo is a call that comes back as it was sent.
func echo(path string, body []byte) load.Request {
	r := load.NewRequest("POST", "bench", path, body, "Content-Type: application/octet-stream")
	r.Body = body
	return r
}

// Watchdogs are the scenarios of the watchdog.
func Watchdogs(tools contest.Tools) []*Scenario {
	return []*Scenario{
		watchdogHTTP(tools, 16), watchdogHTTP(tools, 1),
		watchdogFork(tools, 16), watchdogFork(tools, 1),
		watchdogPrefork(tools), watchdogPark(tools), watchdogStart(tools),
		watchdogIdle(tools, "http", oursHTTP, ofHTTP), watchdogIdle(tools, "fork", oursFork, classic, ofSerial),
	}
}

func watchdogHTTP(tools contest.Tools, conns int) *Scenario {
	others, absent := theirs(tools, "http", ofHTTP)
	s := &Scenario{
		Name:  fmt.Sprintf("watchdog/http-c%d", conns),
		About: fmt.Sprintf("Mode http before a net/http server that answers hello world. Closed loop, %d connections, POST of 3 bytes.", conns),
		Plot:  "req/s", Timed: true, Absent: absent,
	}
	s.Contestants = append(s.Contestants, Contestant{direct, func(t *Turn) (Measured, error) {
		_, port, err := t.startHello()
		if err != nil {
			return Measured{}, err
		}
		return t.measure(load.Config{Address: local(port), Requests: []load.Request{helloCall}, Conns: conns}, nil, false)
	}})
	for _, w := range append([]watchdog{oursHTTP}, others...) {
		s.Contestants = append(s.Contestants, Contestant{w.name, func(t *Turn) (Measured, error) {
			p, address, err := t.startHTTP(w)
			if err != nil {
				return Measured{}, err
			}
			return t.measure(load.Config{Address: address, Requests: []load.Request{helloCall}, Conns: conns}, p, false)
		}})
	}
	if conns == 1 {
		s.Plot = "p50-ns"
		s.Goals = []report.Goal{{Metric: "p50-ns", Relation: report.Difference, Of: ours, Over: direct, AtMost: 60e3}}
	} else {
		for _, w := range others {
			s.Goals = append(s.Goals, report.Goal{Metric: "req/s", Relation: report.Ratio, Of: ours, Over: w.name, AtLeast: 2.5})
		}
	}
	return s
}

func watchdogFork(tools contest.Tools, conns int) *Scenario {
	others, absent := theirs(tools, "fork", classic, ofSerial, ofStream)
	s := &Scenario{
		Name:  fmt.Sprintf("watchdog/fork-c%d", conns),
		About: fmt.Sprintf("A process of cat for each request. Closed loop, %d connections, POST of 64 bytes that come back.", conns),
		Plot:  "req/s", Timed: true, Absent: absent,
	}
	call := echo("/", bytes.Repeat([]byte("a"), 64))
	for _, w := range append([]watchdog{oursFork, oursSerial, oursStream}, others...) {
		s.Contestants = append(s.Contestants, Contestant{w.name, func(t *Turn) (Measured, error) {
			p, address, err := t.startFork(w, "cat", call)
			if err != nil {
				return Measured{}, err
			}
			return t.measure(load.Config{Address: address, Requests: []load.Request{call}, Conns: conns}, p, false)
		}})
	}
	for _, w := range others {
		s.Goals = append(s.Goals, report.Goal{Metric: "req/s", Relation: report.Ratio, Of: ours, Over: w.name, AtLeast: 1.5})
	}
	return s
}

func watchdogPrefork(tools contest.Tools) *Scenario {
	const think = 50 * time.Millisecond
	others, absent := theirs(tools, "fork", classic)
	s := &Scenario{
		Name: "watchdog/prefork",
		About: fmt.Sprintf("A small Python contract, which ends with os._exit as package watchdog advises, except in usual-end. "+
			"Closed loop, 1 connection, %v between an answer and the next request.", think),
		Plot: "p50-ns", Timed: true, Absent: absent, Skip: missing("python3", tools),
		Goals: []report.Goal{{Metric: "p50-ns", Relation: report.Value, Of: "ours-prefork", AtMost: 3e6}},
	}
	call := load.NewRequest("POST", "bench", "/", []byte(`{"header":{"txn_id":"1"},"payload":{"method":"deposit","amount":20}}`))
	call.Body = []byte(`{"last": "1", "payload": "eyJhbW91bnQiOiAyMCwgIm1ldGhvZCI6ICJkZXBvc2l0In0="}`)
	const usualEnd = "ours-prefork-usual-end"
	ahead := []string{"mode=fork", "DC_PREFORK=2"}
	our := []watchdog{byEnv("ours-prefork", "dc-watchdog", ahead...), byEnv(usualEnd, "dc-watchdog", ahead...), byEnv("ours-fork", "dc-watchdog", "mode=fork")}
	for _, w := range append(our, others...) {
		s.Contestants = append(s.Contestants, Contestant{w.name, func(t *Turn) (Measured, error) {
			program := t.Tools["python3"].Path + " -B " + filepath.Join(t.Root, "bench/testdata/contract.py")
			if w.name == usualEnd {
				program += " usual-end"
			}
			p, address, err := t.startFork(w, program, call)
			if err != nil {
				return Measured{}, err
			}
			return t.measure(load.Config{Address: address, Requests: []load.Request{call}, Think: think}, p, false)
		}})
	}
	return s
}

func watchdogPark(_ contest.Tools) *Scenario {
	parking := byEnv(ours, "dc-watchdog", "mode=http", "DC_PARK="+parkAfter.String())
	return &Scenario{
		Name: "watchdog/park",
		About: fmt.Sprintf("Mode http, parked after %v without a request. %d wakes a round, one after the other, each when the process has gone: "+
			"latency is that of the request that wakes it. Direct is the start of the process itself to its first answer.", parkAfter, wakesPerTurn),
		Plot:  "p50-ns",
		Goals: []report.Goal{{Metric: "p50-ns", Relation: report.Value, Of: ours, AtMost: 15e6}},
		Contestants: []Contestant{
			{ours, func(t *Turn) (Measured, error) {
				p, address, err := t.startHTTP(parking)
				if err != nil {
					return Measured{}, err
				}
				return t.repeat(wakesPerTurn, func() (time.Duration, error) {
					if err := t.awaitParked(p); err != nil {
						return 0, err
					}
					return t.once(address)
				})
			}},
			{direct, func(t *Turn) (Measured, error) {
				return t.repeat(wakesPerTurn, func() (time.Duration, error) {
					started := time.Now()
					_, port, err := t.startHello()
					if err != nil {
						return 0, err
					}
					if _, err := t.once(local(port)); err != nil {
						return 0, err
					}
					took := time.Since(started)
					return took, t.stop()
				})
			}},
		},
	}
}

func watchdogStart(tools contest.Tools) *Scenario {
	others, absent := theirs(tools, "fork", classic, ofSerial)
	s := &Scenario{
		Name:  "watchdog/start",
		About: fmt.Sprintf("From the start of the watchdog to the first connection that it takes; mode fork of cat. %d starts a round, one after the other.", startsPerTurn),
		Plot:  "p50-ns", Absent: absent,
		Goals: []report.Goal{{Metric: "p50-ns", Relation: report.Value, Of: ours, AtMost: 10e6}},
	}
	for _, w := range append([]watchdog{oursFork}, others...) {
		s.Contestants = append(s.Contestants, Contestant{w.name, func(t *Turn) (Measured, error) {
			m, err := t.repeat(startsPerTurn, func() (time.Duration, error) {
				_, took, _, err := t.startWatchdog(w, "cat", 0)
				if err != nil {
					return 0, err
				}
				return took, t.stop()
			})
			if err == nil {
				m.Values["binary-bytes"] = float64(t.Tools[w.tool].Bytes)
			}
			return m, err
		}})
	}
	return s
}

// watchdogIdle measures memory twice: when nothing has been asked yet, and a moment after a thousand requests.
func watchdogIdle(tools contest.Tools, mode string, our watchdog, candidates ...watchdog) *Scenario {
	const requests, pause = 1000, 2 * time.Second
	others, absent := theirs(tools, mode, candidates...)
	s := &Scenario{
		Name:  "watchdog/idle-" + mode,
		About: fmt.Sprintf("Resident memory of the watchdog alone, mode %s: after its start, and %v after %d requests on 16 connections.", mode, pause, requests),
		Plot:  "used-rss-bytes", Absent: absent,
		Goals: []report.Goal{
			{Metric: "fresh-rss-bytes", Relation: report.Value, Of: ours, AtMost: 9e6},
			{Metric: "used-rss-bytes", Relation: report.Value, Of: ours, AtMost: 9e6},
		},
	}
	call := helloCall
	if mode == "fork" {
		call = echo("/", []byte("moo"))
	}
	for _, w := range append([]watchdog{our}, others...) {
		s.Contestants = append(s.Contestants, Contestant{w.name, func(t *Turn) (Measured, error) {
			var p *contest.Process
			var address string
			var err error
			if mode == "fork" {
				p, _, address, err = t.startWatchdog(w, "cat", 0)
			} else {
				p, address, err = t.startHTTP(w)
			}
			if err != nil {
				return Measured{}, err
			}
			fresh, err := p.Memory()
			if err != nil {
				return Measured{}, err
			}
			m, err := t.measure(load.Config{Address: address, Requests: []load.Request{call}, Conns: 16, Count: requests}, p, false)
			if err != nil {
				return m, err
			}
			select {
			case <-time.After(pause):
			case <-t.Context.Done():
				return m, t.Context.Err()
			}
			used, err := p.Memory()
			return Measured{Count: 1, Values: map[string]float64{"fresh-rss-bytes": float64(fresh), "used-rss-bytes": float64(used)}}, err
		}})
	}
	return s
}

// startHello starts the function that all modes http and all proxies have behind them.
func (t *Turn) startHello() (*contest.Process, int, error) {
	port, err := contest.Port()
	if err != nil {
		return nil, 0, err
	}
	p, _, err := t.Start("hello", port, []string{"-addr", local(port)}, nil)
	return p, port, err
}

// startWatchdog starts w on a port of its own and waits until it listens.
func (t *Turn) startWatchdog(w watchdog, program string, upstream int) (*contest.Process, time.Duration, string, error) {
	port, err := contest.Port()
	if err != nil {
		return nil, 0, "", err
	}
	args, env := w.command(port, program, upstream)
	p, took, err := t.Start(w.tool, port, args, env)
	return p, took, local(port), err
}

// startHTTP starts w before the hello server and waits until an answer comes through.
func (t *Turn) startHTTP(w watchdog) (*contest.Process, string, error) {
	upstream, err := contest.Port()
	if err != nil {
		return nil, "", err
	}
	p, _, address, err := t.startWatchdog(w, t.Tools["hello"].Path+" -addr "+local(upstream), upstream)
	if err != nil {
		return nil, "", err
	}
	return p, address, t.await(address, helloCall)
}

// startFork starts w with a program for each request and waits until it answers as it should.
func (t *Turn) startFork(w watchdog, program string, call load.Request) (*contest.Process, string, error) {
	p, _, address, err := t.startWatchdog(w, program, 0)
	if err != nil {
		return nil, "", err
	}
	return p, address, t.await(address, call)
}

// once is the latency of one call of the hello server on a connection of its own, opened before.
func (t *Turn) once(address string) (time.Duration, error) {
	result, err := load.Run(t.Context, load.Config{Address: address, Requests: []load.Request{helloCall}, Count: 1})
	if err != nil {
		return 0, err
	}
	return result.Quantile(1), result.Err()
}

// repeat measures something n times that has no load.
func (t *Turn) repeat(n int, measure func() (time.Duration, error)) (Measured, error) {
	h := hdr.New(int64(time.Microsecond), int64(10*time.Minute), 3)
	for range n {
		took, err := measure()
		if err != nil {
			return Measured{}, err
		}
		if err := h.RecordValue(int64(took)); err != nil {
			return Measured{}, err
		}
	}
	return Measured{Count: int64(n), Latency: report.Pairs(h), Values: map[string]float64{
		"ns/op":  h.Mean(),
		"p50-ns": float64(h.ValueAtQuantile(50)),
		"max-ns": float64(h.Max()),
	}}, nil
}

// awaitParked waits until p has no child.
func (t *Turn) awaitParked(p *contest.Process) error {
	limit := time.After(parkAfter + 10*time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for p.Children() > 0 {
		select {
		case <-tick.C:
		case <-limit:
			return fmt.Errorf("%s does not park its process", p.Name)
		case <-t.Context.Done():
			return t.Context.Err()
		}
	}
	return p.Check()
}
