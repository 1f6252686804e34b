package scaler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/test/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

var cow = function.Ref{Name: "cow", Namespace: "openfaas-fn"}

// world is a cluster and a data plane as the scaler sees them.
type world struct {
	mu        sync.Mutex
	functions map[function.Ref]*function.Function
	calls     map[function.Ref]int
	last      map[function.Ref]time.Time
	callTime  map[function.Ref]time.Duration
	partial   bool
	cpu       func(context.Context, *function.Function) (float64, bool)
	quiet     map[function.Ref]bool
	changes   []string
	// hold makes SetReplicas wait, and fail makes it fail.
	hold func(ctx context.Context, replicas int)
	fail error
	// onQuiesce runs before Quiesce is answered.
	onQuiesce func()
}

func newWorld() *world {
	return &world{
		functions: make(map[function.Ref]*function.Function),
		calls:     make(map[function.Ref]int),
		last:      make(map[function.Ref]time.Time),
		callTime:  make(map[function.Ref]time.Duration),
		quiet:     make(map[function.Ref]bool),
	}
}

func (w *world) scaler(t *testing.T) *Scaler {
	t.Helper()
	s, err := New(Config{
		Functions: w.list, Lookup: w.lookup, Load: w.load, Quiesce: w.quiesce, Resume: w.resume, SetReplicas: w.setReplicas,
		CPU: w.cpu,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run starts a scaler in a synctest bubble and stops it when the test ends.
func (w *world) run(t *testing.T) *Scaler {
	s := w.scaler(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.Close()
	})
	synctest.Wait()
	return s
}

func (w *world) deploy(ref function.Ref, replicas int, scale function.Scale) *function.Function {
	f := &function.Function{Spec: function.Spec{Ref: ref}, ID: "1", Replicas: replicas, Created: time.Now()}
	scale.Min, scale.Max = max(scale.Min, 1), max(scale.Max, 20)
	if scale.Type == "" {
		scale.Fixed = true
	}
	f.Policy.Scale = scale
	w.mu.Lock()
	defer w.mu.Unlock()
	w.functions[ref] = f
	return f
}

func (w *world) list() []*function.Function {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*function.Function
	for _, f := range w.functions {
		all = append(all, f)
	}
	return all
}

func (w *world) lookup(ref function.Ref) (*function.Function, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, ok := w.functions[ref]
	return f, ok
}

func (w *world) load(ref function.Ref) Load {
	w.mu.Lock()
	defer w.mu.Unlock()
	callTime := w.callTime[ref]
	if calls := w.calls[ref]; calls > 0 {
		callTime += time.Duration(calls) * time.Since(w.last[ref])
	}
	return Load{InFlight: w.calls[ref], Last: w.last[ref], CallTime: callTime, Partial: w.partial}
}

func (w *world) quiesce(ref function.Ref) bool {
	if w.onQuiesce != nil {
		w.onQuiesce()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet[ref] = w.calls[ref] == 0
	return w.quiet[ref]
}

func (w *world) resume(ref function.Ref) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.quiet, ref)
}

func (w *world) setReplicas(ctx context.Context, ref function.Ref, replicas int, _ string) error {
	if w.hold != nil {
		w.hold(ctx, replicas)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes = append(w.changes, fmt.Sprint(replicas))
	if w.fail != nil {
		return w.fail
	}
	w.setLocked(ref, replicas)
	return nil
}

func (w *world) setLocked(ref function.Ref, replicas int) {
	f := *w.functions[ref]
	f.Replicas = replicas
	w.functions[ref] = &f
}

// byHand is what the API does.
func (w *world) byHand(ref function.Ref, replicas int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setLocked(ref, replicas)
}

// call counts a call that comes, or one that ends if n is negative.
func (w *world) call(ref function.Ref, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[ref] += n
	w.last[ref] = time.Now()
}

func (w *world) replicas(ref function.Ref) int {
	f, _ := w.lookup(ref)
	return f.Replicas
}

func (w *world) wantChanges(t *testing.T, want ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.changes, want) {
		t.Errorf("replicas were set to %v, want %v", w.changes, want)
	}
}

var afterTenMinutes = function.Scale{Zero: true, ZeroAfter: 10 * time.Minute}

// wait lets time pass and the scaler come to rest.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestScaler_IdleFunctionGoesToZeroAndACallWakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		policy := afterTenMinutes
		policy.Min = 3
		f := w.deploy(cow, 3, policy)
		s := w.run(t)
		wait(9 * time.Minute)
		w.call(cow, 1)
		wait(20 * time.Minute)
		w.wantChanges(t) // a call is under way
		w.call(cow, -1)
		wait(9*time.Minute + 58*time.Second)
		w.wantChanges(t)
		wait(4 * time.Second)
		w.wantChanges(t, "0")

		w.call(cow, 1)
		if err := s.Wake(t.Context(), f); err != nil {
			t.Error(err)
		}
		w.wantChanges(t, "0", "3")
		w.call(cow, -1)
		wait(9 * time.Minute)
		w.wantChanges(t, "0", "3")
		wait(2 * time.Minute)
		w.wantChanges(t, "0", "3", "0")
	})
}

