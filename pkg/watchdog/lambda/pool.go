package lambda

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

var (
	// errBusy is given to an invocation that finds every process busy and the queue full, or has waited in it in vain.
	errBusy = errors.New("every runtime process is busy")
	// errNotReady is given to one that has waited in vain while no process could start.
	errNotReady = errors.New("no runtime process is ready yet")
	// errLate is given to one whose time was over when its event had come.
	errLate = errors.New("the event did not come in time")
	// errClosed is given to one that comes when the end has begun.
	errClosed = errors.New("the watchdog is ending")
)

// Pool is the runtime processes of one function, and the invocations that wait for one of them. It is safe for concurrent use.
type Pool struct {
	cfg     Config
	start   Starter
	log     *slog.Logger
	environ []string
	events  *budget // of callers
	replies *budget // of processes

	mu          sync.Mutex
	idle        []*runtime    // the one used last is at the end and is used next: its memory is warm
	queue       []*invocation // in the order of their coming
	initialised int           // processes that have asked for an event, and live
	able        bool          // to serve
	changed     chan struct{} // closed when able changes
	closed      bool
	rest        *rest     // of the processes that are started now
	memoryUsed  int64     // the most that was reported
	used        time.Time // when a process last had nothing to do

	turn chan struct{} // holds a token while a process is started after a rest
}

// New prepares a pool, whose processes are started by start. Run starts them.
func New(cfg Config, start Starter, log *slog.Logger) (*Pool, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	memory := int64(cfg.Processes+2) * cfg.PayloadBytes
	return &Pool{
		cfg: cfg, start: start, log: log, environ: environ(&cfg),
		events: &budget{left: memory}, replies: &budget{left: memory},
		changed: make(chan struct{}), rest: newRest(), turn: make(chan struct{}, 1),
	}, nil
}

// Run keeps the processes running until ctx ends, and then ends them. When it returns nothing that it started is left.
//
// A process is started when the one before it is initialised, or has failed: together they would only be slower.
func (p *Pool) Run(ctx context.Context) {
	var slots sync.WaitGroup
	for range p.cfg.Processes {
		settled := make(chan struct{})
		slots.Go(func() { p.runSlot(ctx, sync.OnceFunc(func() { close(settled) })) })
		<-settled
	}
	p.watchIdle(ctx)
	<-ctx.Done()
	p.close()
	slots.Wait()
}

// Serving tells whether an invocation would find a process that can serve, and a channel that is closed when that changes. It is so
// from the first time that a process asks for an event until one cannot start and no other is there.
func (p *Pool) Serving() (bool, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.able, p.changed
}

func (p *Pool) ableLocked(able bool) {
	if p.able != able {
		p.able = able
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

// close sends away whoever waits.
func (p *Pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.ableLocked(false)
	p.failQueueLocked(func(inv *invocation) outcome {
		return outcome{kind: initFailed, body: errorJSON("Runtime.Unknown", errClosed.Error())}
	})
}

// invoke has inv handled by a process, and returns what became of it. A caller that leaves does not end an invocation that a process
// has: there is no way to tell the process but to kill it, and the next invocation would wait for another to start.
func (p *Pool) invoke(ctx context.Context, inv *invocation) (outcome, error) {
	if err := p.admit(inv); err != nil {
		return outcome{}, err
	}
	return p.wait(ctx, inv)
}

// wait waits for what becomes of an invocation that was admitted.
func (p *Pool) wait(ctx context.Context, inv *invocation) (outcome, error) {
	patience := time.NewTimer(time.Until(inv.deadline))
	defer patience.Stop()
	for {
		select {
		case o := <-inv.outcome:
			return o, nil
		case <-ctx.Done():
			p.abandon(inv)
			return outcome{}, context.Cause(ctx)
		case <-patience.C:
			if err := p.giveUp(inv); err != nil {
				return outcome{}, err
			}
		}
	}
}

// admit gives inv to an idle process, or lets it wait for one.
func (p *Pool) admit(inv *invocation) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return errClosed
	case !time.Now().Before(inv.deadline):
		return errLate
	case len(p.idle) > 0:
		last := len(p.idle) - 1
		r := p.idle[last]
		p.idle = p.idle[:last]
		p.giveLocked(r, inv)
	case len(p.queue) >= p.cfg.QueueDepth+p.initialLocked():
		return errBusy
	default:
		p.queue = append(p.queue, inv)
		p.wakeLocked()
	}
	return nil
}

// initialLocked is how many may wait on top of the queue's depth: one for each process that is about to be ready.
func (p *Pool) initialLocked() int { return p.cfg.Processes - p.initialised }

// giveUp takes inv out of the queue, if it is still there, and says what it has waited for.
func (p *Pool) giveUp(inv *invocation) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dequeueLocked(inv) {
		return nil // a process has it, and a deadline of its own
	}
	if !p.able {
		return errNotReady
	}
	return errBusy
}

// abandon forgets inv, whose caller has gone.
func (p *Pool) abandon(inv *invocation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dequeueLocked(inv)
	inv.settled = true
	select {
	case o := <-inv.outcome:
		o.done()
	default:
	}
}

// nextLocked takes the next invocation out of the queue, or returns nil. One that is out of time is left to whoever waits for it:
// a process could only be killed for it.
func (p *Pool) nextLocked() *invocation {
	now := time.Now()
	i := slices.IndexFunc(p.queue, func(inv *invocation) bool { return now.Before(inv.deadline) })
	if i < 0 {
		return nil
	}
	inv := p.queue[i]
	p.queue = slices.Delete(p.queue, i, i+1)
	return inv
}

func (p *Pool) dequeueLocked(inv *invocation) bool {
	i := slices.Index(p.queue, inv)
	if i < 0 {
		return false
	}
	p.queue = slices.Delete(p.queue, i, i+1)
	return true
}

// giveLocked hands inv to a process that waits for one.
func (p *Pool) giveLocked(r *runtime, inv *invocation) {
	if err := r.machine.given(inv.id); err != nil {
		panic("lambda: an idle process is not: " + err.Error())
	}
	r.inv, r.served = inv, true
	r.expectLocked(inv.deadline)
	r.tellExtensionsLocked(inv)
	r.poll.given <- inv
	r.poll = nil
}

// settleLocked is the one way for an outcome to its invocation, which takes the first. It tells whether this was it.
func (p *Pool) settleLocked(inv *invocation, o outcome) bool {
	if inv.settled {
		o.done()
		return false
	}
	inv.settled = true
	inv.outcome <- o
	return true
}

func (p *Pool) failQueueLocked(why func(*invocation) outcome) {
	for _, inv := range p.queue {
		p.settleLocked(inv, why(inv))
	}
	p.queue = nil
}

// initFailedLocked: a process could not start. Whoever waits learns why, unless another process can serve them.
func (p *Pool) initFailedLocked(why func(id string) []byte) {
	if p.initialised > 0 {
		return
	}
	p.ableLocked(false)
	p.failQueueLocked(func(inv *invocation) outcome { return outcome{kind: initFailed, body: why(inv.id)} })
}
