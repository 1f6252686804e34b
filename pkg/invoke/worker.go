package invoke

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	defaultWorkers     = 256
	defaultPerFunction = 64
	// leaseAtOnce keeps one look at the queue from giving more to one function than it may have.
	leaseAtOnce = 16
	// lookEvery is how often the queue is looked at without a reason.
	lookEvery = 250 * time.Millisecond
	// depthEvery is how old the depths are that Depth tells of.
	depthEvery = time.Second
	// settlePatience bounds how long the end of an invocation is tried to be written.
	settlePatience = 10 * time.Second
	// goneAge is how long what was accepted for a function that cannot be found is kept: another provider may know of a function
	// before this one.
	goneAge   = time.Minute
	gonePause = 2 * time.Second
	// maxRetryAfter bounds what a Retry-After may ask for.
	maxRetryAfter = time.Hour
	// maxLost is how many providers may die at an item: one that is the end of every provider would otherwise be the end of all.
	maxLost = 10
	// maxReason bounds what is kept of why an attempt failed.
	maxReason = 500
)

// deliveries is how messages are tried.
var deliveries = function.Retry{Attempts: 10, MinWait: time.Second, MaxWait: 2 * time.Minute}

// worker runs what is in the queue.
type worker struct {
	i *Invoker
	// taking ends before ctx does.
	taking, ctx context.Context
	ended       chan struct{}
	// unread is the queue's outage. It belongs to Run.
	unread outage

	mu sync.Mutex
	// running are those of each function, inFlight all of them, by kind.
	running  [2]map[function.Heap]int
	inFlight [2]int
}

// Run makes queued invocations and sends messages until taking ends; then it returns when those under way have ended, at the
// latest when ctx does, which gives them back. It may be called once.
func (i *Invoker) Run(ctx, taking context.Context) error {
	w := &worker{i: i, taking: taking, ctx: ctx, ended: make(chan struct{}, 1)}
	w.running[0], w.running[1] = map[function.Heap]int{}, map[function.Heap]int{}
	var under sync.WaitGroup
	defer under.Wait()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for taking.Err() == nil && ctx.Err() == nil {
		for _, kind := range []function.ItemKind{function.ItemInvocation, function.ItemMessage} {
			w.take(kind, &under)
		}
		w.i.depths.refresh(taking, i.cfg.Queue, time.Now())
		select {
		case <-i.cfg.Queue.Ready():
		case <-w.ended:
		case <-ticker.C:
		case <-taking.Done():
		case <-ctx.Done():
		}
	}
	return nil
}

// take starts what is due, as far as there is room.
func (w *worker) take(kind function.ItemKind, under *sync.WaitGroup) {
	for w.taking.Err() == nil {
		room, skip := w.room(kind)
		if room == 0 {
			return
		}
		leased, err := w.i.cfg.Queue.Lease(w.taking, kind, room, skip)
		if w.taking.Err() == nil {
			w.unread.note(w.i.cfg.Log, err, "the queue cannot be read; it is tried until it can", "the queue can be read again")
		}
		for _, l := range leased {
			w.count(l, 1)
			under.Go(func() {
				w.i.work(w.ctx, l)
				w.count(l, -1)
				select {
				case w.ended <- struct{}{}:
				default: // whoever takes the token looks at everything
				}
			})
		}
		if err != nil || len(leased) == 0 {
			return
		}
	}
}

func (w *worker) count(l function.Leased, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inFlight[l.Kind] += n
	if w.running[l.Kind][l.Function] += n; w.running[l.Kind][l.Function] == 0 {
		delete(w.running[l.Kind], l.Function)
	}
}

// room is how many more may run, and the functions of which none may: those that have PerFunction, or as many as there are places
// left. So a few slow functions do not take all places: n of them that have much to do come to the n+1st part of them each, and as
// many are left for others.
func (w *worker) room(kind function.ItemKind) (room int, skip map[function.Heap]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	skip = map[function.Heap]bool{}
	// None if there are more than may be, since the last look gave several.
	free := max(w.i.cfg.Workers-w.inFlight[kind], 0)
	for h, n := range w.running[kind] {
		if n >= min(w.i.cfg.PerFunction, free) {
			skip[h] = true
		}
	}
	// Half of them at a time, since all may be given to one function.
	return min((free+1)/2, leaseAtOnce, w.i.cfg.PerFunction), skip
}

