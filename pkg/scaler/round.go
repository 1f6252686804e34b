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
	// to is how many replicas are to be there, with what is said of it; for scale only.
	to recommendation
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

// due decides for every function that is up, or was up to restsAfter ago, and in some rounds for all.
func (s *Scaler) due(clock *idleClock) []*change {
	now := s.cfg.Now()
	var due []*change
	consider := func(f *function.Function) {
		if s.rests(clock, f, now) {
			return
		}
		if c := s.look(clock, f, now); c.what != keep && c.what != rest && !now.Before(c.up.leaveUntil) {
			due = append(due, c)
		}
	}
	list, full := s.cfg.Up, clock.round%fullEvery == 0
	if full {
		list = s.cfg.Functions
	}
	for _, f := range list() {
		consider(f)
	}
	// One that was sent to zero by whomever may have a call that came before.
	for _, ref := range clock.unseen() {
		if f, ok := s.cfg.Lookup(ref); ok {
			consider(f)
		}
	}
	for _, ref := range clock.sweep() {
		s.metrics.forget(ref)
	}
	if full {
		s.metrics.sweep()
	}
	return due
}

// rests reports whether a function is at zero, was so for a while, and nobody calls it: of such there may be a hundred thousand, and
// nothing is kept of them.
func (s *Scaler) rests(clock *idleClock, f *function.Function, now time.Time) bool {
	if f.Replicas > 0 {
		return false
	}
	if load := s.cfg.Load(f.Ref); load.InFlight+load.Waiting > 0 {
		return false
	}
	up := clock.of[f.Ref]
	if up != nil && (up.zero.IsZero() || now.Sub(up.zero) < restsAfter) {
		return false
	}
	delete(clock.of, f.Ref)
	return true
}

// look decides for one function.
func (s *Scaler) look(clock *idleClock, f *function.Function, now time.Time) *change {
	c := &change{f: f, up: clock.observe(f, now)}
	load := s.cfg.Load(f.Ref)
	c.what = s.decide(f, load, c.up, now)
	if f.Replicas == 0 {
		c.up.needed, c.up.trace, c.up.measuredAt = 0, trace{}, time.Time{}
		s.metrics.rest(f.Ref)
		return c
	}
	cpu, known := s.cpu.of(f, now)
	c.up.measure(now, f.Policy.Scale, load, cpu, known)
	switch c.what {
	case keep:
		c.to = c.up.trace.recommend(now, situation{
			policy: f.Policy.Scale, replicas: f.Replicas, inFlight: load.InFlight, limit: f.Policy.MaxInFlight,
			partial: load.Partial || f.Policy.Scale.Type == function.ScaleCPU && !known,
		})
		c.up.needed = c.to.needed
		if c.to.replicas != f.Replicas {
			c.what = scale
		}
	default:
		c.up.needed = f.Policy.Scale.Standby
	}
	s.metrics.look(f, c.up.needed)
	return c
}

func (s *Scaler) decide(f *function.Function, load Load, up *upTime, now time.Time) decision {
	d := demand{calls: load.InFlight + load.Waiting, last: load.Last, partial: load.Partial}
	return decide(now, f.Policy.Scale, f.Replicas, d, up.since)
}

func (s *Scaler) act(ctx context.Context, c *change) (made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	switch {
	case c.what == wake:
		return true, s.Wake(ctx, c.f)
	case c.what == scale:
		return s.scale(ctx, c)
	case c.f.Policy.Scale.Standby > 0:
		return s.toStandby(ctx, c)
	default:
		return s.toZero(ctx, c)
	}
}

// scale gives a function the replicas that its load needs, unless it has changed since.
func (s *Scaler) scale(ctx context.Context, c *change) (made bool, err error) {
	return s.change(ctx, c, c.to.replicas, c.to.why)
}

// toStandby leaves of an idle function only what stays parked, unless a call came since that was decided. One that comes now
// finds replicas still.
func (s *Scaler) toStandby(ctx context.Context, c *change) (made bool, err error) {
	if s.decide(c.f, s.cfg.Load(c.f.Ref), c.up, s.cfg.Now()) != zero {
		return false, nil
	}
	return s.change(ctx, c, c.f.Policy.Scale.Standby, fmt.Sprintf("%d parked, idle for %v", c.f.Policy.Scale.Standby, c.f.Policy.Scale.ZeroAfter))
}

// change sets the number of a function's replicas if it is what was looked at still.
func (s *Scaler) change(ctx context.Context, c *change, replicas int, why string) (made bool, err error) {
	ref := c.f.Ref
	done, err := s.turns.take(ctx, ref)
	if err != nil {
		return false, fmt.Errorf("scale %q: %w", ref, err)
	}
	defer done()
	if f, ok := s.cfg.Lookup(ref); !ok || f.ID != c.f.ID || f.Replicas != c.f.Replicas {
		return false, nil
	}
	switch err := s.cfg.SetReplicas(ctx, ref, replicas, why); {
	case errors.Is(err, function.ErrNotFound): // deleted meanwhile
		return false, nil
	case err != nil:
		return false, fmt.Errorf("scale %q: %w", ref, err)
	}
	return true, nil
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
	if s.decide(f, s.cfg.Load(ref), c.up, s.cfg.Now()) != zero {
		s.cfg.Resume(ref)
		return false, nil
	}
	err = s.cfg.SetReplicas(ctx, ref, 0, fmt.Sprintf("idle for %v", f.Policy.Scale.ZeroAfter))
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
	case !c.made:
	case c.what == scale:
		s.metrics.changed(c.f.Ref, c.to.reason)
	case c.what == zero:
		s.metrics.changed(c.f.Ref, reasonIdle)
		log.InfoContext(ctx, "function at zero", "standby", c.f.Policy.Scale.Standby, "idle_seconds", c.f.Policy.Scale.ZeroAfter.Seconds())
	}
}
