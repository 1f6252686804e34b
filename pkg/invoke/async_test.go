package invoke_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/invoke"
)

// asyncBench is a bench whose function is called when nobody waits for it, with a receiver of callbacks.
type asyncBench struct {
	*bench
	invoker *invoke.Invoker
	async   *httptest.Server
	// received are the callbacks that came.
	received chan callback
	receiver *httptest.Server
	// refuse is how many callbacks the receiver answers 503 before it takes one.
	refuse atomic.Int64

	mu      sync.Mutex
	missing bool
}

type callback struct {
	header http.Header
	body   string
}

// newAsyncBench serves a function and works on its queue until the test ends. policy changes what it asks for.
func newAsyncBench(t *testing.T, serve http.HandlerFunc, policy func(*function.Policy)) *asyncBench {
	return newAsyncBenchOn(t, serve, policy, func(*invoke.Config) {})
}

// newAsyncBenchOn is newAsyncBench with another Config.
func newAsyncBenchOn(t *testing.T, serve http.HandlerFunc, policy func(*function.Policy), change func(*invoke.Config)) *asyncBench {
	a := &asyncBench{received: make(chan callback, 100)}
	a.bench = newBench(t, serve, func(c *invoke.Config) {
		store := c.Store.(heapstore.Store)
		c.Queue = store
		c.Lookup = func(function.Ref) (*function.Function, bool) {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.contract, !a.missing
		}
		c.Scheduled = func() []*function.Function { return []*function.Function{a.contract} }
		c.Status = func(err error) int {
			if errors.Is(err, context.DeadlineExceeded) {
				return http.StatusGatewayTimeout
			}
			return http.StatusBadGateway
		}
		c.Bounds.Items = 5
		c.Version = "test"
		change(c)
	})
	a.contract.Policy = function.Policy{Heap: true, Retry: function.Retry{
		Attempts: 3, MinWait: time.Millisecond, MaxWait: 2 * time.Millisecond, Codes: function.StatusSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)},
	}}
	if policy != nil {
		policy(&a.contract.Policy)
	}
	a.invoker = a.bench.invoker
	a.invoker.LetLocal()
	a.async = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Call-Id") == "" {
			r.Header.Set("X-Call-Id", fmt.Sprint("made-", time.Now().UnixNano()))
		}
		a.invoker.ServeAsync(w, r, a.contract, "ledger.as-called")
	}))
	t.Cleanup(a.async.Close)
	a.receiver = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.refuse.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost {
			t.Errorf("callback by %s: %v", r.Method, err)
		}
		a.received <- callback{r.Header, string(body)}
	}))
	t.Cleanup(a.receiver.Close)
	return a
}

// work has the queue worked on until the returned function is called, which waits for its end.
func (a *asyncBench) work() (stop func()) {
	ctx, cancel := context.WithCancel(a.t.Context())
	ended := make(chan error)
	go func() { ended <- a.invoker.Run(ctx, ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			a.t.Error(err)
		}
	})
}

// post sends an invocation that is answered by a callback.
func (a *asyncBench) post(id, body string) int {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), "POST", a.async.URL+"/a%2Fb?x=1", strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("X-Callback-Url", a.receiver.URL)
	r.Header.Set("X-Mine", "1")
	if id != "" {
		r.Header.Set("X-Call-Id", id)
	}
	answer, err := a.async.Client().Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

func (a *asyncBench) wantAccepted(id, body string) {
	a.t.Helper()
	if status := a.post(id, body); status != http.StatusAccepted {
		a.t.Fatalf("status %d, want 202", status)
	}
}

// callback waits for one.
func (a *asyncBench) callback() callback {
	a.t.Helper()
	select {
	case c := <-a.received:
		return c
	case <-time.After(time.Minute):
		a.t.Fatal("no callback came")
	}
	return callback{}
}

// wantDepth waits until the queue holds that.
func (a *asyncBench) wantDepth(want function.Depth) {
	a.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		depths, err := a.store.Depths(a.t.Context())
		if err != nil {
			a.t.Fatal(err)
		}
		got := depths[a.contract.Heap()]
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("the queue holds %+v, want %+v", got, want)
		}
		<-time.After(time.Millisecond)
	}
}