// work does one item, and settles what becomes of it.
func (i *Invoker) work(ctx context.Context, l function.Leased) {
	end, err := i.cfg.Begin(ctx)
	if err != nil {
		return // the store is another's by now, and the item with it
	}
	defer end()
	s, settled := i.do(ctx, l)
	if settled {
		return
	}
	// What was cut off is given back at once: another provider may be waiting for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settlePatience)
	defer cancel()
	s.Reason = s.Reason[:min(len(s.Reason), maxReason)]
	err = i.cfg.Queue.Settle(ctx, l.Function, l.Lease, s)
	log := i.cfg.Log.With("function", l.Function.Name, "namespace", l.Function.Namespace, "call_id", l.CallID)
	switch {
	case errors.Is(err, function.ErrConflict):
		log.Debug("a queued invocation was dropped or taken over meanwhile", "err", err)
	case err != nil:
		log.Warn("the end of a queued invocation was not written; it will run again", "err", err)
	case s.Bury:
		log.Warn("dead letter", "attempts", s.Attempts, "err", s.Reason)
	}
}

// do makes one attempt. settled says that the item has left the queue, with the commit of its effects.
func (i *Invoker) do(ctx context.Context, l function.Leased) (s function.Settlement, settled bool) {
	f, found := i.cfg.Lookup(l.Function.Ref)
	if !found || f.ID != l.Function.ID {
		if time.Since(l.Accepted) > goneAge {
			i.cfg.Log.Warn("queued for a function that is gone", "function", l.Function.Name, "namespace", l.Function.Namespace, "call_id", l.CallID)
			return function.Settlement{}, false
		}
		return again(l, time.Now().Add(gonePause), l.Attempts), false
	}
	if l.Kind == function.ItemMessage {
		if l.Lost >= maxLost {
			return function.Settlement{Bury: true, Attempts: l.Attempts, Reason: lostReason(l)}, false
		}
		return i.send(ctx, l), false
	}
	return i.attempt(ctx, f, l)
}

func lostReason(l function.Leased) string {
	return fmt.Sprintf("%d providers ended while they were at it", l.Lost)
}

func again(l function.Leased, at time.Time, attempts int) function.Settlement {
	return function.Settlement{Again: at, Attempts: attempts, Reason: l.Reason}
}

// send makes one attempt at a message.
func (i *Invoker) send(ctx context.Context, l function.Leased) function.Settlement {
	m, err := DecodeMessage(l.Payload)
	if err != nil {
		return function.Settlement{Bury: true, Attempts: l.Attempts + 1, Reason: err.Error()}
	}
	switch err := i.deliver(ctx, m); {
	case err == nil:
		return function.Settlement{}
	case ctx.Err() != nil:
		return again(l, time.Now(), l.Attempts)
	case l.Attempts+1 >= deliveries.Attempts:
		return function.Settlement{Bury: true, Attempts: l.Attempts + 1, Reason: err.Error()}
	default:
		s := again(l, time.Now().Add(deliveries.Wait(l.Attempts+1)), l.Attempts+1)
		s.Reason = err.Error()
		return s
	}
}

// ending is how an attempt ended: with an answer of the function, or an error, whose status it has then.
type ending struct {
	answer answer
	status int
	err    error
}

// failed reports whether the function has not had the last word.
func (e ending) failed() bool { return e.err != nil || !e.answer.hasEffect() }

