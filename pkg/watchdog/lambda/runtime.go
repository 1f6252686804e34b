package lambda

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// headerBytes is above what the cause of an error for X-Ray, a header of up to 1 MiB, comes to.
	headerBytes = 4 << 20
	// initErrorGrace is what a process that has told of its failure gets to exit by itself.
	initErrorGrace = time.Second
	// extensionGrace is what Lambda gives a process with an internal extension between SIGTERM and SIGKILL.
	extensionGrace = 500 * time.Millisecond
	// lastReply is how long the answer of a process that has exited may take to be read.
	lastReply = time.Second
)

// runtime is one process, from its start to its end, and the Runtime API that is served to it alone: the port is what tells which
// process is asking.
type runtime struct {
	pool *Pool
	log  *slog.Logger
	ctx  context.Context // ends with the process; for its handlers

	output   output // what it writes
	started  time.Time
	initTime atomic.Int64   // nanoseconds that its init took, until it was reported
	requests sync.WaitGroup // that it has sent and are being handled

	// What follows is guarded by pool.mu.

	machine     machine
	proc        Process       // nil until the start has returned
	rest        *rest         // at whose beginning it is to end
	poll        *poll         // its request for an event, while it waits
	inv         *invocation   // what it has, from running until it asks for the next
	read        chan struct{} // closed when the reply that is being read is at its end
	served      bool          // it was given an invocation
	initialised bool
	settled     func() // to be called once it is initialised
	extensions  map[string]*extension
	timer       *time.Timer
	expires     time.Time // when the timer is due; zero if it is not set
}

// poll is a request for an event.
type poll struct {
	given chan *invocation // gets one
	over  chan struct{}    // closed when another request has taken its place
}

// processEnd is what a process has come to.
type processEnd int

const (
	unused  processEnd = iota // it was never given an invocation, and has ended before its time
	served                    // it was given one
	resting                   // the pool was parked
)

// runProcess starts a process, sees it through, and leaves nothing of it.
func (p *Pool) runProcess(ctx context.Context, settled func()) processEnd {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		p.startFailed(fmt.Errorf("listen for the runtime process: %w", err))
		return unused
	}
	own, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	expires := time.Now().Add(p.cfg.InitLimit) // before the timer is set, which must not be due earlier
	r := &runtime{pool: p, log: p.log, ctx: own, started: time.Now(), settled: settled, expires: expires, timer: time.NewTimer(p.cfg.InitLimit)}
	p.mu.Lock()
	r.rest = p.rest
	p.mu.Unlock()
	defer r.timer.Stop()

	srv := &http.Server{
		Handler:        r.handler(),
		MaxHeaderBytes: headerBytes,
		ErrorLog:       slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	r.requests.Go(func() { _ = srv.Serve(ln) }) // ends with Close, below
	defer r.requests.Wait()
	defer srv.Close()
	defer end()

	proc, err := p.start(p.environFor(ln.Addr().String(), time.Now()), &r.output)
	if err != nil {
		p.startFailed(fmt.Errorf("start the runtime process: %w", err))
		return unused
	}
	p.mu.Lock()
	r.proc = proc
	p.mu.Unlock()
	r.watch(ctx, proc)
	return r.gone(r.stop(proc))
}

func (p *Pool) startFailed(err error) {
	p.log.Warn("no runtime process", "err", err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.initFailedLocked(func(id string) []byte { return entrypointError(id, err) })
}

// watch returns when the process has exited, or has to.
func (r *runtime) watch(ctx context.Context, proc Process) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.rest.begun:
			return
		case <-proc.Exited():
			r.finishReply()
			return
		case <-r.timer.C:
			if r.expired(time.Now()) {
				r.logLate()
				return
			}
		}
	}
}

// finishReply waits for an answer that was under way when the process exited.
func (r *runtime) finishReply() {
	r.pool.mu.Lock()
	read := r.read
	r.pool.mu.Unlock()
	if read == nil {
		return
	}
	patience := time.NewTimer(lastReply)
	defer patience.Stop()
	select {
	case <-read:
	case <-patience.C:
	}
}

// expectLocked sets the time by which the process must have come further.
func (r *runtime) expectLocked(by time.Time) {
	r.expires = by
	r.timer.Reset(time.Until(by))
}

// expired tells whether the process is late at now, and must be killed. Its invocation is answered at once.
func (r *runtime) expired(now time.Time) bool {
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case r.expires.IsZero():
		return false // it was the time of something that is over
	case now.Before(r.expires):
		r.timer.Reset(r.expires.Sub(now))
		return false
	}
	switch r.machine.state {
	case starting:
		limit := p.cfg.InitLimit
		r.log.Warn("a runtime process did not ask for an event in time", "duration_seconds", limit.Seconds())
		if err := r.machine.initError(); err != nil {
			panic("lambda: a starting process cannot fail: " + err.Error())
		}
		p.initFailedLocked(func(id string) []byte { return initTimeoutError(id, limit) })
	case ready:
		r.log.Warn("a runtime process has hung up and did not ask for an event again", "duration_seconds", p.cfg.InitLimit.Seconds())
	case running, replying:
		r.log.Warn("an invocation was out of time", "call_id", r.inv.id, "duration_seconds", r.inv.timeout.Seconds())
		p.settleLocked(r.inv, outcome{kind: timedOut, body: timeoutError(r.inv.id, r.inv.timeout)})
	case replied:
		r.log.Warn("a runtime process has answered and did not ask for the next event", "call_id", r.inv.id,
			"duration_seconds", r.inv.timeout.Seconds())
	}
	return true
}

