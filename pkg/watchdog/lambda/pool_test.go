package lambda

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// short is a timeout that the test waits for.
const short = 500 * time.Millisecond

func limited(d time.Duration) func(*http.Request) time.Duration {
	return func(*http.Request) time.Duration { return d }
}

// shortBut is short but for the path /long.
func shortBut(r *http.Request) time.Duration {
	if r.URL.Path == "/long" {
		return time.Minute
	}
	return short
}

func TestPool_StartsOneAfterAnother(t *testing.T) {
	w := start(t, Config{Processes: 3})
	apis := map[string]bool{}
	for range 3 {
		f := w.process()
		apis[f.api] = true
		select {
		case <-w.procs:
			t.Fatal("the next was started before this one was ready")
		default:
		}
		f.poll()
	}
	if len(apis) != 3 {
		t.Errorf("addresses %v", apis)
	}
}

func TestPool_UsesTheOneUsedLast(t *testing.T) {
	w := start(t, Config{Processes: 2})
	first := w.process()
	firstGets := first.poll()
	second := w.process()
	secondGets := second.poll()
	w.waitFor("two idle processes", func(p *Pool) bool { return len(p.idle) == 2 })
	for range 3 {
		answer := w.invoke("/", "{}")
		second.respond(get(t, secondGets).header.Get(headerRequestID), `2`)
		get(t, answer).is(t, 200, `2`)
		secondGets = second.poll()
		w.waitFor("two idle processes", func(p *Pool) bool { return len(p.idle) == 2 })
	}
	one, two := w.invoke("/", "{}"), w.invoke("/", "{}") // both at once take both
	second.respond(get(t, secondGets).header.Get(headerRequestID), `1`)
	first.respond(get(t, firstGets).header.Get(headerRequestID), `1`)
	get(t, one).is(t, 200, `1`)
	get(t, two).is(t, 200, `1`)
}

func TestPool_QueueKeepsOrderAndBound(t *testing.T) {
	w := start(t, Config{QueueDepth: 2})
	f := w.process()
	answers := []<-chan reply{w.invoke("/", `0`)}
	id, a := f.next()
	for i := 1; i <= 2; i++ {
		answers = append(answers, w.invoke("/", fmt.Sprint(i)))
		w.waitFor("queue", func(p *Pool) bool { return len(p.queue) == i })
	}
	full := get(t, w.invoke("/", `3`))
	full.is(t, 429, `{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}`)
	if full.header.Get("Retry-After") != "1" || full.header.Get("X-Amzn-ErrorType") != "TooManyRequestsException" {
		t.Errorf("headers %v", full.header)
	}
	for i, answer := range answers {
		if a.body != fmt.Sprint(i) {
			t.Errorf("event %q comes as number %d", a.body, i)
		}
		f.respond(id, a.body)
		get(t, answer).is(t, 200, fmt.Sprint(i))
		if i < 2 {
			id, a = f.next()
		}
	}
}

func TestPool_AnswerDoesNotFreeTheProcess(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	first := w.invoke("/", `1`)
	id, _ := f.next()
	f.respond(id, `1`)
	get(t, first).is(t, 200, `1`)
	second := w.invoke("/", `2`)
	w.waitFor("queue", func(p *Pool) bool { return len(p.queue) == 1 })
	id, _ = f.next()
	f.respond(id, `2`)
	get(t, second).is(t, 200, `2`)
}

func TestPool_QueueGivesUp(t *testing.T) {
	for _, able := range []bool{true, false} {
		t.Run(fmt.Sprintf("able %v", able), func(t *testing.T) {
			w := start(t, Config{Timeout: shortBut})
			f := w.process()
			if !able {
				get(t, w.invoke("/", `{}`)).is(t, 503, `{"Type":"User","message":"no runtime process is ready yet"}`)
				return
			}
			w.invoke("/long", `{}`)
			f.next()
			if a := get(t, w.invoke("/", `{}`)); a.status != 429 {
				t.Errorf("got %d %s", a.status, a.body)
			}
		})
	}
}