func TestScaler_OthersStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.deploy(cow, 1, function.Scale{ZeroAfter: time.Minute})
		w.run(t)
		wait(24 * time.Hour)
		w.wantChanges(t)
	})
}

func TestScaler_IdleTimeBeginsAnewAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.deploy(cow, 1, afterTenMinutes)
		wait(time.Hour) // nobody was there to count
		w.run(t)
		wait(9 * time.Minute)
		w.wantChanges(t)
		wait(2 * time.Minute)
		w.wantChanges(t, "0")
	})
}

func TestScaler_ScaledUpByHandIsGivenItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.deploy(cow, 0, afterTenMinutes)
		w.run(t)
		wait(time.Hour)
		w.byHand(cow, 2)
		wait(9 * time.Minute)
		w.wantChanges(t)
		wait(2 * time.Minute)
		w.wantChanges(t, "0")
	})
}

// Of functions that nobody calls nothing is kept, and one that comes up by and by has its time from then on.
func TestRound_NothingIsKeptOfFunctionsAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		ref := function.Ref{Name: "hello", Namespace: "fn"}
		w.deploy(ref, 0, afterTenMinutes)
		s := w.scaler(t)
		defer s.Close()
		clock := newIdleClock(time.Now())
		for range 3 {
			s.round(t.Context(), clock)
			wait(time.Hour)
		}
		if len(clock.of) > 0 {
			t.Errorf("%d functions are kept", len(clock.of))
		}
		w.byHand(ref, 1)
		s.round(t.Context(), clock)
		wait(9 * time.Minute)
		s.round(t.Context(), clock)
		w.wantChanges(t)
		wait(time.Minute)
		s.round(t.Context(), clock)
		w.wantChanges(t, "0")
	})
}

func TestScaler_SentToZeroByHandIsWokenByACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		f := w.deploy(cow, 0, function.Scale{Min: 2})
		s := w.scaler(t)
		if err := s.Wake(t.Context(), f); err != nil {
			t.Error(err)
		}
		w.wantChanges(t, "2")
	})
}

func TestScaler_SentToZeroWhileACallWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		f := w.deploy(cow, 1, function.Scale{})
		s := w.run(t)
		w.call(cow, 1) // it waits for an endpoint that has not come yet
		if err := s.Wake(t.Context(), f); err != nil {
			t.Error(err)
		}
		w.byHand(cow, 0)
		wait(2 * time.Second)
		w.wantChanges(t, "1")
	})
}

func TestScaler_ACallThatComesInTimeKeepsTheFunction(t *testing.T) {
	for _, tt := range []struct {
		name string
		come func(*world)
	}{
		{"and is there still", func(w *world) { w.call(cow, 1) }},
		{"and is gone already", func(w *world) { w.call(cow, 1); w.call(cow, -1) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.deploy(cow, 1, afterTenMinutes)
				var once sync.Once
				w.onQuiesce = func() { once.Do(func() { tt.come(w) }) }
				w.run(t)
				wait(11 * time.Minute)
				w.wantChanges(t)
				if w.quiet[cow] {
					t.Error("its endpoints were left retired")
				}
			})
		})
	}
}

func TestScaler_FailureToGoToZeroIsUndoneAndTriedAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.deploy(cow, 1, afterTenMinutes)
		w.fail = errors.New("no API server")
		w.run(t)
		wait(10*time.Minute + 5*time.Second)
		w.wantChanges(t, "0")
		if w.quiet[cow] {
			t.Error("its endpoints were left retired")
		}
		w.mu.Lock()
		w.fail = nil
		w.mu.Unlock()
		wait(leaveAlone + time.Second)
		w.wantChanges(t, "0", "0")
	})
}