// stop ends the process, which may have exited already. As in Lambda only one that has asked for it, by registering an
// extension, is told before.
func (r *runtime) stop(proc Process) (status string) {
	r.pool.mu.Lock()
	polite := len(r.extensions) > 0
	r.pool.mu.Unlock()
	if polite {
		proc.Signal(syscall.SIGTERM)
		grace := time.NewTimer(extensionGrace)
		defer grace.Stop()
		select {
		case <-proc.Exited():
		case <-grace.C:
		}
	}
	return proc.End()
}

// gone: the process is no more. Whoever waits for it learns how it ended.
func (r *runtime) gone(status string) processEnd {
	r.logGone()
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unidleLocked(r)
	from := r.machine.exited()
	if r.initialised {
		p.initialised--
	}
	switch parked := r.rest.hasBegun(); {
	case (p.closed || parked) && (from == starting || from == ready):
		r.log.Debug("a runtime process has ended", "state", from.String(), "status", status)
	case from == starting:
		r.log.Warn("a runtime process has exited before it asked for an event", "status", status)
		p.initFailedLocked(func(id string) []byte { return exitError(id, status) })
	default:
		r.log.Info("a runtime process has ended", "state", from.String(), "status", status)
	}
	if r.inv != nil {
		p.settleLocked(r.inv, outcome{kind: crashed, body: exitError(r.inv.id, status)})
		r.inv = nil
	}
	switch {
	case r.rest.hasBegun():
		return resting
	case r.served:
		return served
	}
	return unused
}

// next: the process asks for an event. It gets the one that it has, or the next from the queue, or waits.
func (r *runtime) next() (*poll, error) {
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	again, err := r.machine.next()
	if err != nil {
		return nil, err
	}
	if r.poll != nil {
		close(r.poll.over)
		p.unidleLocked(r)
	}
	po := &poll{given: make(chan *invocation, 1), over: make(chan struct{})}
	if again {
		po.given <- r.inv
		return po, nil
	}
	r.inv, r.expires = nil, time.Time{}
	r.timer.Stop()
	r.poll = po
	if r.rest.hasBegun() {
		return po, nil // it is being ended
	}
	if !r.initialised {
		r.initialised = true
		r.initTime.Store(int64(time.Since(r.started)))
		p.initialised++
		p.ableLocked(!p.closed)
		r.settled()
	}
	p.used = time.Now()
	if inv := p.nextLocked(); inv != nil {
		p.giveLocked(r, inv)
	} else {
		p.idle = append(p.idle, r)
	}
	return po, nil
}

// unidleLocked takes r out of those that wait for an event.
func (p *Pool) unidleLocked(r *runtime) {
	r.poll = nil
	for i, other := range p.idle {
		if other == r {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return
		}
	}
}

// hungUp: whoever asked for an event has left. One that was given to it stays, and is given to whoever asks next. Without one the
// process has as long to ask again as it had at first: it would keep its slot and serve nobody.
func (r *runtime) hungUp(po *poll) {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	if r.poll == po {
		r.pool.unidleLocked(r)
		r.expectLocked(time.Now().Add(r.pool.cfg.InitLimit))
	}
}

// reply: the process begins to answer.
func (r *runtime) reply(id string) (*invocation, error) {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	if err := r.machine.reply(id); err != nil {
		return nil, err
	}
	r.read = make(chan struct{})
	return r.inv, nil
}

// answered: its answer was read, and this is what became of the invocation; nil if that is known already.
func (r *runtime) answered(inv *invocation, o *outcome) {
	status := ""
	if o != nil && o.kind != answered {
		status = "error"
	}
	inv.log.end(status)
	r.endReply(inv, o, (*machine).answered)
}

// brokeOff: its answer was not read to its end.
func (r *runtime) brokeOff() { r.endReply(nil, nil, (*machine).brokeOff) }

func (r *runtime) endReply(inv *invocation, o *outcome, event func(*machine) error) {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	if o != nil {
		r.pool.settleLocked(inv, *o)
	}
	close(r.read)
	r.read = nil
	if r.machine.state == dead {
		return // it was killed meanwhile
	}
	if err := event(&r.machine); err != nil {
		panic("lambda: a reply has ended that was not begun: " + err.Error())
	}
}

// initError: the process cannot start, and says why.
func (r *runtime) initError(body []byte) error {
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := r.machine.initError(); err != nil {
		return err
	}
	r.log.Warn("a runtime process has reported that it cannot start", "bytes", len(body))
	p.initFailedLocked(func(string) []byte { return body })
	r.expectLocked(time.Now().Add(initErrorGrace))
	return nil
}
