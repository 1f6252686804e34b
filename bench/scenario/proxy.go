package scenario

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/dragonchain/dc-provider/bench/contest"
	"github.com/dragonchain/dc-provider/bench/load"
	"github.com/dragonchain/dc-provider/bench/report"
)

// functionPath is where all proxies have the function. Whatever follows is the function's own path.
const functionPath = "/function/f0"

// front is a proxy with one function behind it.
type front struct {
	name, tool string
	// command gives the arguments for a proxy that listens on an address before a function at another. It may write files to dir.
	command func(dir, listen, upstream string) (args []string, err error)
}

var (
	oursProxy  = front{ours, "ourproxy", flags()}
	faasProxy  = front{"faas-provider", "faasproxy", flags()}
	nginxProxy = front{"nginx", "nginx", func(dir, listen, upstream string) ([]string, error) {
		file, err := write(dir, "nginx.conf", fmt.Sprintf(nginxConfig, runtime.NumCPU(), dir, upstream, listen))
		return []string{"-p", dir, "-c", file, "-e", "stderr"}, err
	}}
	haproxyProxy = front{"haproxy", "haproxy", func(dir, listen, upstream string) ([]string, error) {
		file, err := write(dir, "haproxy.cfg", fmt.Sprintf(haproxyConfig, runtime.NumCPU(), listen, upstream))
		return []string{"-db", "-f", file}, err
	}}
)

// flags is the command line of the proxies in bench/cmd.
func flags(more ...string) func(dir, listen, upstream string) ([]string, error) {
	return func(_, listen, upstream string) ([]string, error) {
		return append([]string{"-addr", listen, "-endpoint", upstream}, more...), nil
	}
}

// As one would set it up for this work: connections are kept on both sides, nothing is logged, request bodies stream, and an
// answer of 1 MiB fits the buffers without a file.
const nginxConfig = `
daemon off;
user root;
worker_processes %d;
pid %[2]s/nginx.pid;
error_log stderr error;
events { worker_connections 16384; }
http {
	access_log off;
	client_body_temp_path %[2]s/body;
	proxy_temp_path %[2]s/proxy;
	fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi;
	scgi_temp_path %[2]s/scgi;
	keepalive_timeout 120s;
	keepalive_requests 1000000000;
	client_max_body_size 0;
	upstream function {
		server %[3]s;
		keepalive 1024;
		keepalive_requests 1000000000;
	}
	server {
		listen %[4]s backlog=8192;
		location /function/ {
			proxy_pass http://function;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_request_buffering off;
			proxy_buffers 16 64k;
			proxy_max_temp_file_size 0;
		}
	}
}
`

const haproxyConfig = `
global
	nbthread %d
	maxconn 9000
defaults
	mode http
	timeout connect 5s
	timeout client 120s
	timeout server 60s
	option http-keep-alive
	option forwardfor
	http-reuse always
frontend in
	bind %s backlog 8192
	default_backend function
backend function
	server one %s pool-max-conn 1024
`

func write(dir, name, content string) (string, error) {
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(content), 0o644)
}

// Proxies are the scenarios of the data plane. url, if it is not empty, names a function of an installation that takes part in
// those with small bodies.
func Proxies(tools contest.Tools, url string) ([]*Scenario, error) {
	small := []front{oursProxy, nginxProxy, haproxyProxy, faasProxy}
	call := hello("POST", functionPath)
	c64 := proxyScenario(tools, "proxy/c64", "Closed loop, 64 connections, POST of 3 bytes, answer of 12.",
		load.Config{Requests: []load.Request{call}, Conns: 64}, small)
	c64.Goals = []report.Goal{
		{Metric: "req/s", Relation: report.Ratio, Of: ours, Over: "nginx", AtLeast: 1},
		{Metric: "req/s", Relation: report.Ratio, Of: ours, Over: "faas-provider", AtLeast: 2},
		{Metric: "p99-ns", Relation: report.Ratio, Of: ours, Over: "nginx", AtMost: 1.1},
	}
	c1 := proxyScenario(tools, "proxy/c1", "Closed loop, 1 connection, POST of 3 bytes, answer of 12.",
		load.Config{Requests: []load.Request{call}}, small)
	c1.Plot = "p50-ns"
	c1.Goals = []report.Goal{{Metric: "p50-ns", Relation: report.Difference, Of: ours, Over: direct, AtMost: 80e3}}
	open := proxyScenario(tools, "proxy/open-1k", "Open loop, 1,000 requests a second on up to 64 connections, POST of 3 bytes; latency from when a request was due.",
		load.Config{Requests: []load.Request{call}, Conns: 64, Rate: 1000}, small)
	open.Plot = "p99-ns"
	open.Goals = []report.Goal{
		{Metric: "p50-ns", Relation: report.Difference, Of: ours, Over: direct, AtMost: 0.3e6},
		{Metric: "p99-ns", Relation: report.Difference, Of: ours, Over: direct, AtMost: 3e6},
	}
	if url != "" {
		address, path, err := load.ParseURL(url)
		if err != nil {
			return nil, fmt.Errorf("-url: %w", err)
		}
		for s, cfg := range map[*Scenario]load.Config{c64: {Conns: 64}, c1: {}, open: {Conns: 64, Rate: 1000}} {
			s.Contestants = append(s.Contestants, elsewhere(cfg, address, path))
		}
	}
	return []*Scenario{c64, c1, open, proxyBodies(tools), proxyConnections(tools), proxyFunctions(tools)}, nil
}

