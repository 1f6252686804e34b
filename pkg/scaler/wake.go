package scaler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// wakeTimeout bounds a wake whose callers have more patience than that.
	wakeTimeout = 5 * time.Minute
	// tryTimeout bounds one try of a wake: an answer that takes longer does not come.
	tryTimeout = 10 * time.Second
	// The pause after a try that had no answer begins with the first and doubles up to the last.
	firstPause, lastPause = 100 * time.Millisecond, time.Second
)

// ErrStopped: the scaler has stopped and wakes nothing any more.
var ErrStopped = errors.New("scaler has stopped")

// wakes holds the wakes that are under way.
type wakes struct {
	mu      sync.Mutex
	of      map[function.Ref]*sharedWake
	stopped bool
	// running counts the goroutines of wakes.
	running sync.WaitGroup
}

// sharedWake is one wake and those who wait for it.
type sharedWake struct {
	waiters int
	// cancel ends it when nobody waits.
	cancel context.CancelFunc
	// done is closed when err is set.
	done chan struct{}
	err  error
}

// Wake returns when f has been given its initial replicas, or had some already; an endpoint may come later. Callers share
// one wake for each function and leave it when their ctx ends. An error wraps that of SetReplicas, ctx or
// function.ErrNotFound; what SetReplicas says is function.ErrUnavailable is tried again.
func (s *Scaler) Wake(ctx context.Context, f *function.Function) error {
	if s.awake(f.Ref) {
		return nil
	}
	w, err := s.joinWake(ctx, f.Ref)
	if err != nil {
		return err
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		s.leaveWake(f.Ref, w)
		return ctx.Err()
	}
}

// awake reports whether a function has replicas and is not about to lose them. The order matters: the caller is counted
// as waiting, so that whoever takes the turn after the first question gets no leave to go to zero, and what those before
// did is seen by the second.
func (s *Scaler) awake(ref function.Ref) bool {
	if s.turns.taken(ref) {
		return false
	}
	f, ok := s.cfg.Lookup(ref)
	return ok && f.Replicas > 0
}

func (s *Scaler) joinWake(ctx context.Context, ref function.Ref) (*sharedWake, error) {
	s.wakes.mu.Lock()
	defer s.wakes.mu.Unlock()
	if s.wakes.stopped {
		return nil, fmt.Errorf("wake %q: %w", ref, ErrStopped)
	}
	w := s.wakes.of[ref]
	if w == nil {
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), wakeTimeout)
		w = &sharedWake{cancel: cancel, done: make(chan struct{})}
		s.wakes.of[ref] = w
		s.wakes.running.Go(func() { s.runWake(shared, ref, w) })
	}
	w.waiters++
	return w, nil
}

// leaveWake ends a wake that nobody waits for any more. The next caller begins another.
func (s *Scaler) leaveWake(ref function.Ref, w *sharedWake) {
	s.wakes.mu.Lock()
	defer s.wakes.mu.Unlock()
	if w.waiters--; w.waiters > 0 {
		return
	}
	w.cancel()
	if s.wakes.of[ref] == w {
		delete(s.wakes.of, ref)
	}
}

func (s *Scaler) runWake(ctx context.Context, ref function.Ref, w *sharedWake) {
	defer w.cancel()
	err := s.wakeUp(ctx, ref)
	s.wakes.mu.Lock()
	defer s.wakes.mu.Unlock()
	if s.wakes.of[ref] == w {
		delete(s.wakes.of, ref)
	}
	w.err = err
	close(w.done)
}

// wakeUp gives a function at zero its initial replicas. While nobody answers it is tried again: those who wait can do no more.
func (s *Scaler) wakeUp(ctx context.Context, ref function.Ref) error {
	done, err := s.turns.take(ctx, ref)
	if err != nil {
		return fmt.Errorf("wake %q: %w", ref, err)
	}
	defer done()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := s.tryWake(ctx, ref)
		if !errors.Is(err, function.ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

func (s *Scaler) tryWake(ctx context.Context, ref function.Ref) error {
	f, ok := s.cfg.Lookup(ref)
	if !ok {
		return function.NotFoundf("no function %q", ref)
	}
	if f.Replicas > 0 {
		return nil
	}
	replicas := f.Policy.Scale.Initial()
	try, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if err := s.cfg.SetReplicas(try, ref, replicas, "a call came"); err != nil {
		return fmt.Errorf("wake %q: %w", ref, err)
	}
	// A wake that overtakes the going to zero finds the old replicas still there, and nothing else would say that they may
	// be used again. Those on their way out are listed no more, or refuse the call, which is then tried elsewhere.
	s.cfg.Resume(ref)
	s.cfg.Log.InfoContext(ctx, "function woken", "function", ref.Name, "namespace", ref.Namespace, "replicas", replicas)
	return nil
}

// Close ends all wakes and waits for them. Wake refuses from then on.
func (s *Scaler) Close() {
	s.wakes.mu.Lock()
	s.wakes.stopped = true
	for _, w := range s.wakes.of {
		w.cancel()
	}
	s.wakes.mu.Unlock()
	s.wakes.running.Wait()
}