func TestPool_WaitingIsPartOfTheTime(t *testing.T) {
	const limit = 10 * time.Second
	tests := []struct {
		name  string
		waits time.Duration
		given bool
	}{
		{"given with what is left", 6 * time.Second, true},
		{"not given when it is over", limit, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pool, err := New(Config{}, nil, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				r := &runtime{pool: pool, log: pool.log, ctx: t.Context(), rest: pool.rest, settled: func() {}, timer: time.NewTimer(time.Hour)}
				defer r.timer.Stop()
				started := time.Now()
				first := &invocation{id: "1", timeout: time.Hour, deadline: started.Add(time.Hour), outcome: make(chan outcome, 1)}
				second := &invocation{id: "2", timeout: limit, deadline: started.Add(limit), outcome: make(chan outcome, 1)}
				ask(t, r)
				for _, inv := range []*invocation{first, second} {
					if err := pool.admit(inv); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(tt.waits)
				if _, err := r.reply(first.id); err != nil {
					t.Fatal(err)
				}
				r.answered(first, &outcome{})
				po := ask(t, r)
				if given := len(po.given) == 1; given != tt.given {
					t.Fatalf("given is %v", given)
				}
				if tt.given && (!r.expires.Equal(started.Add(limit)) || r.expired(started.Add(limit-1)) || !r.expired(started.Add(limit))) {
					t.Errorf("it has until %v, want %v", r.expires.Sub(started), limit)
				}
				if err := pool.giveUp(second); !tt.given && err != errBusy {
					t.Errorf("it has waited for %v", err)
				}
			})
		})
	}
}

// ask asks for an event as the process would.
func ask(t *testing.T, r *runtime) *poll {
	t.Helper()
	po, err := r.next()
	if err != nil {
		t.Fatal(err)
	}
	return po
}

func TestPool_DeadlineKillsAndReplaces(t *testing.T) {
	w := start(t, Config{Timeout: limited(short)})
	f := w.process()
	answer := w.invoke("/", "{}")
	id, _ := f.next()
	a := get(t, answer)
	a.isFault(t, 504, "Sandbox.Timedout")
	if _, message := a.fault(t); message != "RequestId: "+id+" Error: Task timed out after 0.50 seconds" {
		t.Errorf("message %q", message)
	}
	<-f.exited
	if len(f.signals) > 0 {
		t.Errorf("signal %v to a process that has not registered", <-f.signals)
	}
	w.ready(true) // another is on its way, and calls wait for it
	next := w.process()
	next.poll()
	next.respond(id, `1`).isFault(t, 400, "InvalidRequestID")
}

func TestPool_DeadlineHoldsUntilTheNextRequest(t *testing.T) {
	w := start(t, Config{Timeout: limited(short)})
	f := w.process()
	answer := w.invoke("/", "{}")
	id, _ := f.next()
	f.respond(id, `1`)
	get(t, answer).is(t, 200, `1`)
	<-f.exited
	w.process()
}

func TestPool_ExtensionIsToldOfTheDeadline(t *testing.T) {
	w := start(t, Config{Timeout: limited(short)})
	f := w.process()
	f.call("POST", "/2020-01-01/extension/register", strings.NewReader(`{}`), "Lambda-Extension-Name: x")
	w.invoke("/", "{}")
	f.next()
	if sig := <-f.signals; sig != syscall.SIGTERM {
		t.Errorf("signal %v", sig)
	}
	f.exit("")
	w.process()
}

func TestPool_Exits(t *testing.T) {
	tests := []struct {
		name    string
		status  string
		do      func(t *testing.T, w *world, f *fakeProcess) <-chan reply // the last thing before the exit
		want    int
		message string // after the request id; empty: the answer is its own
	}{
		{"during init, status 1", "exit status 1", initPhase, 502, "Error: Runtime exited with error: exit status 1"},
		{"during init, status 0", "", initPhase, 502, "Error: Runtime exited without providing a reason"},
		{"with an event", "exit status 7", withEvent, 502, "Error: Runtime exited with error: exit status 7"},
		{"with an event, by a signal", "signal: killed", withEvent, 502, "Error: Runtime exited with error: signal: killed"},
		{"after the answer", "exit status 1", afterAnswer, 200, ""},
		{"after the error", "exit status 2", afterError, 500, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, Config{})
			f := w.process()
			answer := tt.do(t, w, f)
			f.exit(tt.status)
			a := get(t, answer)
			if a.status != tt.want {
				t.Errorf("status %d, want %d", a.status, tt.want)
			}
			if tt.message != "" {
				a.isFault(t, tt.want, "Runtime.ExitError")
				if _, message := a.fault(t); !strings.HasPrefix(message, "RequestId: ") || !strings.HasSuffix(message, tt.message) {
					t.Errorf("message %q", message)
				}
			}
			w.process().poll() // its successor
			w.ready(true)
		})
	}
}