func TestAsync_CallbackTellsTheAnswer(t *testing.T) {
	for _, heap := range []bool{true, false} {
		t.Run(fmt.Sprint("contract ", heap), func(t *testing.T) {
			var seen *http.Request
			a := newAsyncBench(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				seen = r
				w.Header().Set("X-Moo", "moo")
				w.Header().Set("Content-Type", "application/x-moo")
				w.WriteHeader(http.StatusCreated)
				fmt.Fprintf(w, `{"a": %q}`, body)
			}, func(p *function.Policy) { p.Heap = heap })
			defer a.work()()
			a.wantAccepted("one", "hello")
			got := a.callback()
			if got.body != `{"a": "hello"}` {
				t.Errorf("body %q", got.body)
			}
			for name, want := range map[string]string{
				"X-Function-Status": "201", "X-Function-Name": "ledger.as-called", "X-Call-Id": "one", "X-Moo": "moo",
				"Content-Type": "application/x-moo", "User-Agent": "dc-provider/test",
			} {
				if got.header.Get(name) != want {
					t.Errorf("%s: %q, want %q", name, got.header.Get(name), want)
				}
			}
			if d := got.header.Get("X-Duration-Seconds"); !strings.Contains(d, ".") || len(d)-strings.Index(d, ".") != 7 {
				t.Errorf("X-Duration-Seconds: %q", d)
			}
			if seen.URL.EscapedPath() != "/a%2Fb" || seen.URL.RawQuery != "x=1" || seen.Header.Get("X-Mine") != "1" || seen.Header.Get("X-Call-Id") != "one" {
				t.Errorf("the function saw %s %v", seen.URL, seen.Header)
			}
			a.wantDepth(function.Depth{})
			if heap {
				a.wantHeap(map[string]string{"a": `"hello"`})
			} else {
				a.wantHeap(map[string]string{})
			}
		})
	}
}

// Whoever repeats it later, and waits, gets what it has answered.
func TestAsync_IsRecorded(t *testing.T) {
	var runs atomic.Int64
	a := newAsyncBench(t, counter(&runs), nil)
	a.wantAccepted("one", "{}")
	a.wantAccepted("one", "{}") // it waits already
	defer a.work()()
	if got := a.callback(); got.body != `{"run-1": 1}` {
		t.Errorf("callback %q", got.body)
	}
	a.wantDepth(function.Depth{})
	a.wantAccepted("one", "{}")
	if got := a.callback(); got.body != `{"run-1": 1}` || runs.Load() != 1 {
		t.Errorf("callback of the repeat %q after %d runs", got.body, runs.Load())
	}
	a.wantDepth(function.Depth{})
	a.wantHeap(map[string]string{"run-1": "1"})
}

func TestAsync_FailuresAreRetriedAndBuried(t *testing.T) {
	for _, heap := range []bool{true, false} {
		t.Run(fmt.Sprint("contract ", heap), func(t *testing.T) {
			var runs atomic.Int64
			a := newAsyncBench(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if runs.Add(1) <= 2 || string(body) == "always" {
					w.WriteHeader(http.StatusInternalServerError)
				}
				io.WriteString(w, `{"answered": true}`)
			}, func(p *function.Policy) { p.Heap = heap })
			defer a.work()()
			a.wantAccepted("twice", "")
			if got := a.callback(); got.header.Get("X-Function-Status") != "200" || runs.Load() != 3 {
				t.Errorf("status %s after %d runs, want 200 after 3", got.header.Get("X-Function-Status"), runs.Load())
			}
			a.wantAccepted("dies", "always")
			if got := a.callback(); got.header.Get("X-Function-Status") != "500" || got.body != `{"answered": true}` || runs.Load() != 6 {
				t.Errorf("status %s, %q after %d runs, want 500 after 6", got.header.Get("X-Function-Status"), got.body, runs.Load())
			}
			a.wantDepth(function.Depth{Dead: 1})
			dead, _, err := a.store.DeadLetters(t.Context(), a.contract.Heap(), 0, 0)
			if err != nil || len(dead) != 1 || dead[0].CallID != "dies" || dead[0].Attempts != 3 || !strings.Contains(dead[0].Reason, "500") {
				t.Fatalf("dead letters %+v, %v", dead, err)
			}
			if err := a.store.Replay(t.Context(), a.contract.Heap(), dead[0].ID); err != nil {
				t.Fatal(err)
			}
			a.callback()
			if runs.Load() != 9 {
				t.Errorf("%d runs after the replay, want 9", runs.Load())
			}
			a.wantDepth(function.Depth{Dead: 1})
		})
	}
}