func TestWake_OneHoweverManyCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		f := w.deploy(cow, 0, afterTenMinutes)
		s := w.scaler(t)
		release := make(chan struct{})
		w.hold = func(context.Context, int) { <-release }
		var group sync.WaitGroup
		for range 1000 {
			group.Go(func() {
				if err := s.Wake(t.Context(), f); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(release)
		group.Wait()
		w.wantChanges(t, "1")
	})
}

func TestWake_FailureIsToldToAllAndTheNextTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		f := w.deploy(cow, 0, afterTenMinutes)
		s := w.scaler(t)
		w.fail = errors.New("quota exceeded")
		release := make(chan struct{})
		w.hold = func(context.Context, int) { <-release }
		var told atomic.Int64
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if errors.Is(s.Wake(t.Context(), f), w.fail) {
					told.Add(1)
				}
			})
		}
		synctest.Wait()
		close(release)
		group.Wait()
		if told.Load() != 100 {
			t.Errorf("%d of 100 were told why", told.Load())
		}
		w.fail = nil
		if err := s.Wake(t.Context(), f); err != nil {
			t.Error(err)
		}
		w.wantChanges(t, "1", "1")
	})
}

// While Kubernetes does not answer, or says that it cannot now, a wake goes on.
func TestWake_OutlastsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		f := w.deploy(cow, 0, afterTenMinutes)
		s := w.scaler(t)
		tries := 0
		w.fail = fmt.Errorf("connection refused: %w", function.ErrUnavailable)
		w.hold = func(context.Context, int) {
			if tries++; tries == 30 {
				w.fail = nil
			}
		}
		began := time.Now()
		if err := s.Wake(t.Context(), f); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); tries != 30 || took < 20*time.Second || took > time.Minute {
			t.Errorf("%d tries in %v", tries, took)
		}
		if n := w.replicas(cow); n != 1 {
			t.Errorf("%d replicas", n)
		}

		w.deploy(cow, 0, afterTenMinutes)
		w.fail, w.hold = function.ErrUnavailable, nil
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Wake(ctx, f); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with an outage that does not end: %v", err)
		}
		synctest.Wait()
	})
}

func TestWake_EndsWhenTheLastWaiterHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		f := w.deploy(cow, 0, afterTenMinutes)
		s := w.scaler(t)
		w.hold = func(ctx context.Context, _ int) { <-ctx.Done() }
		leave := make([]context.CancelFunc, 2)
		errs := make(chan error)
		for i := range leave {
			var ctx context.Context
			ctx, leave[i] = context.WithCancel(t.Context())
			go func() { errs <- s.Wake(ctx, f) }()
		}
		synctest.Wait()
		for _, l := range leave {
			l()
			if err := <-errs; !errors.Is(err, context.Canceled) {
				t.Errorf("left with %v", err)
			}
		}
		synctest.Wait()
		w.wantChanges(t)
		w.hold = nil
		if err := s.Wake(t.Context(), f); err != nil {
			t.Error(err)
		}
		w.wantChanges(t, "1")
	})
}

func TestWake_WaitsForAFunctionThatGoesToZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		f := w.deploy(cow, 1, afterTenMinutes)
		release := make(chan struct{})
		w.hold = func(_ context.Context, replicas int) {
			if replicas == 0 {
				<-release
			}
		}
		s := w.run(t)
		wait(10*time.Minute + 2*time.Second)
		woken := make(chan error)
		w.call(cow, 1)
		go func() { woken <- s.Wake(t.Context(), f) }() // the record says that it has a replica
		synctest.Wait()
		close(release)
		if err := <-woken; err != nil {
			t.Error(err)
		}
		w.wantChanges(t, "0", "1")
		if w.replicas(cow) != 1 {
			t.Error("the function was left at zero")
		}
		if w.quiet[cow] {
			t.Error("replicas that outlived the going to zero were left unused")
		}
		w.call(cow, -1)
	})
}

func TestWake_UnknownFunction(t *testing.T) {
	s := newWorld().scaler(t)
	if err := s.Wake(t.Context(), &function.Function{Spec: function.Spec{Ref: cow}}); !errors.Is(err, function.ErrNotFound) {
		t.Error(err)
	}
}

func TestClose_EndsWakesThatOutlivedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		f := w.deploy(cow, 0, afterTenMinutes)
		s := w.scaler(t)
		w.hold = func(ctx context.Context, _ int) { <-ctx.Done() }
		ctx, cancel := context.WithCancel(t.Context())
		ended, woken := make(chan error), make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		go func() { woken <- s.Wake(t.Context(), f) }()
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		select {
		case err := <-woken:
			t.Errorf("the wake ended with Run: %v", err)
		default:
		}
		s.Close()
		if err := <-woken; err == nil {
			t.Error("a wake that was cut off succeeded")
		}
		if err := s.Wake(t.Context(), f); !errors.Is(err, ErrStopped) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// Functions are called, go to zero and wake all at once. What must hold is that no call waits for ever and that none is
// at a replica while its function goes to zero.
func TestScaler_Stress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var refs []function.Ref
		for i := range 10 {
			ref := function.Ref{Name: fmt.Sprint("f", i), Namespace: "openfaas-fn"}
			refs = append(refs, ref)
			w.deploy(ref, 1, function.Scale{Zero: true, ZeroAfter: 500 * time.Millisecond})
		}
		w.hold = func(context.Context, int) { time.Sleep(300 * time.Millisecond) }
		s := w.run(t)
		var group sync.WaitGroup
		for i, ref := range refs {
			for j := range 2 {
				group.Go(func() {
					for k := range 50 {
						time.Sleep(time.Duration((i*7+j*13+k*29)%50) * 100 * time.Millisecond)
						w.call(ref, 1)
						for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
							w.mu.Lock()
							placed := !w.quiet[ref] && w.functions[ref].Replicas > 0
							f := w.functions[ref]
							w.mu.Unlock()
							if placed {
								break
							}
							if err := s.Wake(t.Context(), f); err != nil {
								t.Error(err)
							}
							w.mu.Lock()
							if w.functions[ref].Replicas > 0 {
								delete(w.quiet, ref) // new endpoints came
							}
							w.mu.Unlock()
							if time.Since(begun) > 10*time.Second {
								t.Errorf("%v: a call waits for ever", ref)
								break
							}
						}
						time.Sleep(100 * time.Millisecond)
						if w.replicas(ref) == 0 {
							t.Errorf("%v went to zero under a call", ref)
						}
						w.call(ref, -1)
					}
				})
			}
		}
		group.Wait()
		if len(w.changes) < 20*len(refs) {
			t.Errorf("only %d changes: nothing was tested", len(w.changes))
		}
	})
}

func TestNew_Refuses(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a Config without hooks was taken")
	}
	cfg := newWorld().scaler(t).cfg
	cfg.Interval = -1
	if _, err := New(cfg); err == nil {
		t.Error("a negative interval was taken")
	}
}

// BenchmarkRound is what 10,000 functions cost each second while nothing is to be done.
func BenchmarkRound(b *testing.B) {
	for _, tt := range []struct {
		name     string
		replicas int
		scale    function.Scale
	}{
		{"staying", 1, function.Scale{}},
		{"called", 1, function.Scale{Zero: true, ZeroAfter: time.Hour}},
		{"at-zero", 0, function.Scale{Zero: true, ZeroAfter: time.Hour}},
	} {
		b.Run("functions=10000/"+tt.name, func(b *testing.B) {
			w := newWorld()
			for i := range 10000 {
				w.deploy(function.Ref{Name: fmt.Sprint("f", i), Namespace: "openfaas-fn"}, tt.replicas, tt.scale)
			}
			all, up := w.list(), w.ups()
			s, err := New(Config{
				Functions: func() []*function.Function { return all },
				Up:        func() []*function.Function { return up },
				Lookup:    w.lookup, Load: w.load, Quiesce: w.quiesce, Resume: w.resume, SetReplicas: w.setReplicas,
			})
			if err != nil {
				b.Fatal(err)
			}
			clock := newIdleClock(time.Now())
			b.ReportAllocs()
			for b.Loop() {
				if due := s.round(b.Context(), clock); len(due) > 0 {
					b.Fatalf("%d changes", len(due))
				}
			}
		})
	}
}

var byCapacity = function.Scale{Min: 1, Max: 20, Type: function.ScaleCapacity, Target: 10, Proportion: 1, DownStep: 1, ZeroAfter: 10 * time.Minute}

