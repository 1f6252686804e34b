package scaler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
)

// Config joins a Scaler to the rest. All functions but Now are needed. None is called with a lock held.
type Config struct {
	// Functions lists all functions, and Lookup finds one, from memory. They see a change as soon as SetReplicas returns.
	Functions func() []*function.Function
	Lookup    func(function.Ref) (*function.Function, bool)
	// Load tells how many calls of a function are in flight or waiting, and when one last came or ended.
	Load func(function.Ref) (calls int, last time.Time)
	// Quiesce makes new calls of a function wait and reports true, or reports false if there is a call already. Resume
	// undoes it.
	Quiesce func(function.Ref) bool
	Resume  func(function.Ref)
	// SetReplicas changes how many replicas a function is to have. An error may mean that it was changed nevertheless.
	SetReplicas func(ctx context.Context, ref function.Ref, replicas int) error
	// Claimed lists the functions that are served by claimed spares alone, and Steady has one get replicas of its own beside
	// them, which then take their place. Steady does not wait. nil: there is no warm pool.
	Claimed func() []Claimed
	Steady  func(ref function.Ref, id string)
	// Interval is the time between two rounds. 0 means a second; negative is refused.
	Interval time.Duration
	// Log is told of each change, at level Info. nil means none.
	Log *slog.Logger
	// Now tells the time. nil means time.Now.
	Now func() time.Time
}

// Scaler decides how many replicas functions have.
type Scaler struct {
	cfg   Config
	turns turns
	wakes wakes
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
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Scaler{
		cfg:   cfg,
		turns: turns{of: make(map[function.Ref]*turn)},
		wakes: wakes{of: make(map[function.Ref]*sharedWake)},
	}, nil
}

// Run makes a round every Interval until ctx ends. A Scaler runs once; Wake goes on without it, until Close.
func (s *Scaler) Run(ctx context.Context) error {
	clock := newIdleClock(s.cfg.Now())
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
