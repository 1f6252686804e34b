package lambda

import (
	"encoding/base64"
	"fmt"
	"math"
	"sync"
	"time"
)

// tailBytes is how much of an invocation's log the Invoke API gives.
const tailBytes = 4 << 10

// tail keeps the end of a text.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if more := len(t.text) - tailBytes; more > 0 {
		t.text = append(t.text[:0], t.text[more:]...)
	}
	return len(b), nil
}

// output takes what a process writes, for the tail of the invocation that it has.
type output struct {
	mu sync.Mutex
	to *tail // nil if nobody wants it
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	to := o.to
	o.mu.Unlock()
	if to != nil {
		_, _ = to.Write(b) // never fails
	}
	return len(b), nil
}

func (o *output) turn(to *tail) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to = to
}

// callLog is the log of one invocation, of which somebody wants to see more than what the process writes. All its methods may be
// called of nil, and then do nothing.
type callLog struct {
	pool *Pool
	id   string
	tail *tail // nil if only Config.Reports wants it

	mu    sync.Mutex // held while the end is being written, so that whoever comes second finds it whole
	run   *runtime   // that has the invocation
	begun time.Time
	ended bool
}

func (p *Pool) newLog(id string, tailed bool) *callLog {
	if !tailed && p.cfg.Reports == nil {
		return nil
	}
	l := &callLog{pool: p, id: id}
	if tailed {
		l.tail = &tail{}
	}
	return l
}

// logStart turns to inv, which the process is about to get.
func (r *runtime) logStart(inv *invocation) {
	l := inv.log
	if l == nil {
		r.output.turn(nil)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.output.turn(l.tail)
	if l.run != nil {
		return // it had lost it
	}
	l.run, l.begun = r, time.Now()
	l.write(fmt.Sprintf("START RequestId: %s Version: %s\n", l.id, functionVersion))
}

// end writes how the invocation has ended, behind what the process wrote of it. The first call counts. It waits for a moment, and
// must not be called with a lock held. status is empty for an answer.
func (l *callLog) end(status string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.run == nil || l.ended {
		return
	}
	l.ended = true
	ms := float64(time.Since(l.begun)) / float64(time.Millisecond)
	l.run.drain()
	line := fmt.Sprintf("END RequestId: %s\nREPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %.0f ms\tMemory Size: %d MB",
		l.id, l.id, ms, math.Ceil(ms), l.pool.cfg.MemoryMB)
	if bytes, known := l.pool.mostMemory(); known {
		line += fmt.Sprintf("\tMax Memory Used: %d MB", bytes>>20)
	}
	if took := time.Duration(l.run.initTime.Swap(0)); took > 0 {
		line += fmt.Sprintf("\tInit Duration: %.2f ms", float64(took)/float64(time.Millisecond))
	}
	if status != "" {
		line += "\tStatus: " + status
	}
	l.write(line + "\n")
}

func (l *callLog) write(text string) {
	// Neither can do anything about a failure, nor could we.
	if l.tail != nil {
		_, _ = l.tail.Write([]byte(text))
	}
	if l.pool.cfg.Reports != nil {
		_, _ = l.pool.cfg.Reports.Write([]byte(text))
	}
}

// result is the tail as the Invoke API gives it; ok is false if it was not asked for.
func (l *callLog) result() (encoded string, ok bool) {
	if l == nil || l.tail == nil {
		return "", false
	}
	l.tail.mu.Lock()
	defer l.tail.mu.Unlock()
	return base64.StdEncoding.EncodeToString(l.tail.text), true
}

// drain waits until what the process has written so far is in its output.
func (r *runtime) drain() {
	r.pool.mu.Lock()
	proc := r.proc
	r.pool.mu.Unlock()
	if proc != nil { // else it is gone with all that it wrote, or was so quick that its start has not returned yet
		proc.Drain()
	}
}

// mostMemory is the most that was used at the end of any invocation so far.
func (p *Pool) mostMemory() (bytes int64, known bool) {
	if p.cfg.MemoryUsed == nil {
		return 0, false
	}
	bytes, known = p.cfg.MemoryUsed()
	p.mu.Lock()
	defer p.mu.Unlock()
	if known {
		p.memoryUsed = max(p.memoryUsed, bytes)
	}
	return p.memoryUsed, known
}

// logLate writes that the invocation which the process has was out of time.
func (r *runtime) logLate() {
	r.pool.mu.Lock()
	inv := r.inv
	r.pool.mu.Unlock()
	if inv != nil {
		inv.log.end("timeout") // nothing, if it has answered
	}
}

// logGone writes that the process has exited while it had an invocation.
func (r *runtime) logGone() {
	r.pool.mu.Lock()
	inv := r.inv
	r.proc = nil
	r.pool.mu.Unlock()
	if inv != nil {
		inv.log.end("error\tError Type: Runtime.ExitError") // nothing, if it has answered or was late
	}
}