// busy has so many calls be there for a time.
func (w *world) busy(ref function.Ref, calls int, d time.Duration) {
	w.passTo(ref, calls)
	time.Sleep(d)
	synctest.Wait()
	w.passTo(ref, calls)
}

// passTo counts the time of the calls that are there, and has others be there from now on.
func (w *world) passTo(ref function.Ref, calls int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if before := w.calls[ref]; before > 0 {
		w.callTime[ref] += time.Duration(before) * time.Since(w.last[ref])
	}
	w.calls[ref], w.last[ref] = calls, time.Now()
}

func (w *world) setPartial(partial bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partial = partial
}

func TestScaler_FollowsTheLoadAndGoesToZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		policy := byCapacity
		policy.Zero = true
		w.deploy(cow, 1, policy)
		w.run(t)
		w.busy(cow, 35, 10*time.Second)
		w.wantChanges(t, "4")
		w.busy(cow, 5, 2*time.Minute)
		w.wantChanges(t, "4", "3", "2", "1")
		w.busy(cow, 0, time.Second)
		wait(11 * time.Minute)
		w.wantChanges(t, "4", "3", "2", "1", "0")
	})
}

func TestScaler_StandbyInsteadOfZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		policy := byCapacity
		policy.Zero, policy.Standby, policy.Min = true, 2, 4
		w.deploy(cow, 4, policy)
		w.run(t)
		wait(11 * time.Minute)
		w.wantChanges(t, "2")
		if w.quiet[cow] {
			t.Error("the replicas that stay are held back")
		}
		wait(24 * time.Hour)
		w.wantChanges(t, "2")
		w.busy(cow, 1, 2*time.Second) // and it is up as any that is called
		w.wantChanges(t, "2", "4")
		w.busy(cow, 0, time.Second)
		wait(11 * time.Minute)
		w.wantChanges(t, "2", "4", "2")
	})
}

// What is known in part takes no replica, for none, fewer or standby.
func TestScaler_TakesNothingWhileLoadsAreMissing(t *testing.T) {
	for _, standby := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			policy := byCapacity
			policy.Zero, policy.Standby = true, standby
			w.deploy(cow, 3, policy)
			w.setPartial(true)
			w.run(t)
			wait(time.Hour)
			w.wantChanges(t)
			w.busy(cow, 35, 5*time.Second)
			w.wantChanges(t, "4")
			w.setPartial(false)
			w.busy(cow, 0, time.Second)
			wait(time.Hour)
			want := []string{"4", "3", "2", "1"}
			if standby == 0 {
				want = append(want, "0")
			}
			w.wantChanges(t, want...)
		})
	}
}

// A new leader knows no load yet, and takes nothing for it.
func TestScaler_BeginsWithoutTakingReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.deploy(cow, 5, byCapacity)
		w.run(t)
		wait(40 * time.Second)
		w.wantChanges(t)
		wait(time.Minute)
		w.wantChanges(t, "4", "3", "2", "1")
	})
}

func TestScaler_ACallInTimeKeepsItFromStandby(t *testing.T) {
	w := newWorld()
	policy := byCapacity
	policy.Zero, policy.Standby = true, 1
	f := w.deploy(cow, 3, policy)
	s := w.scaler(t)
	up := &upTime{id: f.ID, since: time.Now().Add(-time.Hour)}
	w.call(cow, 1)
	if made, err := s.act(t.Context(), &change{f: f, what: zero, up: up}); made || err != nil {
		t.Errorf("made %t, %v", made, err)
	}
	w.call(cow, -1)
	w.last[cow] = time.Now().Add(-time.Hour)
	if made, err := s.act(t.Context(), &change{f: f, what: zero, up: up}); !made || err != nil {
		t.Errorf("made %t, %v", made, err)
	}
	w.wantChanges(t, "1")
}

// What was changed since it was looked at is not changed again.
func TestScaler_WhatAUserHasSetMeanwhileStays(t *testing.T) {
	w := newWorld()
	f := w.deploy(cow, 1, byCapacity)
	s := w.scaler(t)
	w.byHand(cow, 7)
	if made, err := s.act(t.Context(), &change{f: f, what: scale, up: &upTime{id: f.ID}, to: recommendation{replicas: 2}}); made || err != nil {
		t.Errorf("made %t, %v", made, err)
	}
	w.wantChanges(t)
}