// elsewhere is a function of an installation that runs already. What it answers is its own affair, if it is a 200.
func elsewhere(cfg load.Config, address, path string) Contestant {
	cfg.Address = address
	cfg.Requests = []load.Request{anyAnswer(address, path)}
	return Contestant{"url", func(t *Turn) (Measured, error) { return t.measure(cfg, nil, false) }}
}

func anyAnswer(address, path string) load.Request {
	call := load.NewRequest("POST", address, path, []byte("moo"), "Content-Type: text/plain")
	call.Any = true
	return call
}

// proxyScenario has the same load on direct and on the proxies that are there.
func proxyScenario(tools contest.Tools, name, about string, cfg load.Config, fronts []front) *Scenario {
	s := &Scenario{Name: name, About: about, Plot: "req/s", Timed: true, Absent: map[string]string{}}
	s.Contestants = append(s.Contestants, Contestant{direct, func(t *Turn) (Measured, error) {
		_, port, err := t.startHello()
		if err != nil {
			return Measured{}, err
		}
		cfg := cfg
		cfg.Address = local(port)
		return t.measure(cfg, nil, false)
	}})
	for _, f := range s.there(tools, fronts) {
		s.Contestants = append(s.Contestants, Contestant{f.name, func(t *Turn) (Measured, error) {
			p, address, err := t.startFront(f)
			if err != nil {
				return Measured{}, err
			}
			cfg := cfg
			cfg.Address = address
			return t.measure(cfg, p, true)
		}})
	}
	return s
}

// there are those of fronts that can take part; for the others it says why not.
func (s *Scenario) there(tools contest.Tools, fronts []front) (there []front) {
	for _, f := range fronts {
		if missing := tools[f.tool].Missing; missing != "" {
			s.Absent[f.name] = missing
			continue
		}
		there = append(there, f)
	}
	return there
}

func proxyBodies(tools contest.Tools) *Scenario {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	s := proxyScenario(tools, "proxy/bodies", "Closed loop, 8 connections, POST of 1 MiB that comes back when the function has it whole; both ways count.",
		load.Config{Requests: []load.Request{echo(functionPath+"/echo", body)}, Conns: 8}, []front{oursProxy, nginxProxy, haproxyProxy, faasProxy})
	for i, c := range s.Contestants {
		s.Contestants[i].Turn = func(t *Turn) (Measured, error) {
			m, err := c.Turn(t)
			if err == nil {
				m.Values["B/s"] = m.Values["req/s"] * 2 * float64(len(body))
			}
			return m, err
		}
	}
	s.Plot = "B/s"
	s.Goals = []report.Goal{{Metric: "B/s", Relation: report.Ratio, Of: ours, Over: "nginx", AtLeast: 0.9}}
	return s
}