// What cannot be retried is told once, and what is not a failure is no dead letter.
func TestAsync_LastWords(t *testing.T) {
	var status atomic.Int64
	a := newAsyncBench(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(int(status.Load())) },
		func(p *function.Policy) { p.Retry.Codes = function.StatusSet{} })
	defer a.work()()
	dead := 0
	for n, s := range []int{400, 404, 422, 500, 503, 429} {
		status.Store(int64(s))
		a.wantAccepted(fmt.Sprint(n), "")
		if got := a.callback(); got.header.Get("X-Function-Status") != fmt.Sprint(s) {
			t.Errorf("status %s, want %d", got.header.Get("X-Function-Status"), s)
		}
		if s >= 500 || s == 429 {
			dead++
		}
		a.wantDepth(function.Depth{Dead: dead})
	}
}

// Whoever asks for it has other statuses retried too.
func TestAsync_RetriesWhatIsAskedFor(t *testing.T) {
	for _, heap := range []bool{true, false} {
		t.Run(fmt.Sprint("contract ", heap), func(t *testing.T) {
			var runs atomic.Int64
			a := newAsyncBench(t, func(w http.ResponseWriter, _ *http.Request) {
				if runs.Add(1) == 1 {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				io.WriteString(w, `{"found": 1}`)
			}, func(p *function.Policy) { p.Heap = heap })
			defer a.work()()
			a.wantAccepted("one", "")
			if got := a.callback(); got.header.Get("X-Function-Status") != "200" || runs.Load() != 2 {
				t.Errorf("status %s after %d runs", got.header.Get("X-Function-Status"), runs.Load())
			}
			a.wantDepth(function.Depth{})
		})
	}
}

func TestAsync_ReceiverThatIsDown(t *testing.T) {
	a := newAsyncBench(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }, nil)
	a.refuse.Store(1)
	defer a.work()()
	a.wantAccepted("one", "")
	a.callback()
	a.wantDepth(function.Depth{})
}

// What is cut off runs again and commits once; nothing of the first run shows.
func TestAsync_CutOffRunsAgain(t *testing.T) {
	var runs atomic.Int64
	begun := make(chan struct{}, 10)
	a := newAsyncBench(t, func(w http.ResponseWriter, r *http.Request) {
		n := runs.Add(1)
		begun <- struct{}{}
		if n == 1 {
			<-r.Context().Done()
			return
		}
		fmt.Fprintf(w, `{"run-%d": 1}`, n)
	}, nil)
	stop := a.work()
	a.wantAccepted("one", "")
	<-begun
	stop()
	a.wantHeap(map[string]string{})
	a.wantDepth(function.Depth{Waiting: 1})
	defer a.work()()
	if got := a.callback(); got.body != `{"run-2": 1}` {
		t.Errorf("callback %q", got.body)
	}
	a.wantDepth(function.Depth{})
	a.wantHeap(map[string]string{"run-2": "1"})
}

// When no more is taken, what is under way ends.
func TestRun_TakesNoMoreAndLetsEnd(t *testing.T) {
	begun, end := make(chan struct{}, 10), make(chan struct{})
	a := newAsyncBench(t, func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-end
		io.WriteString(w, `{"ended": 1}`)
	}, func(p *function.Policy) { p.Serial = true })
	taking, stopTaking := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.invoker.Run(t.Context(), taking) }()
	a.wantAccepted("one", "")
	a.wantAccepted("two", "")
	<-begun
	stopTaking()
	close(end)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	a.wantDepth(function.Depth{Waiting: 1, Messages: 1})
	a.wantHeap(map[string]string{"ended": "1"})
}

// awayQueue is a queue that is away until it is told to be back.
type awayQueue struct {
	invoke.Queue
	away  atomic.Bool
	tries atomic.Int64
}

var errAway = errors.New("the database is away")

func (q *awayQueue) Lease(ctx context.Context, kind function.ItemKind, limit int, skip map[function.Heap]bool) ([]function.Leased, error) {
	if q.away.Load() {
		q.tries.Add(1)
		return nil, errAway
	}
	return q.Queue.Lease(ctx, kind, limit, skip)
}

