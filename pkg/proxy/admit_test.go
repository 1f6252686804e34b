package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// plane is a proxy without a network: one function, and endpoints that nobody connects to.
type plane struct {
	t     testing.TB
	proxy *Proxy
	f     *function.Function
}

func newPlane(t testing.TB, limit, endpoints int, edit func(*Config)) *plane {
	t.Helper()
	f := &function.Function{Spec: function.Spec{Ref: echo}, ID: "1", Replicas: endpoints}
	f.Policy.MaxInFlight = limit
	var list []function.Endpoint
	for i := range endpoints {
		list = append(list, function.Endpoint{Address: fmt.Sprintf("10.0.0.%d:8080", i), Replica: fmt.Sprint("echo-", i)})
	}
	cfg := Config{
		Lookup:    func(function.Ref) (*function.Function, bool) { return f, true },
		Endpoints: func(function.Ref) []function.Endpoint { return list },
		Error:     func(http.ResponseWriter, *http.Request, error) {},
	}
	if edit != nil {
		edit(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return &plane{t: t, proxy: p, f: f}
}

func (p *plane) call() *call { return p.proxy.newCall(p.f, time.Now()) }

// place puts a call at an endpoint or into the queue.
func (p *plane) place() *call {
	p.t.Helper()
	c := p.call()
	if _, _, err := c.place(c.came); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// acquire puts a call at an endpoint or waits.
func (p *plane) acquire(ctx context.Context) (*call, error) {
	c := p.call()
	return c, c.acquire(newTrip(c, (&http.Request{}).WithContext(ctx)), c.came)
}

func (p *plane) activity() *activity { return p.proxy.activities.find(echo) }

// wantIdle checks that nothing is left of all calls.
func (p *plane) wantIdle() {
	p.t.Helper()
	a := p.activity()
	if a == nil {
		return // it was forgotten after the last call
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.load.InFlight != 0 || a.load.Waiting != 0 || a.queue != (queue{}) || len(a.leaving) != 0 {
		p.t.Errorf("load %+v, queue %+v, %d endpoints leaving, after all calls ended", a.load, a.queue, len(a.leaving))
	}
	for _, s := range a.slots {
		if s.inFlight != 0 || s.trying {
			p.t.Errorf("%d calls are left at %s", s.inFlight, s.endpoint.Replica)
		}
	}
}

// Thousands of calls come at once, some leave while they wait, others the moment they are served: no endpoint ever has
// more than its limit, and none is left with a call.
func TestLimit_IsNeverExceeded(t *testing.T) {
	const callers, rounds, limit = 2000, 5, 7
	p := newPlane(t, limit, 3, func(c *Config) { c.QueueDepth = callers })
	var held sync.Map // *slot -> *atomic.Int64
	var served, left atomic.Int64
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range rounds {
				ctx, cancel := context.WithCancel(t.Context())
				leaves := rand.IntN(4) == 0
				if leaves {
					time.AfterFunc(rand.N(2*time.Millisecond), cancel)
				}
				c, err := p.acquire(ctx)
				switch {
				case err == nil:
					n, _ := held.LoadOrStore(c.slot, new(atomic.Int64))
					if got := n.(*atomic.Int64).Add(1); got > limit {
						t.Errorf("%d calls at %s", got, c.slot.endpoint.Replica)
					}
					served.Add(1)
					time.Sleep(rand.N(100 * time.Microsecond)) // the function works
					n.(*atomic.Int64).Add(-1)
				case leaves && errors.Is(err, ErrCanceled):
					left.Add(1)
				default:
					t.Error(err)
				}
				c.end()
				cancel()
			}
		})
	}
	group.Wait()
	t.Logf("%d served, %d left", served.Load(), left.Load())
	if served.Load() == 0 || left.Load() == 0 {
		t.Error("the test did not do what it is for")
	}
	p.wantIdle()
}

func TestLimit_OrderIsKept(t *testing.T) {
	const callers, limit = 3000, 5
	p := newPlane(t, limit, 3, func(c *Config) { c.QueueDepth = callers })
	calls := make([]*call, callers)
	for i := range calls {
		calls[i] = p.place()
	}
	if load := p.proxy.Load(echo); load.InFlight != 3*limit || load.Waiting != callers-3*limit {
		t.Fatalf("load %+v", load)
	}
	var group sync.WaitGroup
	for _, c := range calls {
		group.Go(func() {
			if c.queue != nil { // only its own goroutine clears it
				<-c.look
				if placed, _, err := c.place(time.Now()); !placed {
					t.Errorf("nudged without a place: %v", err)
				}
			}
			c.end()
		})
	}
	group.Wait()
	for i, c := range calls[1:] {
		if c.placed.Before(calls[i].placed) {
			t.Fatalf("call %d was served before call %d", i+1, i)
		}
	}
	p.wantIdle()
}

func TestLimit_OverHTTP(t *testing.T) {
	const callers, limit = 100, 4
	w := newWorld(t, nil)
	begin := make(chan struct{})
	var worst atomic.Int64
	replica := func() http.HandlerFunc {
		var now atomic.Int64
		return func(w http.ResponseWriter, r *http.Request) {
			for n := now.Add(1); ; {
				most := worst.Load()
				if n <= most || worst.CompareAndSwap(most, n) {
					break
				}
			}
			<-begin
			io.Copy(w, r.Body)
			now.Add(-1)
		}
	}
	f := w.deploy(echo)
	f.Policy.MaxInFlight = limit
	w.setEndpoints(echo, w.replica("echo-0", replica()), w.replica("echo-1", replica()), w.replica("echo-2", replica()))
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range 5 {
				if answer, text := w.request("POST", "/function/echo", "body"); answer.StatusCode != 200 || text != "body" {
					t.Errorf("status %d, %q", answer.StatusCode, text)
				}
			}
		})
	}
	w.await(func() bool { return w.proxy.Load(echo).Waiting == callers-3*limit && worst.Load() >= limit })
	close(begin)
	group.Wait()
	if worst.Load() != limit {
		t.Errorf("an endpoint had %d calls at once, its limit is %d", worst.Load(), limit)
	}
	w.await(func() bool { // an answer may be read before its call is counted as ended
		load := w.proxy.Load(echo)
		return load.InFlight == 0 && load.Waiting == 0
	})
}

