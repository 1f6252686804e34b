package scaler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// change is what a round found to be done for one function, and what came of it.
type change struct {
	f    *function.Function
	what decision
	up   *upTime
	// made is false if there was nothing to do any more.
	made bool
	err  error
}

// round decides for every function, acts, and returns what it did when all of it is done.
func (s *Scaler) round(ctx context.Context, clock *idleClock) []*change {
	due := s.due(clock)
	var group errgroup.Group
	group.SetLimit(changesAtOnce)
	for _, c := range due {
		group.Go(func() error {
			c.made, c.err = s.act(ctx, c)
			return nil // one function's error is none of the others'
		})
	}
	_ = group.Wait()
	for _, c := range due {
		s.settle(ctx, c)
	}
	return due
}

// due decides for every function.
func (s *Scaler) due(clock *idleClock) []*change {
	now := s.cfg.Now()
	var due []*change
	for _, f := range s.cfg.Functions() {
		if f.Replicas > 0 && !f.Policy.Scale.Zero {
			continue // most functions cost no more than this
		}
		up := clock.observe(f, now)
		if what := s.decide(f, up, now); what != keep && !now.Before(up.leaveUntil) {
			due = append(due, &change{f: f, what: what, up: up})
		}
	}
	clock.sweep()
	return due
}

func (s *Scaler) decide(f *function.Function, up *upTime, now time.Time) decision {
	calls, last := s.cfg.Load(f.Ref)
	return decide(now, f.Policy.Scale, f.Replicas, demand{calls: calls, last: last}, up.since)
}

func (s *Scaler) act(ctx context.Context, c *change) (made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if c.what == wake {
		return true, s.Wake(ctx, c.f)
	}
	return s.toZero(ctx, c)
}

// toZero sends a function to zero unless a call came since that was decided.
func (s *Scaler) toZero(ctx context.Context, c *change) (made bool, err error) {
	ref := c.f.Ref
	done, err := s.turns.take(ctx, ref)
	if err != nil {
		return false, fmt.Errorf("send %q to zero: %w", ref, err)
	}
	defer done()
	f, ok := s.cfg.Lookup(ref)
	if !ok || f.ID != c.f.ID || !s.cfg.Quiesce(ref) {
		return false, nil
	}
	// Nothing comes now, but a call may have come and gone before.
	if s.decide(f, c.up, s.cfg.Now()) != zero {
		s.cfg.Resume(ref)
		return false, nil
	}
	err = s.cfg.SetReplicas(ctx, ref, 0)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, function.ErrNotFound): // deleted meanwhile; that is zero enough
		err = nil
	default:
		err = fmt.Errorf("send %q to zero: %w", ref, err)
	}
	s.cfg.Resume(ref)
	return false, err
}

// settle tells of a change, and leaves a function alone for a while that could not be changed.
func (s *Scaler) settle(ctx context.Context, c *change) {
	log := s.cfg.Log.With("function", c.f.Name, "namespace", c.f.Namespace)
	switch {
	case c.err != nil && ctx.Err() != nil: // we are stopping
	case c.err != nil:
		c.up.leaveUntil = s.cfg.Now().Add(leaveAlone)
		log.WarnContext(ctx, "function not scaled", "err", c.err)
	case c.made && c.what == zero:
		log.InfoContext(ctx, "function at zero", "idle_seconds", c.f.Policy.Scale.ZeroAfter.Seconds())
	}
}
