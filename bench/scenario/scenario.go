package scenario

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dragonchain/dc-provider/bench/contest"
	"github.com/dragonchain/dc-provider/bench/report"
)

// Placement says which processors did what.
const Placement = "The generator is one thread; contestants and functions have all CPUs (GOMAXPROCS as it is by default, nginx a worker and haproxy a thread for each CPU); nothing is pinned."

// Scenario is one question.
type Scenario struct {
	Name string
	// About is the load model and what else has to be known, in a sentence or two.
	About string
	// Plot names the value to be plotted.
	Plot        string
	Contestants []Contestant
	Goals       []report.Goal
	// Absent says for contestants that take no part why.
	Absent map[string]string
	// Skip says why the scenario cannot be measured at all. Empty if it can.
	Skip string
	// Rounds, if it is not 0, is how many there are if no number is asked for.
	Rounds int
	// Timed tells that a turn lasts as long as is asked for.
	Timed bool
	// Before, if it is set, is called before the first turn, and what it returns after the last, whatever happened.
	Before func(context.Context) (after func(context.Context) error, err error)
}

// Contestant is one way of doing it.
type Contestant struct {
	Name string
	// Turn measures once.
	Turn func(*Turn) (Measured, error)
}

// Measured is what a turn brings. With a Count of 0 the contestant took no part in this round.
type Measured struct {
	Count   int64
	Values  map[string]float64
	Latency [][2]int64
}

// Turn is what a contestant is given. Processes that it starts are stopped after it.
type Turn struct {
	Context  context.Context
	Tools    contest.Tools
	Root     string // of the repository
	Dir      string // a folder for this turn alone, on the disk that Options.Dir names
	Duration time.Duration
	Warmup   time.Duration
	started  []*contest.Process
}

// Options say how much to measure.
type Options struct {
	Tools contest.Tools
	Root  string
	// Dir is where turns have their folders, and so the disk that stores are measured on. Empty means os.TempDir.
	Dir      string
	Duration time.Duration
	Warmup   time.Duration
	// Rounds is how many are asked for. 0 leaves it to the scenario, or to Usual.
	Rounds, Usual int
	// Log is told what is going on.
	Log io.Writer
}

// Run measures all rounds of s. What was measured until an error is returned with it.
func (s *Scenario) Run(ctx context.Context, o Options) (result *report.Scenario, err error) {
	rounds := cmp.Or(o.Rounds, s.Rounds, o.Usual)
	result = &report.Scenario{Name: s.Name, About: s.About, Plot: s.Plot, Rounds: rounds, Absent: s.Absent, Goals: s.Goals}
	if s.Timed {
		result.Duration = o.Duration
	}
	if s.Before != nil {
		after, beforeErr := s.Before(ctx)
		if beforeErr != nil {
			return result, fmt.Errorf("%s: %w", s.Name, beforeErr)
		}
		defer func() { err = errors.Join(err, after(context.WithoutCancel(ctx))) }()
	}
	for round := range rounds {
		for _, c := range s.Contestants {
			fmt.Fprintf(o.Log, "%s: round %d of %d: %s\n", s.Name, round+1, rounds, c.Name)
			m, err := c.turn(ctx, o)
			if err != nil {
				return result, fmt.Errorf("%s, round %d, %s: %w", s.Name, round+1, c.Name, err)
			}
			if m.Count == 0 {
				continue
			}
			result.Samples = append(result.Samples, report.Sample{
				Round: round, Contestant: c.Name, Count: m.Count, Values: m.Values, Latency: m.Latency,
			})
		}
	}
	return result, nil
}

func (c Contestant) turn(ctx context.Context, o Options) (m Measured, err error) {
	dir, err := os.MkdirTemp(o.Dir, "dc-bench-")
	if err != nil {
		return m, err
	}
	t := &Turn{Context: ctx, Tools: o.Tools, Root: o.Root, Dir: dir, Duration: o.Duration, Warmup: o.Warmup}
	defer func() { err = errors.Join(err, t.stop(), os.RemoveAll(dir)) }()
	m, err = c.Turn(t)
	if err != nil {
		return m, fmt.Errorf("%w%s", err, t.said())
	}
	return m, t.check()
}

// Start starts a tool and waits until it listens on the port.
func (t *Turn) Start(tool string, port int, args, env []string) (*contest.Process, time.Duration, error) {
	p, err := contest.Start(contest.Command{
		Name: fmt.Sprintf("%s-%d", tool, len(t.started)), Path: t.Tools[tool].Path, Args: args, Env: env, Dir: t.Dir, Address: local(port),
	})
	if err != nil {
		return nil, 0, err
	}
	t.started = append(t.started, p)
	took, err := p.AwaitListening(t.Context)
	return p, took, err
}

// check is an error if a process has ended that nobody asked to.
func (t *Turn) check() error {
	var errs []error
	for _, p := range t.started {
		errs = append(errs, p.Check())
	}
	return errors.Join(errs...)
}

// stop stops what was started, the last first.
func (t *Turn) stop() error {
	var errs []error
	for i := len(t.started) - 1; i >= 0; i-- {
		errs = append(errs, t.started[i].Stop())
	}
	t.started = nil
	return errors.Join(errs...)
}

// said is the end of what each process has said, for an error.
func (t *Turn) said() (text string) {
	for _, p := range t.started {
		if tail := p.Tail(); tail != "" {
			text += "\n--- " + p.Name + " said\n" + tail
		}
	}
	return text
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