// Those who waited for a wake do not fall upon the first replica all at once.
func TestLimit_AfterAWake(t *testing.T) {
	const callers, limit = 100, 5
	w, registry := newMeteredWorld(t, nil)
	w.deploy(echo).Policy.MaxInFlight = limit
	var now, worst atomic.Int64
	begin := make(chan struct{})
	replica := w.replica("echo-0", func(http.ResponseWriter, *http.Request) {
		if n := now.Add(1); n > limit {
			worst.Store(n)
		}
		<-begin
		now.Add(-1)
	})
	var group sync.WaitGroup
	for range callers {
		group.Go(func() { w.wantStatus("/function/echo", 200) })
	}
	for range callers {
		w.awaitWake()
	}
	w.setEndpoints(echo, replica)
	w.await(func() bool { return now.Load() == limit })
	if load := w.proxy.Load(echo); load.InFlight != limit || load.Waiting != callers-limit {
		t.Errorf("load %+v", load)
	}
	close(begin)
	group.Wait()
	if worst.Load() != 0 {
		t.Errorf("the replica had %d calls at once, its limit is %d", worst.Load(), limit)
	}
	w.await(func() bool { return w.proxy.Invocations(echo) == callers })
	if n := series(t, registry, "dc_proxy_phase_seconds", echo.String(), "wake").GetHistogram().GetSampleCount(); n != callers {
		t.Errorf("%d calls waited for the wake, want %d", n, callers)
	}
}