func initPhase(t *testing.T, w *world, _ *fakeProcess) <-chan reply {
	answer := w.invoke("/", "{}")
	w.waitFor("queue", func(p *Pool) bool { return len(p.queue) == 1 })
	return answer
}

func withEvent(t *testing.T, w *world, f *fakeProcess) <-chan reply {
	answer := w.invoke("/", "{}")
	f.next()
	return answer
}

func afterAnswer(t *testing.T, w *world, f *fakeProcess) <-chan reply {
	answer := w.invoke("/", "{}")
	id, _ := f.next()
	f.respond(id, `1`)
	return answer
}

func afterError(t *testing.T, w *world, f *fakeProcess) <-chan reply {
	answer := w.invoke("/", "{}")
	id, _ := f.next()
	f.call("POST", invocations+id+"/error", strings.NewReader(`{}`))
	return answer
}

func TestPool_InitError(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	answer := initPhase(t, w, f)
	text := `{"errorMessage":"no module","errorType":"Runtime.ImportModuleError"}`
	f.call("POST", "/2018-06-01/runtime/init/error", strings.NewReader(text)).is(t, 202, `{"status":"OK"}`)
	get(t, answer).is(t, 502, text)
	f.call("GET", invocations+"next", nil).isFault(t, 403, "InvalidStateTransition")
	w.ready(false)
	f.exit("exit status 1")
	w.process().poll()
	w.ready(true)
}

func TestPool_InitErrorWithoutExitIsKilled(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	f.call("POST", "/2018-06-01/runtime/init/error", strings.NewReader(`{}`))
	<-f.exited
	w.process()
}

func TestPool_InitLimit(t *testing.T) {
	w := start(t, Config{InitLimit: short})
	f := w.process()
	answer := initPhase(t, w, f)
	a := get(t, answer)
	a.isFault(t, 502, "Sandbox.Timedout")
	if _, message := a.fault(t); !strings.HasSuffix(message, "Error: Init timed out after 0.50 seconds") {
		t.Errorf("message %q", message)
	}
	<-f.exited
}

func TestPool_HungUpAndSilentIsReplaced(t *testing.T) {
	w := start(t, Config{InitLimit: short})
	f := w.process()
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+f.api+invocations+"next", nil)
	if err != nil {
		t.Fatal(err)
	}
	polled := make(chan error, 1)
	go func() {
		_, err := f.do(req)
		polled <- err
	}()
	w.waitIdle()
	leave()
	if err := <-polled; err == nil {
		t.Error("the request for an event was answered")
	}
	<-f.exited
	w.process()
}

func TestPool_HungUpAndAskingAgainStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, err := New(Config{}, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		r := &runtime{pool: pool, log: pool.log, ctx: t.Context(), rest: pool.rest, settled: func() {}, timer: time.NewTimer(time.Hour)}
		defer r.timer.Stop()
		r.hungUp(ask(t, r))
		if r.expired(time.Now().Add(pool.cfg.InitLimit - 1)) {
			t.Error("killed before its time")
		}
		po := ask(t, r)
		if r.expired(time.Now().Add(time.Hour)) || len(pool.idle) != 1 {
			t.Errorf("it has asked again, and %d are idle", len(pool.idle))
		}
		r.hungUp(po)
		if !r.expired(time.Now().Add(pool.cfg.InitLimit)) {
			t.Error("not killed at its time")
		}
	})
}

func TestPool_InitFailureBesideAReadyProcess(t *testing.T) {
	w := start(t, Config{Processes: 2})
	f := w.process()
	answer := w.invoke("/", `1`)
	id, _ := f.next()
	queued := w.invoke("/", `2`)
	w.waitFor("queue", func(p *Pool) bool { return len(p.queue) == 1 })
	w.process().exit("exit status 1")
	w.process() // it is tried again
	w.ready(true)
	f.respond(id, `1`)
	get(t, answer).is(t, 200, `1`)
	id, _ = f.next()
	f.respond(id, `2`)
	get(t, queued).is(t, 200, `2`)
}