// A replica that hangs holds up no round, and what it took is forgotten after a time.
func TestScaler_CPU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		policy := byCapacity
		policy.Type, policy.Target = function.ScaleCPU, 100
		w.deploy(cow, 1, policy)
		var known atomic.Bool
		known.Store(true)
		w.cpu = func(ctx context.Context, _ *function.Function) (float64, bool) {
			if !known.Load() {
				<-ctx.Done()
			}
			return 250, known.Load()
		}
		w.run(t)
		wait(2 * time.Minute)
		w.wantChanges(t, "2", "3")
		known.Store(false)
		wait(time.Hour)
		w.wantChanges(t, "2", "3") // it is not known to take less
	})
}

// ups are the functions that have replicas.
func (w *world) ups() []*function.Function {
	return slices.DeleteFunc(w.list(), func(f *function.Function) bool { return f.Replicas == 0 })
}

// upOnly is a scaler that is told which functions are up, and counts how often it asks for the load of others.
func (w *world) upOnly(t *testing.T, asked *int) *Scaler {
	t.Helper()
	s, err := New(Config{
		Functions: w.list, Up: w.ups, Lookup: w.lookup, Quiesce: w.quiesce, Resume: w.resume, SetReplicas: w.setReplicas,
		Load: func(ref function.Ref) Load { *asked++; return w.load(ref) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// However many functions rest, a round is about those that are up, and about those that were until a moment ago.
func TestRound_LooksAtWhatIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, asked := newWorld(), 0
		const resting = 100
		for i := range resting {
			w.deploy(function.Ref{Name: fmt.Sprint("f", i), Namespace: "fn"}, 0, afterTenMinutes)
		}
		w.deploy(cow, 1, afterTenMinutes)
		s := w.upOnly(t, &asked)
		clock := newIdleClock(time.Now())
		round := func() (looks int) {
			asked = 0
			s.round(t.Context(), clock)
			wait(time.Second)
			return asked
		}
		if looks := round(); looks < resting {
			t.Errorf("the first round looks at %d functions", looks)
		}
		for range fullEvery - 1 {
			if looks := round(); looks == 0 || looks > 3 {
				t.Fatalf("a round looks %d times", looks)
			}
		}
		if looks := round(); looks < resting {
			t.Errorf("a full round looks at %d functions", looks)
		}
		w.byHand(cow, 0)
		round()
		if len(clock.of) != 1 {
			t.Errorf("%d functions are kept right after the last came to zero", len(clock.of))
		}
		for range 2 * restsAfter / time.Second {
			round()
		}
		if len(clock.of) > 0 {
			t.Errorf("%d functions are kept at rest", len(clock.of))
		}
		w.wantChanges(t)
	})
}

// A call that waits at a function which was sent to zero behind its back is not forgotten, whenever that was.
func TestRound_WakesForACallThatWasThereBefore(t *testing.T) {
	for name, after := range map[string]time.Duration{"at once": 0, "long after": 2 * restsAfter} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, asked := newWorld(), 0
				w.deploy(cow, 1, function.Scale{ZeroAfter: time.Hour})
				s := w.upOnly(t, &asked)
				clock := newIdleClock(time.Now())
				rounds := func(n int) {
					for range n {
						s.round(t.Context(), clock)
						wait(time.Second)
					}
				}
				rounds(2)
				w.byHand(cow, 0)
				rounds(int(after / time.Second))
				w.call(cow, 1)
				most := 1
				if after > restsAfter {
					most = fullEvery
				}
				rounds(most)
				w.wantChanges(t, "1")
			})
		})
	}
}

// The series of a function that is deleted at rest go, though no round looks at it.
func TestRound_ForgetsTheSeriesOfWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, asked := newWorld(), 0
		w.deploy(cow, 1, afterTenMinutes)
		s := w.upOnly(t, &asked)
		clock := newIdleClock(time.Now())
		s.round(t.Context(), clock)
		w.byHand(cow, 0)
		for range 2 * restsAfter / time.Second {
			s.round(t.Context(), clock)
			wait(time.Second)
		}
		if len(s.metrics.of) != 1 {
			t.Fatalf("%d functions have series", len(s.metrics.of))
		}
		w.mu.Lock()
		delete(w.functions, cow)
		w.mu.Unlock()
		for range fullEvery {
			s.round(t.Context(), clock)
		}
		if len(s.metrics.of) > 0 {
			t.Errorf("%d functions have series", len(s.metrics.of))
		}
	})
}
