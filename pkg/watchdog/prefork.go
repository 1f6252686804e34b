package watchdog

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	maxPrefork = 100
	// requestFile is the variable that names where a process of a function with prefork finds the variables of its request: on its
	// descriptor 3. A name can be opened from every language.
	requestFile = "DC_REQUEST_FILE=/proc/self/fd/3"
	// replaceLate is when a process that was claimed is replaced though its invocation goes on.
	replaceLate = 100 * time.Millisecond
	// answerFirst is the start that an answer gets before the process is replaced that gave it.
	answerFirst = time.Millisecond
)

// reserve is the processes that were started ahead and wait, at their stdin, for a request each.
//
//	missing ──► started ──► waiting ──► claimed: the invocation's own
//	   ▲                       │ exited
//	   └──── after a pause ────┘
//
// One is started at a time: when an invocation that has claimed one is over, and otherwise every replaceLate, so that starting them
// does not take from those that work.
type reserve struct {
	size  int
	start func() (*call, error)
	log   *slog.Logger

	over     chan struct{}  // has a token for every invocation that is over, up to size
	lacking  chan struct{}  // has a token when one was claimed, or has failed
	watchers sync.WaitGroup // of waiting processes

	mu       sync.Mutex
	waiting  []*waiter // the longest first
	closed   bool
	failures int       // in a row: processes that could not start, or exited before they had a request
	retry    time.Time // when the next may be started
	told     bool      // that the program does not suit it
}

// waiter is a process that waits.
type waiter struct {
	*call
	claimed chan struct{} // closed when it waits no more
}

func newReserve(size int, start func() (*call, error), log *slog.Logger) *reserve {
	return &reserve{size: size, start: start, log: log, over: make(chan struct{}, max(size, 1)), lacking: make(chan struct{}, 1)}
}

// run keeps processes waiting until ctx ends, and then ends those that still wait.
func (r *reserve) run(ctx context.Context) {
	if r.size == 0 {
		return
	}
	defer r.close()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.lacking:
			next.Reset(replaceLate)
			continue
		case <-r.over:
			time.Sleep(answerFirst)
		case <-next.C:
		}
		if again := r.step(time.Now()); again > 0 {
			next.Reset(again)
		}
	}
}

// step starts one process if one is missing, and returns when to look again, or 0 if none is.
func (r *reserve) step(now time.Time) (again time.Duration) {
	r.mu.Lock()
	missing, wait := r.size-len(r.waiting), r.retry.Sub(now)
	r.mu.Unlock()
	if missing <= 0 {
		return 0
	}
	if wait > 0 {
		return wait
	}
	c, err := r.start()
	if err != nil {
		r.log.Warn("no process could be started to wait for a request", "err", err)
		r.failed()
		return replaceLate
	}
	w := &waiter{call: c, claimed: make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, w)
	r.mu.Unlock()
	r.watchers.Go(func() { r.watch(w) })
	return replaceLate
}

func (r *reserve) failed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retry = time.Now().Add(backoff(r.failures))
	r.failures++
	r.lacksOne()
}

func (r *reserve) lacksOne() {
	select {
	case r.lacking <- struct{}{}:
	default: // known already
	}
}

// watch returns when w is claimed, or has exited and is buried.
func (r *reserve) watch(w *waiter) {
	select {
	case <-w.claimed:
		return
	case <-w.proc.exited():
	}
	r.mu.Lock()
	i := slices.Index(r.waiting, w)
	if i < 0 {
		r.mu.Unlock()
		return // claimed, or closed, at the same moment
	}
	r.waiting = slices.Delete(r.waiting, i, i+1)
	r.mu.Unlock()
	status := w.finish()
	w.letGo()
	r.died(status)
}

// died: a process has exited that had no request yet. What it has written is nobody's answer.
func (r *reserve) died(status syscall.WaitStatus) {
	r.failed()
	text := exitText(status)
	if status.Signaled() {
		r.log.Warn("a process that waited for a request was ended", "status", text)
		return
	}
	if text == "" {
		text = "exit status 0"
	}
	r.mu.Lock()
	told := r.told
	r.told = true
	r.mu.Unlock()
	if !told {
		r.log.Warn("prefork does not suit this function: its process has exited without waiting for its stdin; what comes meanwhile is forked",
			"status", text)
	}
}

// claim takes the process that has waited longest, or returns nil if none does.
func (r *reserve) claim() *call {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, w := range r.waiting {
		if w.proc.waitExit(syscall.WNOHANG) {
			continue // it has exited this moment: watch sees to it
		}
		r.waiting = slices.Delete(r.waiting, i, i+1)
		close(w.claimed)
		r.failures = 0
		r.lacksOne()
		return w.call
	}
	return nil
}

// release tells that an invocation is over, so that a process may be started for the next.
func (r *reserve) release() {
	select {
	case r.over <- struct{}{}:
	default: // there are as many tokens as could be missing
	}
}

func (r *reserve) close() {
	r.mu.Lock()
	left := r.waiting
	r.waiting, r.closed = nil, true
	r.mu.Unlock()
	for _, w := range left {
		close(w.claimed)
		w.finish()
		w.letGo()
	}
	r.watchers.Wait()
}

// startWaiting starts a process that has no request yet. Its stderr is logged at once; what it writes to stdout stays in the pipe until
// it has a request, and is the beginning of the answer to that.
func (m *forkMode) startWaiting() (*call, error) {
	c := m.newCall()
	defer c.handedOver()
	stdin, in, err := c.openInlet()
	if err != nil {
		return nil, err
	}
	c.stdin = stdin
	if err := c.start(m, requestVars{environ: m.environ.base, later: true}, in); err != nil {
		return nil, err
	}
	c.waited = true
	last := len(c.childs) - 1 // stdin is the first of them, and the request the last
	c.held, c.childs = []int{c.childs[0], c.childs[last]}, c.childs[1:last]
	c.followErrors()
	return c, nil
}

// requestBytes is what is in the file that DC_REQUEST_FILE names: NAME=VALUE for each variable, each with a NUL behind it, as in
// /proc/PID/environ. No variable can hold a NUL, while a path may hold line breaks.
func requestBytes(vars []string) []byte {
	var file bytes.Buffer
	for _, entry := range vars {
		file.WriteString(entry)
		file.WriteByte(0)
	}
	return file.Bytes()
}
