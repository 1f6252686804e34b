package watchdog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// stderrPatience is how long an invocation that is over waits for the end of its stderr. Its processes are dead by then, so that
// only one which escaped into a session of its own can hold the pipe open.
const stderrPatience = 100 * time.Millisecond

// exitError is how a forked process ended that did not end well.
type exitError struct{ text string }

func (e *exitError) Error() string { return e.text }

// spawnError is why no process could be started.
type spawnError struct{ err error }

func (e *spawnError) Error() string { return e.err.Error() }
func (e *spawnError) Unwrap() error { return e.err }

// errOutputTooBig is given for an invocation that was ended because it wrote more than an answer may have.
var errOutputTooBig = errors.New("the function's output is longer than fork_output_bytes allows")

// A process that is quick, as most are, is looked at when it has exited and at no moment before: every byte that is waited for wakes this
// program, which costs more than to read it. What the process writes waits in the pipes. So that it does not have to wait for room in
// them, it is looked at after firstLook, and after twice that time and so on until lastLook; by then, or if there is something to read
// sooner, it is a slow one, whose output is followed.
const (
	firstLook = time.Millisecond
	lastLook  = 8 * time.Millisecond
)

// call is one invocation by a process of its own.
//
//	spawn ──► quick: it exits ──────────────────────────────────────────┬──► stdout at its end and leader exited ──► finish
//	            └──► follow: feed stdin, collect stdout, log stderr ────┘
//	                                    └── ctx ended, or too much output ──────────────────────►
//
// It is over at ctx's end even if a process that escaped holds a pipe open. When it is over, nothing of its session is left.
type call struct {
	proc  *process
	stdin *os.File // nil when there is nothing to write

	outFD, errFD   int      // our ends; errFD is -1 when stderr goes into stdout
	stdout, stderr *os.File // the same, once they are followed; nil before

	log    *lineLog
	fed    chan struct{} // closed when stdin is written, or nobody reads it; nil without a stdin
	logged chan struct{} // closed when stderr is at its end; nil unless it is followed
	output bytes.Buffer
}

// run starts a process, hands it stdin, and returns its output. The error is a *spawnError, an *exitError, errOutputTooBig, or the
// cause of ctx's end. Output is returned with an *exitError too.
func (m *forkMode) run(ctx context.Context, environ []string, stdin []byte) ([]byte, error) {
	c, err := m.spawn(environ, stdin)
	if err != nil {
		return nil, &spawnError{err}
	}
	if c.stdin != nil || !c.quick() {
		c.follow()
	}
	err = c.wait(ctx, int64(m.outputBytes))
	status := c.finish()
	if err != nil {
		return nil, err
	}
	if text := exitText(status); text != "" {
		return c.output.Bytes(), &exitError{text}
	}
	return c.output.Bytes(), nil
}

// spawn starts a process with all of its stdin.
func (m *forkMode) spawn(environ []string, stdin []byte) (*call, error) {
	c := &call{log: m.stderr, outFD: -1, errFD: -1}
	var in int
	var err error
	switch {
	case len(stdin) == 0:
		in = m.nullFD
	case len(stdin) <= alwaysFits:
		in, err = filledPipe(stdin)
	default:
		c.stdin, in, err = inPipe()
	}
	if err == nil {
		err = c.start(m, environ, in)
	}
	if err != nil {
		return nil, err
	}
	if c.stdin != nil {
		c.fed = make(chan struct{})
		go c.feed(stdin)
	}
	return c, nil
}

// startCall starts a process and follows what it writes. The caller feeds stdin, if there is input, and closes fed when that is over;
// it reads stdout.
func (m *forkMode) startCall(environ []string, hasInput bool) (*call, error) {
	c := &call{log: m.stderr, outFD: -1, errFD: -1}
	in := m.nullFD
	if hasInput {
		var err error
		if c.stdin, in, err = inPipe(); err != nil {
			return nil, err
		}
		c.fed = make(chan struct{})
	}
	if err := c.start(m, environ, in); err != nil {
		return nil, err
	}
	c.follow()
	return c, nil
}