func TestPool_ReadinessFallsWhenInitFails(t *testing.T) {
	w := start(t, Config{})
	w.ready(false)
	f := w.process()
	f.poll()
	w.ready(true)
	f.exit("exit status 1")
	w.process().exit("exit status 1")
	w.ready(false)
	w.process().poll()
	w.ready(true)
}

func TestPool_ProgramThatCannotBeStarted(t *testing.T) {
	w := &world{t: t}
	tries := make(chan struct{}, 100)
	w.run(Config{}, func([]string, io.Writer) (Process, error) {
		tries <- struct{}{}
		return nil, errors.New("fork/exec /x: exec format error")
	})
	<-tries
	a := get(t, w.invoke("/", "{}"))
	a.isFault(t, 502, "Runtime.InvalidEntrypoint")
	if _, message := a.fault(t); !strings.Contains(message, "fork/exec /x: exec format error") {
		t.Errorf("message %q", message)
	}
	<-tries
}

func TestPool_CallerLeaves(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	answer := w.invoke("/", `1`)
	id, _ := f.next()
	leave := w.leaving(`2`)
	w.waitFor("queue", func(p *Pool) bool { return len(p.queue) == 1 })
	leave()
	w.waitFor("empty queue", func(p *Pool) bool { return len(p.queue) == 0 })
	f.respond(id, `1`)
	get(t, answer).is(t, 200, `1`)

	leave = w.leaving(`3`)
	id, _ = f.next()
	leave()
	f.respond(id, `3`).is(t, 202, `{"status":"OK"}`)
}

func TestPool_EndAnswersWhoeverWaits(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	running := w.invoke("/", `1`)
	f.next()
	queued := w.invoke("/", `2`)
	w.waitFor("queue", func(p *Pool) bool { return len(p.queue) == 1 })
	w.stop()
	get(t, running).isFault(t, 502, "Runtime.ExitError")
	if a := get(t, queued); a.status != 502 {
		t.Errorf("queued: %d %s", a.status, a.body)
	}
	if a := get(t, w.invoke("/", `3`)); a.status != 503 {
		t.Errorf("after the end: %d %s", a.status, a.body)
	}
}

func TestBackoff(t *testing.T) {
	var got []string
	for i := range 9 {
		got = append(got, backoff(i).String())
	}
	if want := "100ms 200ms 400ms 800ms 1.6s 3.2s 6.4s 10s 10s"; strings.Join(got, " ") != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBudget_HoldersGiveWayInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{left: 2}
		began := time.Now()
		cuts := map[string]time.Duration{}
		hold := func(name string) {
			if err := b.take(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			var release func()
			gone := make(chan struct{})
			release = b.hold(func() {
				cuts[name] = time.Since(began)
				close(gone)
			})
			go func() {
				<-gone
				release()
				b.give(1)
			}()
		}
		hold("first")
		time.Sleep(time.Hour)
		began = time.Now()
		hold("second")
		b.hold(func() { t.Error("one who has let go was cut off") })()
		if len(cuts) > 0 {
			t.Errorf("cut off %v while nobody waits", cuts)
		}
		if err := b.take(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		if cuts["first"] != reclaimAfter || cuts["second"] != holdPatience {
			t.Errorf("cut off after %v", cuts)
		}
	})
}

func TestBudget_FirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{left: 10}
		if err := b.take(t.Context(), 8); err != nil {
			t.Fatal(err)
		}
		served := make(chan int64, 2)
		for _, n := range []int64{5, 2} { // 2 would fit, and must not overtake
			go func() {
				if err := b.take(t.Context(), n); err == nil {
					served <- n
				}
			}()
			synctest.Wait()
		}
		if len(served) > 0 {
			t.Errorf("served %d", <-served)
		}
		b.give(8)
		synctest.Wait()
		if len(served) != 2 || b.left != 3 {
			t.Errorf("served %d, %d left", len(served), b.left)
		}
	})
}