func (q *awayQueue) Tick(ctx context.Context, item function.Item, at time.Time) error {
	if q.away.Load() {
		return errAway
	}
	return q.Queue.Tick(ctx, item, at)
}

// A queue that is away for long is told of once, and once more when it is back.
func TestRun_TellsOnceThatTheQueueIsAway(t *testing.T) {
	var said syncBuffer
	var q *awayQueue
	a := newAsyncBenchOn(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"n": 1}`) },
		func(p *function.Policy) { p.Schedule = function.Schedule{Every: time.Second} }, func(c *invoke.Config) {
			q = &awayQueue{Queue: c.Queue}
			c.Queue = q
			c.Log = slog.New(slog.NewTextHandler(&said, nil))
		})
	a.invoker.Tick(t.Context(), time.Now()) // the schedule is known
	a.wantAccepted("one", "")
	q.away.Store(true)
	defer a.work()()
	for deadline := time.Now().Add(time.Minute); q.tries.Load() < 5; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the queue was tried %d times", q.tries.Load())
		}
	}
	for n := range 3 {
		a.invoker.Tick(t.Context(), time.Now().Add(time.Duration(10+n)*time.Second))
	}
	q.away.Store(false)
	a.callback()
	a.invoker.Tick(t.Context(), time.Now().Add(20*time.Second))
	for _, line := range []string{"the queue cannot be read", "the queue can be read again", "tick not queued", "ticks are queued again"} {
		if n := strings.Count(said.String(), line); n != 1 {
			t.Errorf("%q was said %d times:\n%s", line, n, said.String())
		}
	}
}

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestAsync_Refused(t *testing.T) {
	a := newAsyncBench(t, func(w http.ResponseWriter, _ *http.Request) {}, nil)
	if status := a.post(strings.Repeat("i", 257), ""); status != statusOfErrors || !errors.Is(<-a.failed, function.ErrInvalid) {
		t.Errorf("a long call id: %d", status)
	}
	if status := a.post("", strings.Repeat("x", 1<<20+1)); status != statusOfErrors {
		t.Errorf("a large body: %d", status)
	}
	var tooLarge *http.MaxBytesError
	if err := <-a.failed; !errors.As(err, &tooLarge) {
		t.Errorf("a large body: %v", err)
	}
	for range 5 {
		a.wantAccepted("", "")
	}
	if status := a.post("", ""); status != statusOfErrors || !errors.Is(<-a.failed, heapstore.ErrQueueFull) {
		t.Errorf("a full queue: %d", status)
	}
}

func TestAsync_FunctionThatIsGone(t *testing.T) {
	a := newAsyncBench(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }, nil)
	a.mu.Lock()
	a.missing = true
	a.mu.Unlock()
	old := function.Item{Function: a.contract.Heap(), CallID: "old", Accepted: time.Now().Add(-time.Hour), Due: time.Now(), Payload: []byte{}}
	if err := a.store.Enqueue(t.Context(), old, function.QueueBounds{}); err != nil {
		t.Fatal(err)
	}
	a.wantAccepted("new", "")
	defer a.work()()
	a.wantDepth(function.Depth{Waiting: 1}) // which another provider may know of
	if a.store.Ready() == nil {
		t.Error("no signal")
	}
}

// Sync and async calls of a serial contract run one at a time, and those that follow each other keep their order.
func TestSerial_OneAtATimeInOrder(t *testing.T) {
	var inside, runs atomic.Int64
	var mu sync.Mutex
	var order []string
	a := newAsyncBench(t, func(w http.ResponseWriter, r *http.Request) {
		if inside.Add(1) != 1 {
			t.Error("two at once")
		}
		defer inside.Add(-1)
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		order = append(order, string(body))
		mu.Unlock()
		fmt.Fprintf(w, `{"n": %d}`, runs.Add(1))
	}, func(p *function.Policy) { p.Serial = true })
	defer a.work()()
	const rounds = 20
	var callers sync.WaitGroup
	for c := range 3 {
		callers.Go(func() {
			for n := range rounds {
				// Whoever has his answer, or that it was accepted, is before what he asks next.
				body := fmt.Sprintf("%d/%03d", c, n)
				if n%2 == 0 {
					for a.post(body, body) != http.StatusAccepted { // full
						<-a.failed
					}
					continue
				}
				if answer, _ := a.do(a.repeat(body, body)); answer.StatusCode != 200 {
					t.Errorf("%s: %d", body, answer.StatusCode)
				}
			}
		})
	}
	callers.Wait()
	for range 3 * rounds / 2 {
		a.callback()
	}
	a.wantDepth(function.Depth{})
	if runs.Load() != 3*rounds || len(order) != 3*rounds {
		t.Errorf("%d runs, want %d", runs.Load(), 3*rounds)
	}
	slices.SortStableFunc(order, func(x, y string) int { return strings.Compare(x[:1], y[:1]) })
	if !slices.IsSorted(order) {
		t.Errorf("the order was %q", order)
	}
	a.wantHeap(map[string]string{"n": fmt.Sprint(3 * rounds)})
}

// TestSerial_ScheduledInTheSameLine has the clock call between asynchronous calls, and somebody wait for his own behind them.
func TestSerial_ScheduledInTheSameLine(t *testing.T) {
	var mu sync.Mutex
	var order []string
	a := newAsyncBench(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(string(body), `"cron"`) {
			body = []byte("clock")
		}
		order = append(order, string(body))
		io.WriteString(w, "{}")
	}, func(p *function.Policy) { p.Serial = true; p.Schedule = function.Schedule{Every: 10 * time.Second} })
	begin := time.Now()
	a.invoker.Tick(t.Context(), begin)
	a.wantAccepted("", "one")
	a.invoker.Tick(t.Context(), begin.Add(11*time.Second))
	a.wantAccepted("", "two")
	a.wantDepth(function.Depth{Waiting: 3})
	defer a.work()()
	if answer, _ := a.do(a.request("POST", "three")); answer.StatusCode != 200 {
		t.Errorf("status %d", answer.StatusCode)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"one", "clock", "two", "three"}; !slices.Equal(order, want) {
		t.Errorf("the order was %q, want %q", order, want)
	}
}

// A sync caller and the queue have the same call id, in one line: neither waits for the other.
func TestSerial_SameCallBothWays(t *testing.T) {
	var runs atomic.Int64
	a := newAsyncBench(t, counter(&runs), func(p *function.Policy) { p.Serial = true })
	// The sync one has the path of the async bench, so that they are the same request.
	a.wantAccepted("same", "{}")
	r := a.repeat("same", "{}")
	r.URL.Path, r.URL.RawPath = "/a/b", "/a%2Fb"
	stopped := make(chan string)
	go func() { _, body := a.do(r); stopped <- body }()
	defer a.work()()
	if body := <-stopped; body != `{"run-1": 1}` {
		t.Errorf("the caller got %q", body)
	}
	if got := a.callback(); got.body != `{"run-1": 1}` {
		t.Errorf("callback %q", got.body)
	}
	a.wantDepth(function.Depth{})
	a.wantHeap(map[string]string{"run-1": "1"})
}

// A caller of a serial contract who leaves, or whose call fails, holds nobody up.
func TestSerial_WhoFailsLetsTheNextGo(t *testing.T) {
	begun := make(chan struct{}, 10)
	a := newAsyncBench(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch string(body) {
		case "stuck":
			begun <- struct{}{}
			<-r.Context().Done()
		case "fails":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			fmt.Fprintf(w, `{%q: 1}`, body)
		}
	}, func(p *function.Policy) { p.Serial = true; p.Retry.Codes = function.StatusSet{} })
	defer a.work()()
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := a.gateway.Client().Do(a.request("POST", "stuck").WithContext(ctx))
		left <- err
	}()
	<-begun
	a.wantAccepted("", "fails")
	a.wantAccepted("", "queued")
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	if answer, _ := a.do(a.request("POST", "fails")); answer.StatusCode != 500 {
		t.Errorf("status %d", answer.StatusCode)
	}
	if answer, body := a.do(a.request("POST", "last")); answer.StatusCode != 200 {
		t.Errorf("status %d, %q", answer.StatusCode, body)
	}
	a.callback()
	a.callback()
	a.wantDepth(function.Depth{Dead: 1})
	a.wantHeap(map[string]string{"queued": "1", "last": "1"})
}

func TestCallbacks_Check(t *testing.T) {
	for _, c := range []struct {
		allow []string
		url   string
		good  bool
	}{
		{nil, "http://gateway.openfaas:8080/function/receive", true},
		{nil, "https://10.1.2.3/x?y=z", true},
		{nil, "http://[fd00::1]:8080/", true},
		{nil, "", false},
		{nil, "/function/receive", false},
		{nil, "ftp://host/", false},
		{nil, "http://", false},
		{nil, "http:opaque", false},
		{nil, "http://user:pass@host/", false},
		{nil, "http://ho st/", false},
		{nil, "http://" + strings.Repeat("h", 2048), false},
		{nil, "http://127.0.0.1/", false},
		{nil, "http://[::1]/", false},
		{nil, "http://[::ffff:127.0.0.1]/", false},
		{nil, "http://169.254.169.254/latest/meta-data", false},
		{nil, "http://0.0.0.0/", false},
		{nil, "http://224.0.0.1/", false},
		{[]string{"receiver.example"}, "http://receiver.example/", true},
		{[]string{"receiver.example"}, "http://RECEIVER.example./", true},
		{[]string{"receiver.example"}, "http://other.example/", false},
		{[]string{"receiver.example"}, "http://10.1.2.3/", false},
		{[]string{"*.example"}, "http://a.b.example/", true},
		{[]string{"*.example"}, "http://example/", false},
		{[]string{"*.example"}, "http://badexample/", false},
		{[]string{"10.0.0.0/8"}, "http://10.1.2.3/", true},
		{[]string{"10.0.0.0/8"}, "http://11.1.2.3/", false},
		{[]string{"10.0.0.0/8"}, "http://known-when-dialled/", true},
		{[]string{"127.0.0.1"}, "http://127.0.0.1/", false},
	} {
		err := invoke.CheckCallback(invoke.Callbacks{Allow: c.allow}, c.url)
		if (err == nil) != c.good || err != nil && !errors.Is(err, function.ErrInvalid) {
			t.Errorf("%.80q with %q: %v, want good: %t", c.url, c.allow, err, c.good)
		}
	}
	for _, bad := range []string{"", "*", "*.", "a b", "http://host", "10.0.0.0/99", "host:80"} {
		if _, err := invoke.New(invoke.Config{
			Store: struct{ invoke.Store }{}, Call: callTo(t, "http://x"), Error: func(http.ResponseWriter, *http.Request, error) {},
			Callbacks: invoke.Callbacks{Allow: []string{bad}},
		}); err == nil {
			t.Errorf("%q is taken for a receiver", bad)
		}
	}
}

// A name that leads to this machine is found out as the connection is made.
func TestCallbacks_NamesThatLeadHere(t *testing.T) {
	var came atomic.Int64
	a := newAsyncBench(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }, nil)
	a.invoker.LetLocalNot()
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { came.Add(1) }))
	defer receiver.Close()
	url := strings.Replace(receiver.URL, "127.0.0.1", "localhost", 1)
	if err := a.invoker.Deliver(t.Context(), invoke.Message{URL: url, Header: http.Header{}}); err == nil || !strings.Contains(err.Error(), "do not go to this address") {
		t.Errorf("delivered to this machine: %v", err)
	}
	redirecting := httptest.NewServer(http.RedirectHandler(receiver.URL, http.StatusTemporaryRedirect))
	defer redirecting.Close()
	a.invoker.LetLocal()
	if err := a.invoker.Deliver(t.Context(), invoke.Message{URL: redirecting.URL, Header: http.Header{}}); err != nil {
		t.Error(err)
	}
	if came.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestSchedule_Latest(t *testing.T) {
	at := func(text string) time.Time {
		t.Helper()
		parsed, err := time.Parse(time.DateTime, text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	for _, c := range []struct {
		schedule  function.Schedule
		last, now string
		want      string // empty is none
	}{
		{function.Schedule{Every: 10 * time.Second}, "2026-01-01 00:00:00", "2026-01-01 00:00:09", ""},
		{function.Schedule{Every: 10 * time.Second}, "2026-01-01 00:00:00", "2026-01-01 00:00:10", "2026-01-01 00:00:10"},
		{function.Schedule{Every: 10 * time.Second}, "2026-01-01 00:00:00", "2026-03-01 00:00:35", "2026-03-01 00:00:30"},
		{function.Schedule{Cron: "@every 10s"}, "2026-01-01 00:00:00", "2026-01-01 00:00:35", "2026-01-01 00:00:30"},
		{function.Schedule{Cron: "*/5 * * * *"}, "2026-01-01 00:01:00", "2026-01-01 00:04:59", ""},
		{function.Schedule{Cron: "*/5 * * * *"}, "2026-01-01 00:01:00", "2026-01-01 00:05:00", "2026-01-01 00:05:00"},
		{function.Schedule{Cron: "*/5 * * * *"}, "2020-01-01 00:01:00", "2026-01-01 00:17:00", "2026-01-01 00:15:00"},
		{function.Schedule{Cron: "0 3 * * sun"}, "2026-01-01 00:00:00", "2026-01-09 00:00:00", "2026-01-04 03:00:00"},
		{function.Schedule{Cron: "0 0 29 2 *"}, "2020-03-01 00:00:00", "2026-01-09 00:00:00", "2024-02-29 00:00:00"},
		{function.Schedule{Cron: "@hourly"}, "2026-01-01 00:00:00", "2026-01-01 02:59:00", "2026-01-01 02:00:00"},
		// Either the day of the month or that of the week, as cron has it.
		{function.Schedule{Cron: "0 0 13 * 5"}, "2026-01-01 00:00:00", "2026-01-05 00:00:00", "2026-01-02 00:00:00"},
	} {
		got, err := invoke.Latest(c.schedule, at(c.last), at(c.now))
		if want := c.want; err != nil || (want == "") != got.IsZero() || want != "" && !got.Equal(at(want)) {
			t.Errorf("%+v from %s to %s: %v, %v, want %q", c.schedule, c.last, c.now, got, err, want)
		}
	}
	for _, bad := range []string{"x", "* * * *", "* * * * * *", "60 * * * *", "@never", "@every x", "0 0 31 2 *", "TZ=UTC", "TZ=UTC * * * * *", "CRON_TZ=UTC", " ", "* * * * 7"} {
		for _, connector := range []bool{true, false} {
			if err := invoke.CheckSchedule(function.Schedule{Cron: bad, Connector: connector}); !errors.Is(err, function.ErrInvalid) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: %v, want ErrInvalid in one line", bad, err)
			}
		}
	}
}

func TestSchedule_TicksOnceAndMakesUpOnce(t *testing.T) {
	var mu sync.Mutex
	var bodies []string
	a := newAsyncBench(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		bodies = append(bodies, string(body))
		mu.Unlock()
		io.WriteString(w, `{"OUTPUT_TO_HEAP": false}`)
	}, func(p *function.Policy) { p.Schedule = function.Schedule{Every: 10 * time.Second} })
	a.contract.Env = map[string]string{"SMART_CONTRACT_NAME": "clockwork", "DRAGONCHAIN_ID": "chain"}
	begin := time.Now().Truncate(time.Second)
	wantNext := func(seconds int) {
		t.Helper()
		if next, known := a.invoker.NextTick(a.contract.Heap()); !known || !next.Equal(begin.Add(time.Duration(seconds)*time.Second)) {
			t.Errorf("the next tick is %v, %t, want %d", next.Sub(begin), known, seconds)
		}
	}
	tick := func(seconds int) { a.invoker.Tick(t.Context(), begin.Add(time.Duration(seconds)*time.Second)) }
	tick(0)
	tick(9)
	wantNext(10)
	a.wantDepth(function.Depth{})
	tick(10)
	tick(10)
	a.wantDepth(function.Depth{Waiting: 1})
	wantNext(20)
	tick(25) // the last is not done: this one is left out
	a.wantDepth(function.Depth{Waiting: 1})
	wantNext(30)
	stop := a.work()
	a.wantDepth(function.Depth{})
	stop()
	tick(1000) // after a long time down
	a.wantDepth(function.Depth{Waiting: 1})
	wantNext(1010)
	defer a.work()()
	a.wantDepth(function.Depth{})
	mu.Lock()
	defer mu.Unlock()
	if len(bodies) != 2 {
		t.Fatalf("%d runs, want 2", len(bodies))
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(bodies[0]), &got); err != nil {
		t.Fatal(err)
	}
	header, _ := got["header"].(map[string]any)
	want := map[string]any{
		"txn_type": "clockwork", "dc_id": "chain", "txn_id": "cron", "block_id": nil, "timestamp": fmt.Sprint(begin.Unix() + 10), "tag": "", "invoker": "",
	}
	if got["version"] != "2" || got["dcrn"] != "Transaction::L1::FullTransaction" || !maps.Equal(header, want) || fmt.Sprint(got["payload"]) != "map[]" ||
		fmt.Sprint(got["proof"]) != "map[full:<nil> stripped:<nil>]" {
		t.Errorf("called with %s", bodies[0])
	}
}

func TestSchedule_AsTheConnectorCalls(t *testing.T) {
	seen := make(chan *http.Request, 1)
	a := newAsyncBench(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r
	}, func(p *function.Policy) {
		p.Schedule, p.Heap = function.Schedule{Cron: "@every 1s", Connector: true}, false
	})
	now := time.Now()
	a.invoker.Tick(t.Context(), now)
	a.invoker.Tick(t.Context(), now.Add(2*time.Second))
	defer a.work()()
	r := <-seen
	if r.Method != "POST" || r.ContentLength != 0 || r.Header.Get("X-Topic") != "cron-function" || r.Header.Get("X-Connector") != "cron-connector" ||
		!strings.HasPrefix(r.Header.Get("X-Call-Id"), "tick-1-") {
		t.Errorf("called with %s, %d bytes, %v", r.Method, r.ContentLength, r.Header)
	}
	a.wantDepth(function.Depth{})
}

func TestDepth_OfAFunction(t *testing.T) {
	end := make(chan struct{})
	a := newAsyncBench(t, func(w http.ResponseWriter, _ *http.Request) { <-end }, nil)
	a.wantAccepted("one", "")
	defer a.work()()
	defer close(end)
	for deadline := time.Now().Add(time.Minute); a.invoker.Depth(a.contract.Heap()) != (function.Depth{Waiting: 1}); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("depth %+v", a.invoker.Depth(a.contract.Heap()))
		}
	}
}

// FuzzCheckSchedule reads anything without harm, and what it takes has a next time.
func FuzzCheckSchedule(f *testing.F) {
	for _, seed := range []string{"*/5 * * * *", "@every 1s", "0 0 29 2 *", "TZ=", "1-3/2,4 ? * jan mon", "@daily"} {
		f.Add(seed)
	}
	last := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		s := function.Schedule{Cron: text}
		if text == "" || invoke.CheckSchedule(s) != nil {
			return
		}
		if at, err := invoke.Latest(s, last, last.Add(time.Hour)); err != nil || !at.IsZero() && (!at.After(last) || at.After(last.Add(time.Hour))) {
			t.Errorf("%q: %v, %v", text, at, err)
		}
	})
}

// deadly is a queue that tells of deaths of providers at its invocations.
type deadly struct {
	invoke.Queue
	deaths int
}

func (d deadly) Lease(ctx context.Context, kind function.ItemKind, limit int, skip map[function.Heap]bool) ([]function.Leased, error) {
	leased, err := d.Queue.Lease(ctx, kind, limit, skip)
	for n := range leased {
		if kind == function.ItemInvocation {
			leased[n].Lost = d.deaths
		}
	}
	return leased, err
}

// An invocation at which every provider dies is not made for ever, and its caller is told.
func TestAsync_EndOfProviders(t *testing.T) {
	for _, test := range []struct {
		deaths, runs int
		status       string
		dead         function.Depth
	}{
		{deaths: 9, runs: 1, status: "200"},
		{deaths: 10, status: "500", dead: function.Depth{Dead: 1}},
	} {
		t.Run(fmt.Sprint(test.deaths, " deaths"), func(t *testing.T) {
			var runs atomic.Int64
			a := newAsyncBenchOn(t, func(w http.ResponseWriter, _ *http.Request) {
				runs.Add(1)
				io.WriteString(w, `{"a": 1}`)
			}, nil, func(c *invoke.Config) { c.Queue = deadly{c.Queue, test.deaths} })
			defer a.work()()
			a.wantAccepted("one", "{}")
			if got := a.callback(); got.header.Get("X-Function-Status") != test.status || int(runs.Load()) != test.runs {
				t.Errorf("callback %v after %d runs", got.header, runs.Load())
			}
			a.wantDepth(test.dead)
			dead, _, err := a.store.DeadLetters(t.Context(), a.contract.Heap(), 0, 0)
			if err != nil || len(dead) != test.dead.Dead || len(dead) > 0 && !strings.Contains(dead[0].Reason, "10 providers ended") {
				t.Errorf("dead letters %+v, %v", dead, err)
			}
		})
	}
}
