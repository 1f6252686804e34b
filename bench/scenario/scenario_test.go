package scenario

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/bench/contest"
	"github.com/dragonchain/dc-provider/bench/load"
)

func TestScenario_ContestantsTakeTurns(t *testing.T) {
	var order string
	var folders []string
	turn := func(name string) Contestant {
		return Contestant{name, func(t *Turn) (Measured, error) {
			order += name
			folders = append(folders, t.Dir)
			return Measured{Count: 1, Values: map[string]float64{"req/s": float64(len(order))}}, os.WriteFile(filepath.Join(t.Dir, "x"), nil, 0o644)
		}}
	}
	s := Scenario{Name: "a/b", Contestants: []Contestant{turn("A"), turn("B"), turn("C")}}
	result, err := s.Run(t.Context(), Options{Rounds: 2, Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if order != "ABCABC" || len(result.Samples) != 6 || result.Samples[5].Contestant != "C" || result.Samples[5].Round != 1 {
		t.Errorf("order %s, samples %+v", order, result.Samples)
	}
	for _, folder := range folders {
		if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", folder, err)
		}
	}
}

func TestScenario_ErrorEndsItAndTellsWhatWasSaid(t *testing.T) {
	var pid int
	s := Scenario{Name: "a/b", Contestants: []Contestant{{"A", func(t *Turn) (Measured, error) {
		port, err := contest.Port()
		if err != nil {
			return Measured{}, err
		}
		p, _, err := t.Start("sh", port, []string{"-c", "echo alas; exit 1"}, nil)
		pid = p.PID
		return Measured{}, err
	}}}}
	_, err := s.Run(t.Context(), Options{Rounds: 2, Log: io.Discard, Tools: contest.Tools{"sh": {Path: "/bin/sh"}}})
	if err == nil || !strings.Contains(err.Error(), "alas") || !strings.Contains(err.Error(), "a/b, round 1, A") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid))); err == nil {
		t.Error("the process is still there")
	}
}

// What a scenario has made for its turns is taken away after them, and after one that failed.
func TestScenario_BeforeAndAfter(t *testing.T) {
	for _, failure := range []error{nil, errors.New("alas")} {
		var order string
		s := Scenario{
			Name: "a/b",
			Before: func(context.Context) (func(context.Context) error, error) {
				order += "before "
				return func(context.Context) error { order += "after"; return errors.New("left over") }, nil
			},
			Contestants: []Contestant{{"A", func(*Turn) (Measured, error) { order += "A "; return Measured{}, failure }}},
		}
		_, err := s.Run(t.Context(), Options{Rounds: 1, Log: io.Discard})
		if order != "before A after" || err == nil || !strings.Contains(err.Error(), "left over") || failure != nil && !errors.Is(err, failure) {
			t.Errorf("order %q, %v", order, err)
		}
	}
}

// A contestant that ends by itself while it is measured has no result, even if all answers were right.
func TestScenario_ContestantThatEnds(t *testing.T) {
	s := Scenario{Name: "a/b", Contestants: []Contestant{{"A", func(turn *Turn) (Measured, error) {
		p, err := contest.Start(contest.Command{Name: "sh", Path: "/bin/true", Dir: turn.Dir})
		if err != nil {
			return Measured{}, err
		}
		turn.started = append(turn.started, p)
		for end := time.Now().Add(10 * time.Second); p.Check() == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("true does not end")
			}
		}
		return Measured{Count: 1}, nil
	}}}}
	if _, err := s.Run(t.Context(), Options{Rounds: 1, Log: io.Discard}); err == nil {
		t.Error("no error")
	}
}

func TestTurn_AwaitsTheFirstRightAnswer(t *testing.T) {
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 4 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		io.WriteString(w, "hello world\n")
	}))
	defer server.Close()
	turn := &Turn{Context: t.Context()}
	if err := turn.await(server.Listener.Addr().String(), helloCall); err != nil {
		t.Fatal(err)
	}
	if calls.Load() != 4 {
		t.Errorf("%d calls", calls.Load())
	}
}

func TestTurn_WrongAnswerIsAnError(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "bye\n") }))
	defer server.Close()
	turn := &Turn{Context: t.Context(), Duration: 500 * time.Millisecond}
	_, err := turn.measure(load.Config{Address: server.Listener.Addr().String(), Requests: []load.Request{helloCall}}, nil, false)
	if err == nil || !strings.Contains(err.Error(), "wrong body") {
		t.Errorf("got %v", err)
	}
}

func TestWatchdogs_BaselineTakesTheirPlace(t *testing.T) {
	all := contest.Tools{"of-watchdog": {Path: "/of"}, "classic-watchdog": {Path: "/classic"}}
	none := contest.Tools{"of-watchdog": {Missing: "no such version"}, "classic-watchdog": {Missing: "no such version"}}
	tests := []struct {
		tools contest.Tools
		name  string
		want  []string
	}{
		{all, "watchdog/http-c16", []string{"direct", "ours", "of-watchdog"}},
		{none, "watchdog/http-c16", []string{"direct", "ours", "baseline"}},
		{all, "watchdog/fork-c1", []string{"ours", "ours-serializing", "ours-streaming", "classic-watchdog", "of-serializing", "of-streaming"}},
		{none, "watchdog/fork-c1", []string{"ours", "ours-serializing", "ours-streaming", "baseline"}},
	}
	for _, tt := range tests {
		for _, s := range Watchdogs(tt.tools) {
			if s.Name != tt.name {
				continue
			}
			var names []string
			for _, c := range s.Contestants {
				names = append(names, c.Name)
			}
			if !reflect.DeepEqual(names, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, names, tt.want)
			}
			for _, g := range s.Goals {
				if g.Over != "" && !strings.Contains(strings.Join(names, " "), g.Over) {
					t.Errorf("%s: a goal over %s, who takes no part", tt.name, g.Over)
				}
			}
		}
	}
}

