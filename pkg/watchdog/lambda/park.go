package lambda

import (
	"context"
	"time"
)

// rest is a time without processes, from the pool's being parked to the invocation that wakes it. Every process belongs to the next
// one: its beginning is what ends the process.
type rest struct {
	begun chan struct{} // closed when the processes are to end
	over  chan struct{} // closed when they are to be started again
}

func newRest() *rest { return &rest{begun: make(chan struct{}), over: make(chan struct{})} }

func (r *rest) hasBegun() bool {
	select {
	case <-r.begun:
		return true
	default:
		return false
	}
}

// watchIdle parks the pool whenever it has had nothing to do for Config.Park. It returns when ctx ends.
func (p *Pool) watchIdle(ctx context.Context) {
	if p.cfg.Park == 0 {
		return
	}
	look := time.NewTimer(p.cfg.Park)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			look.Reset(p.park(now))
		}
	}
}

// park parks the pool if it has had nothing to do for long enough, and returns when to ask again. A pool that cannot serve is not
// parked: it goes on trying, so that it is able again as soon as it can be.
func (p *Pool) park(now time.Time) (again time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.able || len(p.queue) > 0 || len(p.idle) < p.initialised || p.rest.hasBegun() {
		return p.cfg.Park
	}
	if left := p.cfg.Park - now.Sub(p.used); left > 0 {
		return left
	}
	for _, r := range p.idle {
		r.initialised = false // it counts no more, so that as many as there are processes may wait for the next ones
	}
	p.idle, p.initialised = nil, 0
	close(p.rest.begun)
	p.log.Info("parked: the next invocation starts the runtime processes", "park", p.cfg.Park.String())
	return p.cfg.Park
}

// wakeLocked has the processes started again, if the pool is parked.
func (p *Pool) wakeLocked() {
	if p.rest.hasBegun() {
		close(p.rest.over)
		p.rest = newRest()
	}
}

// awaitCall returns at once unless the pool is parked, and then when it is woken and it is this slot's turn: together the processes
// would only start slower. started is to be called when the process has been initialised, or has failed.
func (p *Pool) awaitCall(ctx context.Context) (started func(), ok bool) {
	p.mu.Lock()
	r := p.rest
	p.mu.Unlock()
	if !r.hasBegun() {
		return func() {}, true
	}
	select {
	case <-ctx.Done():
		return nil, false
	case <-r.over:
	}
	select {
	case <-ctx.Done():
		return nil, false
	case p.turn <- struct{}{}:
		return func() { <-p.turn }, true
	}
}