// attempt makes one attempt at an invocation.
func (i *Invoker) attempt(ctx context.Context, f *function.Function, l function.Leased) (s function.Settlement, settled bool) {
	begun := time.Now()
	call, err := DecodeCall(l.Payload)
	if err != nil {
		return function.Settlement{Bury: true, Attempts: l.Attempts + 1, Reason: err.Error()}, false
	}
	var end ending
	if l.Lost >= maxLost {
		end = ending{status: http.StatusInternalServerError, err: errors.New(lostReason(l))}
	} else if end, settled = i.tryOnce(ctx, f, l, call, begun); settled {
		return s, true
	}
	if ctx.Err() != nil {
		return again(l, time.Now(), l.Attempts), false
	}
	attempts := l.Attempts + 1
	reason := fmt.Sprintf("the function answered %d", end.status)
	if end.err != nil {
		reason = end.err.Error()
	}
	retry := f.Policy.Retry.Codes.Has(end.status) && l.Lost < maxLost
	if retry && attempts < f.Policy.Retry.Attempts {
		wait := f.Policy.Retry.Wait(attempts)
		if after := retryAfter(end, begun); after > 0 {
			wait = max(after, f.Policy.Retry.MinWait)
		}
		return function.Settlement{Again: time.Now().Add(wait), Attempts: attempts, Reason: reason}, false
	}
	send, err := i.callback(f, call, l.CallID, end, time.Since(begun))
	if err != nil {
		i.cfg.Log.Error("callback not made", "function", f.Name, "namespace", f.Namespace, "call_id", l.CallID, "err", err)
	}
	return function.Settlement{Bury: end.failed() || retry, Attempts: attempts, Reason: reason, Send: send}, false
}

// errNoEffect keeps an answer from being committed.
var errNoEffect = errors.New("the answer has no effect")

// tryOnce makes the call, and, of a contract whose answer has an effect, commits that with all that goes with it.
func (i *Invoker) tryOnce(ctx context.Context, f *function.Function, l function.Leased, queued QueuedCall, begun time.Time) (end ending, settled bool) {
	failed := func(err error) (ending, bool) { return ending{status: i.cfg.Status(err), err: err}, false }
	answered := func(got answer) (ending, bool) { return ending{answer: got, status: got.status}, false }
	request, err := queued.request()
	if err != nil {
		return failed(err)
	}
	request = request.WithContext(ctx)
	request.Header.Set(headerCallID, l.CallID)
	if !f.Policy.Heap {
		got, err := i.call(ctx, f, request)
		if err != nil {
			return failed(err)
		}
		return answered(got)
	}
	c, err := newCall(request, queued.Body)
	if err != nil {
		return failed(err)
	}
	if !l.Serial {
		// A serial one has its turn, and must not wait for a caller who is behind it; the store tells the two apart.
		leave, err := i.running.enter(ctx, callKey{heap: f.Heap(), id: c.id})
		if err != nil {
			return failed(err)
		}
		defer leave()
	}
	if got, found, err := i.recorded(ctx, f, c); err != nil {
		return failed(err)
	} else if found {
		return answered(got)
	}
	got, err := i.effect(ctx, f, request, c, &l.Lease, func(got answer) ([]function.Item, error) {
		if !got.hasEffect() || f.Policy.Retry.Codes.Has(got.status) {
			return nil, errNoEffect
		}
		send, err := i.callback(f, queued, l.CallID, ending{answer: got, status: got.status}, time.Since(begun))
		if err != nil {
			return nil, err
		}
		chain, err := i.chainMessages(f, request, c, got)
		return append(send, chain...), err
	})
	switch {
	case err == nil:
		return ending{}, true
	case errors.Is(err, errNoEffect):
		return answered(got)
	case errors.Is(err, function.ErrConflict):
		if got, found, lookup := i.recorded(ctx, f, c); lookup == nil && found {
			return answered(got) // by a caller who repeated it, or another provider
		}
	}
	return failed(err)
}

// retryAfter is how long an answer asks to wait, 0 if it does not.
func retryAfter(end ending, now time.Time) time.Duration {
	if end.status != http.StatusTooManyRequests && end.status != http.StatusServiceUnavailable {
		return 0
	}
	text := end.answer.header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return min(max(time.Duration(seconds), 0)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
