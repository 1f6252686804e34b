package http1

import (
	"sync/atomic"
	"syscall"
	"time"
)

// spinAfter is how many waits in a row must have been short before one is spun.
const spinAfter = 8

// spinner lets an exchange that is alone wait for what comes at once by asking for it again and again. To sleep instead and be woken takes
// the kernel, the poller and the scheduler longer than the answer of a quick function takes to come, and more processor time than the
// asking: see watchdog/http-c1 in bench/. Whoever asks lets other processes have the processor each time, with sched_yield(2): often they
// are who is waited for. Other goroutines of this one have to do with a processor less for as long, so that the limit is to be short, and
// the endpoint none of them.
//
// Nobody asks who is not alone, for longer than the limit, or where the last waits were not all short: a peer that is slow, or idle, costs
// one spin at most until it has been quick spinAfter times again.
type spinner struct {
	limit time.Duration // 0 means that nobody spins
	busy  atomic.Int32  // exchanges under way
}

// read reads from a socket that had nothing, while no more than so many exchanges are under way. EAGAIN means that it is time to sleep.
func (s *spinner) read(fd uintptr, p []byte, w *waits, exchanges int32) (int, error) {
	for w.soon >= spinAfter && s.busy.Load() <= exchanges && time.Since(w.since) < s.limit {
		// As a system call that may block, or nobody could take over from us while others have the processor. It cannot fail.
		_, _, _ = syscall.Syscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
		if n, err := readFD(fd, p); err != syscall.EAGAIN {
			return n, err
		}
	}
	return 0, syscall.EAGAIN
}

// waits is how soon a connection's peer has sent what it was waited for.
type waits struct {
	soon  int       // in a row that took less than the limit, up to spinAfter
	since time.Time // when the last began
}

// begin: the peer is waited for from now on. Where more than so many exchanges are under way nobody spins, and nobody asks the clock.
func (w *waits) begin(s *spinner, exchanges int32) {
	w.since = time.Time{}
	if s.limit > 0 && s.busy.Load() <= exchanges {
		w.since = time.Now()
	}
}

// end: it has sent something.
func (w *waits) end(s *spinner) {
	switch {
	case w.since.IsZero(): // it was not timed
	case time.Since(w.since) >= s.limit:
		w.soon = 0
	default:
		w.soon = min(w.soon+1, spinAfter)
	}
}