func TestProxies_NamesOfContestantsAndGoals(t *testing.T) {
	all, err := Proxies(contest.Tools{"haproxy": {Missing: "not installed"}}, "http://gateway:8080/function/a")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(append(all, Watchdogs(contest.Tools{})...), Generator(contest.Tools{})) {
		names := map[string]bool{}
		for _, c := range s.Contestants {
			if names[c.Name] {
				t.Errorf("%s has two contestants %s", s.Name, c.Name)
			}
			names[c.Name] = true
			// The benchmark format takes a number at the end for GOMAXPROCS.
			if trailingNumber.MatchString(c.Name) {
				t.Errorf("%s: %s ends in a number", s.Name, c.Name)
			}
		}
		if names["haproxy"] {
			t.Errorf("%s has a contestant that is not there", s.Name)
		}
		for _, g := range s.Goals {
			if !names[g.Of] || g.Over != "" && !names[g.Over] {
				t.Errorf("%s: nobody for the goal %s", s.Name, g.Wanted())
			}
		}
	}
	if _, err := Proxies(nil, "https://gateway"); err == nil {
		t.Error("no error for a URL that cannot be called")
	}
}

// TestHot has a server be gateway, function and rival, each at its own path.
func TestHot(t *testing.T) {
	var mu sync.Mutex
	paths := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		paths[r.Method+" "+r.URL.Path]++
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	tools := contest.Tools{"nginx": {Path: "/sbin/nginx"}, "haproxy": {Path: "/sbin/haproxy"}, "faasproxy": {Missing: "not installed"}}
	closed, folder, asked := 0, "", time.Duration(0)
	s := Hot(tools, func(_ context.Context, dir string, rivals []Rival) (Site, func(context.Context) error, error) {
		folder = dir
		var commands [][]string
		for _, r := range rivals {
			command, err := r.Command(dir, "0.0.0.0:8080", address)
			if err != nil {
				t.Error(err)
			}
			commands = append(commands, command)
		}
		if len(commands) != 2 || commands[0][0] != "/sbin/nginx" || commands[1][0] != "/sbin/haproxy" {
			t.Errorf("rivals %q", commands)
		}
		return Site{
			Gateway: address, Path: "/function/hot", Function: address,
			Rivals: map[string]string{"nginx": address}, NoRivals: "elsewhere",
			CPU: func(name string) (time.Duration, bool) { asked++; return asked * time.Second, name != "nginx" },
		}, func(context.Context) error { closed++; return nil }, nil
	})
	result, err := s.Run(t.Context(), Options{Rounds: 1, Duration: 500 * time.Millisecond, Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	var who []string
	for _, sample := range result.Samples {
		who = append(who, sample.Contestant)
		_, cpu := sample.Values["cpu-ns/op"]
		if sample.Count == 0 || cpu != (sample.Contestant == ours) || sample.Values["function-cpu-ns/op"] == 0 {
			t.Errorf("%+v", sample)
		}
	}
	if !reflect.DeepEqual(who, []string{direct, ours, "nginx"}) || closed != 1 {
		t.Errorf("measured %q, closed %d times", who, closed)
	}
	if want := map[string]string{"haproxy": "elsewhere", "faas-provider": "not installed"}; !reflect.DeepEqual(result.Absent, want) {
		t.Errorf("absent %q", result.Absent)
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", folder, err)
	}
	server.Close() // its handlers have ended then
	if len(paths) != 2 || paths["POST "+functionPath] == 0 || paths["POST /function/hot"] == 0 {
		t.Errorf("called %v", paths)
	}
}

var trailingNumber = regexp.MustCompile(`-\d+$`)

func TestParseWrk(t *testing.T) {
	const out = `Running 1s test @ http://127.0.0.1:8082/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.05ms    0.95ms  12.00ms   85.00%
    Req/Sec    43.21k     2.00k   45.00k    70.00%
  Latency Distribution
     50%  820.00us
     75%    1.20ms
     90%    2.00ms
     99%    4.50ms
  43210 requests in 1.00s, 5.00MB read
Requests/sec:  43210.12
Transfer/sec:      5.00MB
`
	m, err := parseWrk(out)
	want := Measured{Count: 43210, Values: map[string]float64{"req/s": 43210.12, "p50-ns": 820e3, "p99-ns": 4.5e6}}
	if err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("got %+v, %v", m, err)
	}
	for _, bad := range []string{"", out + "  Non-2xx or 3xx responses: 3\n", out + "  Socket errors: connect 0, read 1, write 0, timeout 0\n"} {
		if _, err := parseWrk(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

// The distribution's proxies themselves say whether they understand what is written for them.
func TestFronts_Configurations(t *testing.T) {
	for path, tt := range map[string]struct {
		front front
		check []string
	}{"/usr/sbin/nginx": {nginxProxy, []string{"-t"}}, "/usr/sbin/haproxy": {haproxyProxy, []string{"-c"}}} {
		t.Run(tt.front.name, func(t *testing.T) {
			if _, err := os.Stat(path); err != nil {
				t.Skip("not installed")
			}
			port, err := contest.Port()
			if err != nil {
				t.Fatal(err)
			}
			args, err := tt.front.command(t.TempDir(), local(port), local(port))
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(path, append(args, tt.check...)...).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