// start makes the other pipes and starts the process. It closes in.
func (c *call) start(m *forkMode, environ []string, in int) error {
	defer func() {
		if in != m.nullFD {
			closeFD(in)
		}
		if c.proc == nil {
			c.closeOurs()
		}
	}()
	prog, err := m.program()
	if err != nil {
		return err
	}
	var out int
	if c.outFD, out, err = plainOutPipe(); err != nil {
		return err
	}
	defer closeFD(out)
	errOut := out
	if !m.cfg.CombineOutput {
		if c.errFD, errOut, err = plainOutPipe(); err != nil {
			return err
		}
		defer closeFD(errOut)
	}
	c.proc, err = m.procs.start(prog, environ, in, out, errOut)
	return err
}

// quick waits for the leader's exit as long as that is worth it, and tells whether it has come.
func (c *call) quick() bool {
	for look := firstLook; look <= lastLook; look *= 2 {
		if c.proc.exitsBy(time.Now().Add(look)) {
			return true
		}
		if pending(c.outFD) > 0 || c.errFD >= 0 && pending(c.errFD) > 0 {
			return false
		}
	}
	return false
}

// follow has what the process writes read as it comes.
func (c *call) follow() {
	if c.stdout != nil {
		return
	}
	c.stdout = os.NewFile(uintptr(c.outFD), "stdout")
	if c.errFD >= 0 {
		c.stderr = os.NewFile(uintptr(c.errFD), "stderr")
		c.logged = make(chan struct{})
		go c.logErrors()
	}
}

func (c *call) closeOurs() {
	if c.stdin != nil {
		// Ends what is pending on it; nothing was written that could be lost.
		_ = c.stdin.Close()
	}
	if c.stdout != nil {
		_ = c.stdout.Close() // read to its end, or given up
		if c.stderr != nil {
			_ = c.stderr.Close() // the same
		}
		return
	}
	for _, fd := range []int{c.outFD, c.errFD} {
		if fd >= 0 {
			closeFD(fd)
		}
	}
}

// feed writes stdin. A process that does not read it, or not all of it, is none the worse: its EPIPE is no error.
func (c *call) feed(stdin []byte) {
	defer close(c.fed)
	_, _ = c.stdin.Write(stdin)
	_ = c.stdin.Close()
}

func (c *call) logErrors() {
	defer close(c.logged)
	c.log.copy(c.stderr)
}

// wait collects at most so many bytes of output. It returns nil when everybody has closed stdout and the leader has exited, else
// errOutputTooBig or the cause of ctx's end.
func (c *call) wait(ctx context.Context, most int64) error {
	if c.stdout == nil {
		if c.takeOutput(most) {
			return c.tooMuch(most)
		}
		c.follow() // somebody else holds it open
	}
	stop := context.AfterFunc(ctx, func() { giveUpAfter(c.stdout, 0) }) // ends the reading
	defer stop()
	// One byte more than is allowed, to tell. A broken pipe is its end.
	_, err := io.CopyN(&c.output, c.stdout, most+1-int64(c.output.Len()))
	if err := c.tooMuch(most); err != nil {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	select {
	case <-c.proc.exited():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// takeOutput takes what a leader that has exited has written, and tells whether that was all.
func (c *call) takeOutput(most int64) (ended bool) {
	for {
		c.output.Grow(max(pending(c.outFD), 1))
		room := c.output.AvailableBuffer()
		n, err := syscall.Read(c.outFD, room[:cap(room)])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return false
		case n <= 0: // at its end, or broken
			return true
		default:
			c.output.Write(room[:n])
		}
		if c.tooMuch(most) != nil {
			return true
		}
	}
}

func (c *call) tooMuch(most int64) error {
	if int64(c.output.Len()) > most {
		return errOutputTooBig
	}
	return nil
}

// finish kills what is left of the session and waits for everything that was started for it.
func (c *call) finish() syscall.WaitStatus {
	status := c.proc.end()
	if c.stdin != nil {
		giveUpAfter(c.stdin, 0)
		<-c.fed
	}
	if c.stdout == nil && c.errFD >= 0 && !atEnd(c.errFD) {
		c.follow()
	}
	if c.stderr != nil {
		giveUpAfter(c.stderr, stderrPatience)
		<-c.logged
	}
	c.closeOurs()
	return status
}