func proxyConnections(tools contest.Tools) *Scenario {
	const conns, inFlight = 5000, 1000
	s := &Scenario{
		Name: "proxy/connections",
		About: fmt.Sprintf("Closed loop, %d connections that take turns, %d requests in flight, each for 100 ms in the function. "+
			"An error ends it. Memory is what the proxy has grown by at its most, for each connection.", conns, inFlight),
		Plot: "rss-bytes/conn", Timed: true, Absent: map[string]string{},
		Goals: []report.Goal{{Metric: "rss-bytes/conn", Relation: report.Value, Of: ours, AtMost: 64 << 10}},
	}
	cfg := load.Config{Requests: []load.Request{hello("POST", functionPath+"/sleep")}, Conns: conns, InFlight: inFlight}
	for _, f := range s.there(tools, []front{oursProxy, nginxProxy, faasProxy}) {
		s.Contestants = append(s.Contestants, Contestant{f.name, func(t *Turn) (Measured, error) {
			p, address, err := t.startFront(f)
			if err != nil {
				return Measured{}, err
			}
			before, err := p.TreeMemory()
			if err != nil {
				return Measured{}, err
			}
			cfg := cfg
			cfg.Address = address
			stop := p.WatchMemory(100 * time.Millisecond)
			m, err := t.measure(cfg, p, true)
			most := stop()
			if err == nil {
				m.Values["rss-bytes/conn"] = float64(most-before) / conns
			}
			return m, err
		}})
	}
	return s
}

func proxyFunctions(_ contest.Tools) *Scenario {
	const hot, many = 100, 10000
	s := &Scenario{
		Name: "proxy/functions",
		About: fmt.Sprintf("Closed loop, 64 connections, requests to %d functions in turn. ours-few knows no others, ours-many knows %d. "+
			"The heap is that after the load less that of a proxy with one function, for each function.", hot, many),
		Plot: "req/s", Timed: true,
		Rounds: 12, // what a few of them tell apart is more than the goal's 5 %
		Goals: []report.Goal{
			{Metric: "req/s", Relation: report.Ratio, Of: "ours-many", Over: "ours-few", AtLeast: 0.95},
			{Metric: "heap-bytes/function", Relation: report.Value, Of: "ours-many", AtMost: 4 << 10},
		},
	}
	var calls []load.Request
	for i := range hot {
		calls = append(calls, hello("POST", fmt.Sprintf("/function/f%d", i)))
	}
	for _, known := range []int{hot, many} {
		name := "ours-few"
		if known == many {
			name = "ours-many"
		}
		s.Contestants = append(s.Contestants, Contestant{name, func(t *Turn) (Measured, error) {
			_, _, heap, err := t.startKnowing(1)
			if err != nil {
				return Measured{}, err
			}
			base, err := heap()
			if err != nil {
				return Measured{}, err
			}
			if err := t.stop(); err != nil {
				return Measured{}, err
			}
			p, address, heap, err := t.startKnowing(known)
			if err != nil {
				return Measured{}, err
			}
			m, err := t.measure(load.Config{Address: address, Requests: calls, Conns: 64}, p, true)
			if err != nil {
				return m, err
			}
			bytes, err := heap()
			if known == many {
				// Of few functions it would be the connections' buffers, not theirs.
				m.Values["heap-bytes/function"] = float64(bytes-base) / float64(known)
			}
			return m, err
		}})
	}
	return s
}

// startFront starts f with a function behind it and waits until an answer comes through.
func (t *Turn) startFront(f front) (*contest.Process, string, error) {
	_, upstream, err := t.startHello()
	if err != nil {
		return nil, "", err
	}
	p, address, err := t.startBefore(f, local(upstream))
	if err != nil {
		return nil, "", err
	}
	return p, address, t.await(address, hello("POST", functionPath))
}

// startBefore starts f before the function at upstream and waits until it listens.
func (t *Turn) startBefore(f front, upstream string) (*contest.Process, string, error) {
	port, err := contest.Port()
	if err != nil {
		return nil, "", err
	}
	args, err := f.command(t.Dir, local(port), upstream)
	if err != nil {
		return nil, "", err
	}
	p, _, err := t.Start(f.tool, port, args, nil)
	return p, local(port), err
}

// startKnowing starts our proxy with so many functions. heap asks it for the bytes of its heap.
func (t *Turn) startKnowing(functions int) (p *contest.Process, address string, heap func() (int64, error), err error) {
	debug, err := contest.Port()
	if err != nil {
		return nil, "", nil, err
	}
	p, address, err = t.startFront(front{ours, "ourproxy", flags("-functions", strconv.Itoa(functions), "-debug", local(debug))})
	return p, address, func() (int64, error) {
		answer, err := http.Get("http://" + local(debug) + "/heap")
		if err != nil {
			return 0, err
		}
		defer answer.Body.Close()
		defer http.DefaultClient.CloseIdleConnections()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			return 0, err
		}
		return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	}, err
}
