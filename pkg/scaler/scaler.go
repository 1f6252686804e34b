package scaler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	defaultInterval = time.Second
	// changeTimeout bounds one change to zero, and leaveAlone is how long a function is left alone after it failed.
	changeTimeout = 30 * time.Second
	leaveAlone    = 10 * time.Second
	// changesAtOnce is how many functions go to zero side by side: enough to hide the API server's answer time, few
	// enough to leave it to the wakes.
	changesAtOnce = 8
	// fullEvery is in how many rounds one looks at all functions. The others look at those that have replicas, or had.
	fullEvery = 30
)

// Load is what a function has to do.
type Load struct {
	// InFlight is how many calls are at replicas, Waiting how many wait for one.
	InFlight, Waiting int
	// Queued is how many more were accepted to be made later, and could be made beside each other. They keep nothing from zero: a
	// call wakes the function when it is made.
	Queued int
	// Last is when a call last came or ended; zero if none did.
	Last time.Time
	// Started is how many calls have come so far, and CallTime how long all of them together have been there.
	Started  uint64
	CallTime time.Duration
	// Partial says that there may be more of everything, of which is not known now: no replica is taken for it.
	Partial bool
}

// Config joins a Scaler to the rest. All functions but Up, CPU, Available and Now are needed. None is called with a lock held.
type Config struct {
	// Functions lists all functions, and Lookup finds one, from memory. They see a change as soon as SetReplicas returns.
	Functions func() []*function.Function
	// Up lists the functions that are to have replicas, and takes no time for the others. nil picks them from Functions.
	Up     func() []*function.Function
	Lookup func(function.Ref) (*function.Function, bool)
	// Load tells what a function has to do.
	Load func(function.Ref) Load
	// Quiesce makes new calls of a function wait and reports true, or reports false if there is a call already. Resume
	// undoes it.
	Quiesce func(function.Ref) bool
	Resume  func(function.Ref)
	// SetReplicas changes how many replicas a function is to have, and notes why, in a line. An error may mean that it was
	// changed nevertheless.
	SetReplicas func(ctx context.Context, ref function.Ref, replicas int, why string) error
	// Claimed lists the functions that are served by claimed spares alone, and Steady has one get replicas of its own beside
	// them, which then take their place. Steady does not wait. nil: there is no warm pool.
	Claimed func() []Claimed
	Steady  func(ref function.Ref, id string)
	// CPU asks a function's replicas what processor time they take together, in thousandths of a processor. nil knows of none.
	CPU func(ctx context.Context, f *function.Function) (milli float64, known bool)
	// Available tells how many replicas of a function may be given work, for the metrics. nil leaves them out.
	Available func(function.Ref) int
	// Interval is the time between two rounds. 0 means a second; negative is refused.
	Interval time.Duration
	// Log is told of each change, at level Info. nil means none.
	Log *slog.Logger
	// Now tells the time. nil means time.Now.
	Now func() time.Time
}

// Scaler decides how many replicas functions have.
type Scaler struct {
	cfg     Config
	turns   turns
	wakes   wakes
	cpu     cpuReader
	metrics metrics
}

// New returns a Scaler. It starts nothing; Wake may be called before Run.
func New(cfg Config) (*Scaler, error) {
	switch {
	case cfg.Functions == nil || cfg.Lookup == nil || cfg.Load == nil || cfg.Quiesce == nil || cfg.Resume == nil || cfg.SetReplicas == nil:
		return nil, errors.New("scaler: Functions, Lookup, Load, Quiesce, Resume and SetReplicas are needed")
	case (cfg.Claimed == nil) != (cfg.Steady == nil):
		return nil, errors.New("scaler: of Claimed and Steady both are needed or none")
	case cfg.Interval < 0:
		return nil, fmt.Errorf("scaler: interval of %v", cfg.Interval)
	}
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.Up == nil {
		cfg.Up = cfg.Functions
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Scaler{
		cfg:     cfg,
		turns:   turns{of: make(map[function.Ref]*turn)},
		wakes:   wakes{of: make(map[function.Ref]*sharedWake)},
		cpu:     cpuReader{ask: cfg.CPU, read: make(map[string]reading)},
		metrics: newMetrics(cfg.Lookup, cfg.Available),
	}, nil
}

// Run makes a round every Interval until ctx ends. It may be called again then. Wake goes on without it, until Close.
func (s *Scaler) Run(ctx context.Context) error {
	clock := newIdleClock(s.cfg.Now())
	defer s.metrics.clear()
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	reading.Go(func() { s.cpu.run(ctx, s.cfg.Up, s.cfg.Now) })
	defer reading.Wait()
	defer cancel()
	ticker := time.NewTicker(s.cfg.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.round(ctx, clock)
			s.settleClaimed()
		case <-ctx.Done():
			return nil
		}
	}
}