// What ends at one endpoint wakes one waiter.
func TestLimit_FreedPlaceWakesOne(t *testing.T) {
	p := newPlane(t, 1, 2, nil)
	first, second := p.place(), p.place()
	waiters := []*call{p.place(), p.place(), p.place()}
	first.end()
	if waiters[0].slot == nil || waiters[1].slot != nil || len(waiters[1].look) != 0 || len(waiters[2].look) != 0 {
		t.Error("the place did not go to the first waiter alone")
	}
	// A call that comes now finds no place that somebody waits for.
	late := p.place()
	second.end()
	if waiters[1].slot == nil || late.slot != nil {
		t.Error("a late call overtook a waiter")
	}
	for _, c := range append(waiters, late) {
		c.leave()
		c.end()
	}
	p.wantIdle()
}

func TestLimit_QueueFull(t *testing.T) {
	p := newPlane(t, 1, 1, func(c *Config) { c.QueueDepth = 2 })
	calls := []*call{p.place(), p.place(), p.place()}
	c, err := p.acquire(t.Context())
	if !errors.Is(err, ErrBusy) || err.Error() != `function "echo.openfaas-fn" is busy: 2 calls wait already` {
		t.Errorf("error %v", err)
	}
	c.end()
	if load := p.proxy.Load(echo); load.InFlight != 1 || load.Waiting != 2 {
		t.Errorf("load %+v", load)
	}
	if p.proxy.Quiesce(echo) {
		t.Error("a function with waiters was quiesced")
	}
	calls[1].leave()
	if c = p.place(); c.queue == nil {
		t.Error("a place in the queue was not used again")
	}
	for _, c := range append(calls, c) {
		c.leave()
		c.end()
	}
	p.wantIdle()
}

func TestLimit_EachWaiterHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlane(t, 1, 1, func(c *Config) { c.WakeTimeout = 10 * time.Second })
		holder := p.place()
		begin := time.Now()
		var group sync.WaitGroup
		wait := func(at, until time.Duration, is error) {
			time.Sleep(time.Until(begin.Add(at)))
			group.Go(func() {
				c, err := p.acquire(t.Context())
				if got := time.Since(begin); !errors.Is(err, is) || got != until {
					t.Errorf("the waiter of %v ended after %v with %v", at, got, err)
				}
				c.end()
			})
		}
		wait(0, 10*time.Second, ErrBusy)
		wait(4*time.Second, 12*time.Second, nil)
		wait(5*time.Second, 12*time.Second, nil)
		time.Sleep(time.Until(begin.Add(12 * time.Second)))
		holder.end()
		group.Wait()
		p.wantIdle()
	})
}

// A limit that was raised lets waiters go on as soon as anything happens.
func TestLimit_IsThatOfTheLatestFunction(t *testing.T) {
	p := newPlane(t, 1, 1, nil)
	calls := []*call{p.place(), p.place(), p.place()}
	raised := *p.f
	raised.Policy.MaxInFlight = 3
	p.f = &raised
	calls = append(calls, p.place())
	if load := p.proxy.Load(echo); load.InFlight != 3 || load.Waiting != 1 {
		t.Errorf("load %+v", load)
	}
	for _, c := range calls {
		c.leave()
		c.end()
	}
	p.wantIdle()
}

// An endpoint that leaves and comes back while calls are at it has not got room for as many again.
func TestLimit_CountsWhatAnEndpointHadWhenItLeft(t *testing.T) {
	p := newPlane(t, 2, 1, nil)
	list := p.proxy.cfg.Endpoints(echo)
	first, second := p.place(), p.place()
	p.proxy.SetEndpoints(echo, "1", nil)
	waiter := p.place()
	p.proxy.SetEndpoints(echo, "1", list)
	if waiter.slot != nil {
		t.Error("an endpoint that came back was given more than its limit")
	}
	p.proxy.SetEndpoints(echo, "1", slices.Concat(list, list)) // listed twice, it is one still
	if waiter.slot != nil {
		t.Error("an endpoint that was listed twice was given more than its limit")
	}
	first.end()
	if waiter.slot == nil {
		t.Error("the waiter was not served")
	}
	p.proxy.SetEndpoints(echo, "1", nil)
	for _, c := range []*call{second, waiter} {
		c.leave()
		c.end()
	}
	p.wantIdle()
}

