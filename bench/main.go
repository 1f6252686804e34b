package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dragonchain/dc-provider/bench/cluster"
	"github.com/dragonchain/dc-provider/bench/contest"
	"github.com/dragonchain/dc-provider/bench/report"
	"github.com/dragonchain/dc-provider/bench/scenario"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	root, out     string
	run, url      string
	rounds, usual int // those that were asked for, 0 if none were, and those of most scenarios
	duration      time.Duration
	full          bool
	list, prepare bool
	with          map[string]string
}

const usage = `bench measures the watchdog, the data plane, heaps and the cluster, beside what others have.

  bench -prepare            build what is compared; this may need the network
  bench -list               list the scenarios
  bench -run 'watchdog/.*'  measure those whose names match; all of them without -run

What cannot be measured here, for want of a cluster or a program, is skipped, and the report says so. Everything goes to a
folder of its own in OUT: report.md with its plots, bench.txt for benchstat, results.json.

`

func parse(args []string, errs io.Writer) (o options, err error) {
	o.with = map[string]string{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() { fmt.Fprint(errs, usage); flags.PrintDefaults() }
	flags.StringVar(&o.root, "root", ".", "root of the repository, a `folder`")
	flags.StringVar(&o.out, "out", ".dev/bench", "`folder` for tools and results")
	flags.StringVar(&o.run, "run", "", "`regexp` that the names of scenarios must match as a whole, or up to a slash")
	flags.StringVar(&o.url, "url", "", "`URL` of a function of an OpenFaaS-compatible installation, to take part where bodies are small; "+
		"a path is one of OPENFAAS_URL")
	flags.IntVar(&o.rounds, "n", 0, "`rounds` of each scenario (default 3, with -full 10; some have more)")
	flags.DurationVar(&o.duration, "d", 0, "`time` of a turn, a third of it before as warm-up (default 1.5s, with -full 5s)")
	flags.BoolVar(&o.full, "full", false, "more and longer rounds, for figures to be kept")
	flags.BoolVar(&o.list, "list", false, "list the scenarios")
	flags.BoolVar(&o.prepare, "prepare", false, "build what is compared and measure nothing")
	flags.Func("with", "with -prepare: `TOOL=PATH` of a program to use as it is, such as of-watchdog=/usr/bin/fwatchdog", func(text string) error {
		name, path, ok := strings.Cut(text, "=")
		if !ok || name == "" || path == "" {
			return errors.New("want TOOL=PATH")
		}
		o.with[name] = path
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 || o.rounds < 0 || o.duration < 0 {
		return o, errors.New("no arguments are taken, and rounds and time are not negative; see -help")
	}
	rounds, duration := 3, 1500*time.Millisecond
	if o.full {
		rounds, duration = 10, 5*time.Second
	}
	o.usual = rounds
	if o.duration == 0 {
		o.duration = duration
	}
	if o.root, err = filepath.Abs(o.root); err != nil {
		return o, err
	}
	if o.out, err = filepath.Abs(o.out); err != nil {
		return o, err
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	bin := filepath.Join(o.out, "bin")
	if o.prepare {
		_, err := contest.Prepare(ctx, o.root, bin, o.with, stderr)
		return err
	}
	tools, err := contest.Open(bin)
	if err != nil {
		return err
	}
	if strings.HasPrefix(o.url, "/") {
		o.url = strings.TrimSuffix(os.Getenv("OPENFAAS_URL"), "/") + o.url
	}
	known, err := all(ctx, tools, o.url)
	if err != nil {
		return err
	}
	scenarios, err := choose(known, o.run)
	if err != nil {
		return err
	}
	if o.list {
		return list(scenarios, stdout)
	}
	if err := raiseFileLimit(); err != nil {
		return err
	}
	return measure(ctx, o, tools, scenarios, stdout, stderr)
}

// raiseFileLimit lets contestants have as many descriptors as the system allows. What Go does by itself it undoes for children.
func raiseFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	return nil
}

// all are the scenarios in the order in which they run. The versions of the cluster, if there is one, are added to tools.
func all(ctx context.Context, tools contest.Tools, url string) ([]*scenario.Scenario, error) {
	proxies, err := scenario.Proxies(tools, url)
	if err != nil {
		return nil, err
	}
	onCluster, versions := cluster.Scenarios(ctx, tools)
	maps.Copy(tools, versions)
	scenarios := []*scenario.Scenario{scenario.Generator(tools)}
	scenarios = append(scenarios, scenario.Watchdogs(tools)...)
	scenarios = append(append(scenarios, proxies...), scenario.Heaps(tools)...)
	return append(scenarios, onCluster...), nil
}

func choose(scenarios []*scenario.Scenario, pattern string) (chosen []*scenario.Scenario, err error) {
	if pattern == "" {
		return scenarios, nil
	}
	re, err := regexp.Compile("^(?:" + pattern + ")(?:/.*)?$")
	if err != nil {
		return nil, err
	}
	for _, s := range scenarios {
		if re.MatchString(s.Name) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no scenario is named %q: see -list", pattern)
	}
	return chosen, nil
}

func list(scenarios []*scenario.Scenario, w io.Writer) error {
	for _, s := range scenarios {
		if _, err := fmt.Fprintf(w, "%-22s %s\n", s.Name, s.About); err != nil {
			return err
		}
		if s.Skip != "" {
			if _, err := fmt.Fprintf(w, "%-22s (skipped here: %s)\n", "", s.Skip); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure runs the scenarios and keeps the results, those until an error too.
func measure(ctx context.Context, o options, tools contest.Tools, scenarios []*scenario.Scenario, stdout, stderr io.Writer) error {
	results := &report.Results{Started: time.Now(), Machine: report.ThisMachine(), Placement: scenario.Placement, Tools: tools}
	var failed error
	for _, s := range scenarios {
		if s.Skip != "" {
			fmt.Fprintf(stderr, "%s: skipped: %s\n", s.Name, s.Skip)
			results.Scenarios = append(results.Scenarios, &report.Scenario{Name: s.Name, About: s.About, Goals: s.Goals, Skipped: s.Skip})
			continue
		}
		result, err := s.Run(ctx, scenario.Options{
			Tools: tools, Root: o.root, Dir: o.out, Rounds: o.rounds, Usual: o.usual, Duration: o.duration, Warmup: o.duration / 3, Log: stderr,
		})
		results.Scenarios = append(results.Scenarios, result)
		if err != nil {
			fmt.Fprintln(stderr, err)
			failed = errors.Join(failed, err)
			result.Failed = err.Error()
			if ctx.Err() != nil {
				break // the others would end the same way
			}
			continue
		}
		if err := result.Table(stderr); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(results.Scenarios, func(s *report.Scenario) bool { return s.Skipped == "" }) {
		return errors.New("nothing that was asked for can be measured here")
	}
	fmt.Fprint(stdout, results.Benchmarks())
	folder, err := results.Save(o.out)
	if err != nil {
		return errors.Join(failed, err)
	}
	fmt.Fprintln(stderr)
	if err := results.GoalTable(stderr); err != nil {
		return errors.Join(failed, err)
	}
	fmt.Fprintf(stderr, "\n%s\nreport: %s\n", results.Machine, filepath.Join(folder, "report.md"))
	return failed
}
