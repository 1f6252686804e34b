package scenario

import (
	"context"
	"fmt"
	"math"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dragonchain/dc-provider/bench/contest"
	"github.com/dragonchain/dc-provider/bench/load"
	"github.com/dragonchain/dc-provider/bench/report"
)

// Generator compares the generator of package load with wrk: if it were the slower one, it would be what all else measures.
func Generator(tools contest.Tools) *Scenario {
	const conns = 64
	return &Scenario{
		Name:  "check/generator",
		About: fmt.Sprintf("The function itself. Closed loop, %d connections, GET, answer of 12 bytes; our generator and wrk -t1 take turns.", conns),
		Plot:  "req/s", Timed: true, Skip: missing("wrk", tools),
		Goals: []report.Goal{{Metric: "req/s", Relation: report.Ratio, Of: "generator", Over: "wrk", AtLeast: 0.95}},
		Contestants: []Contestant{
			{"generator", func(t *Turn) (Measured, error) {
				_, port, err := t.startHello()
				if err != nil {
					return Measured{}, err
				}
				call := load.NewRequest("GET", local(port), "/", nil)
				call.Body = helloCall.Body
				return t.measure(load.Config{Address: local(port), Requests: []load.Request{call}, Conns: conns}, nil, false)
			}},
			{"wrk", func(t *Turn) (Measured, error) {
				_, port, err := t.startHello()
				if err != nil {
					return Measured{}, err
				}
				if _, err := runWrk(t.Context, t.Tools["wrk"].Path, port, conns, t.Warmup); err != nil {
					return Measured{}, err
				}
				return runWrk(t.Context, t.Tools["wrk"].Path, port, conns, t.Duration)
			}},
		},
	}
}

// missing says why a scenario that needs a tool is skipped.
func missing(tool string, tools contest.Tools) string {
	if why := tools[tool].Missing; why != "" {
		return tool + ": " + why
	}
	return ""
}

// runWrk runs wrk for a time, which it takes in whole seconds.
func runWrk(ctx context.Context, path string, port, conns int, d time.Duration) (Measured, error) {
	seconds := int(math.Ceil(d.Seconds()))
	out, err := exec.CommandContext(ctx, path, "-t1", fmt.Sprintf("-c%d", conns), fmt.Sprintf("-d%ds", seconds), "--latency", "http://"+local(port)+"/").CombinedOutput()
	if err != nil {
		return Measured{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	return parseWrk(string(out))
}

var (
	wrkRate    = regexp.MustCompile(`(?m)^Requests/sec:\s+([0-9.]+)$`)
	wrkCount   = regexp.MustCompile(`(?m)^\s*(\d+) requests in `)
	wrkLatency = regexp.MustCompile(`(?m)^\s+(50|99)%\s+([0-9.]+)(us|ms|s)$`)
	wrkTrouble = regexp.MustCompile(`(?m)^\s*(Socket errors|Non-2xx).*$`)
)

func parseWrk(out string) (Measured, error) {
	if trouble := wrkTrouble.FindString(out); trouble != "" {
		return Measured{}, fmt.Errorf("wrk: %s", strings.TrimSpace(trouble))
	}
	rate, count, latency := wrkRate.FindStringSubmatch(out), wrkCount.FindStringSubmatch(out), wrkLatency.FindAllStringSubmatch(out, -1)
	if rate == nil || count == nil || len(latency) != 2 {
		return Measured{}, fmt.Errorf("wrk said something else: %s", out)
	}
	m := Measured{Values: map[string]float64{}}
	// The expressions let through nothing but numbers.
	m.Values["req/s"], _ = strconv.ParseFloat(rate[1], 64)
	m.Count, _ = strconv.ParseInt(count[1], 10, 64)
	for _, l := range latency {
		value, _ := strconv.ParseFloat(l[2], 64)
		unit := map[string]float64{"us": 1e3, "ms": 1e6, "s": 1e9}[l[3]]
		m.Values["p"+l[1]+"-ns"] = value * unit
	}
	return m, nil
}