// A call that an endpoint refused goes back to where it was in the queue, and does not keep others from that endpoint.
func TestLimit_RefusedCallKeepsItsPlaceInTheQueue(t *testing.T) {
	p := newPlane(t, 1, 1, nil)
	first := p.place()
	waiters := []*call{p.place(), p.place()}
	refusing := first.slot
	first.failed()
	first.refused = append(first.refused, refusing)
	if waiters[0].slot == nil {
		t.Fatal("the first waiter got no place")
	}
	if placed, o, err := first.place(time.Now()); placed || !o.refused || err != nil {
		t.Fatalf("placed %v, outlook %+v, %v", placed, o, err)
	}
	if first.previous != nil || first.next != waiters[1] {
		t.Error("the refused call is not the first in the queue")
	}
	waiters[0].leave()
	if waiters[1].slot == nil || first.slot != nil {
		t.Error("the place did not go to the next that could use it")
	}
	if placed, _, _ := first.place(time.Now()); placed { // its pause is over, and it may try again
		t.Error("placed beyond the limit")
	}
	waiters[1].leave()
	if first.slot == nil {
		t.Error("the call that was refused got no place")
	}
	first.leave()
	p.wantIdle()
}

func TestLimit_AnswerToACallerThatIsTooMany(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.QueueDepth = 1 })
	release := make(chan struct{})
	f := w.deploy(echo)
	f.Policy.MaxInFlight = 1
	w.setEndpoints(echo, w.replica("echo-0", func(w http.ResponseWriter, r *http.Request) { <-release }))
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() { w.wantStatus("/function/echo", 200) })
	}
	w.await(func() bool { return w.proxy.Load(echo).Waiting == 1 })
	answer, text := w.request("GET", "/function/echo", "")
	if answer.StatusCode != 429 || answer.Header.Get("X-OpenFaaS-Internal") != "proxy" || answer.Header.Get("X-Call-Id") == "" {
		t.Errorf("status %d, headers %v", answer.StatusCode, answer.Header)
	}
	if strings.Count(text, "\n") != 1 || !strings.Contains(text, "is busy") {
		t.Errorf("body %q", text)
	}
	close(release)
	group.Wait()
}

// await polls what no signal tells.
func (w *world) await(is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal("it never came to be")
		}
	}
}

// BenchmarkAdmit is what a call costs to be given an endpoint and to leave it, or to wait for one in between.
func BenchmarkAdmit(b *testing.B) {
	for _, endpoints := range []int{1, 3, 100} {
		for _, limit := range []int{0, 100} {
			name := fmt.Sprintf("endpoints=%d/limit=%d", endpoints, limit)
			p := newPlane(b, limit, endpoints, nil)
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					p.place().end()
				}
			})
			b.Run(name+"/parallel", func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						p.place().end()
					}
				})
			})
		}
	}
	b.Run("handed-over", func(b *testing.B) {
		p := newPlane(b, 1, 1, nil)
		before := p.place()
		b.ReportAllocs()
		for b.Loop() {
			next := p.place()
			before.end()
			<-next.look
			if placed, _, _ := next.place(next.came); !placed {
				b.Fatal("not placed")
			}
			before = next
		}
	})
}

// BenchmarkAdmit_Known is what a call costs to find its function, among a hundred that are called in turn, and its endpoint: the part of
// its way that could depend on how many functions are known.
func BenchmarkAdmit_Known(b *testing.B) {
	const hot = 100
	for _, known := range []int{hot, 10000} {
		b.Run(fmt.Sprint("known=", known), func(b *testing.B) {
			functions := map[function.Ref]*function.Function{}
			var paths [][]byte
			for i := range known {
				ref := function.Ref{Name: fmt.Sprint("f", i), Namespace: "openfaas-fn"}
				functions[ref] = &function.Function{Spec: function.Spec{Ref: ref}, ID: ref.Name, Replicas: 1}
				paths = append(paths, []byte("/function/"+ref.Name))
			}
			p := newPlane(b, 0, 1, func(cfg *Config) {
				cfg.Lookup = func(ref function.Ref) (*function.Function, bool) { f, ok := functions[ref]; return f, ok }
			}).proxy
			n, c := 0, new(call)
			b.ReportAllocs()
			for b.Loop() {
				name, _, _ := cutRoute(paths[n%hot])
				k := p.names.find(name)
				if k == nil {
					k = &knownName{string(name), function.ParseRef(string(name), "openfaas-fn")}
					p.names.add(k)
				}
				f, ok := functions[settle(k.ref, "openfaas-fn", p.cfg.Managed)]
				if !ok {
					b.Fatalf("no function %s", name)
				}
				*c = call{}
				c.begin(p, f, time.Now())
				if placed, _, err := c.place(c.came); !placed {
					b.Fatalf("not placed: %v", err)
				}
				c.end()
				n++
			}
		})
	}
}

// Everything that can happen to a function happens while it is called: endpoints come, go and fail, it is retired, resumed,
// evicted and forgotten. Every call ends, the limit holds, and nothing is left.
func TestLimit_UnderAllKindsOfChange(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		t.Run(fmt.Sprintf("forgets=%v", forgets), func(t *testing.T) {
			const limit, callers, rounds = 3, 200, 20
			p := newPlane(t, limit, 4, func(c *Config) {
				c.QueueDepth, c.CacheSize, c.WakeTimeout = callers, 1, time.Minute
			})
			registry := prometheus.NewPedanticRegistry()
			registry.MustRegister(p.proxy.Metrics())
			all := p.proxy.cfg.Endpoints(echo)
			held := map[string]*atomic.Int64{}
			for _, e := range all {
				held[e.Address] = new(atomic.Int64)
			}
			other := &function.Function{Spec: function.Spec{Ref: function.Ref{Name: "other"}}, ID: "1"}
			stop := make(chan struct{})
			var changes, calls sync.WaitGroup
			changes.Go(func() {
				for {
					select {
					case <-stop:
						p.proxy.SetEndpoints(echo, "1", all)
						p.proxy.Resume(echo)
						return
					case <-time.After(rand.N(300 * time.Microsecond)):
					}
					switch rand.IntN(7) {
					case 0:
						p.proxy.SetEndpoints(echo, "1", nil)
					case 1, 2:
						p.proxy.SetEndpoints(echo, "1", all[rand.IntN(len(all)):])
					case 3:
						if p.proxy.Quiesce(echo) {
							p.proxy.Resume(echo)
						}
					case 4: // evicts echo
						c := p.proxy.newCall(other, time.Now())
						if placed, _, err := c.place(c.came); !placed {
							t.Error(err)
						}
						c.end()
					case 5:
						if forgets {
							p.proxy.Forget(echo)
						}
					case 6:
						if _, err := registry.Gather(); err != nil {
							t.Error(err)
						}
					}
				}
			})
			for range callers {
				calls.Go(func() {
					for range rounds {
						ctx, cancel := context.WithCancel(t.Context())
						if rand.IntN(5) == 0 {
							time.AfterFunc(rand.N(time.Millisecond), cancel)
						}
						c, err := p.acquire(ctx)
						if err == nil {
							n := held[c.slot.endpoint.Address]
							if got := n.Add(1); got > limit && !forgets { // a function that is new knows nothing of the old
								t.Errorf("%d calls at one endpoint", got)
							}
							time.Sleep(rand.N(20 * time.Microsecond)) // the function works
							n.Add(-1)
							if rand.IntN(3) == 0 {
								c.failed()
							} else {
								c.answered(200)
							}
						} else if !errors.Is(err, ErrCanceled) {
							t.Error(err)
						}
						c.end()
						cancel()
					}
				})
			}
			calls.Wait()
			close(stop)
			changes.Wait()
			p.place().end() // it may just have been forgotten
			p.wantIdle()
		})
	}
}
