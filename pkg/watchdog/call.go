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

// call is one invocation by a process of its own.
//
//	spawn ──► feed stdin, collect stdout, log stderr ──► leader exited and stdout at its end ──► finish
//	                                    └── ctx ended, or too much output ──────────────────────►
//
// It is over at ctx's end even if a process that escaped holds a pipe open. When it is over, nothing of its session is left.
type call struct {
	proc   *process
	stdin  *os.File // nil when there is nothing to write
	stdout *os.File
	stderr *os.File // nil when it goes into stdout

	fed       chan struct{} // closed when stdin is written, or nobody reads it
	collected chan struct{} // closed when stdout is at its end, or more than is allowed
	logged    chan struct{} // closed when stderr is at its end
	output    bytes.Buffer  // owned, as is tooBig, by the collector until collected is closed
	tooBig    bool          // there was more than output may hold
}

// run starts a process, hands it stdin, and returns its output. The error is a *spawnError, an *exitError, errOutputTooBig, or the
// cause of ctx's end. Output is returned with an *exitError too.
func (m *forkMode) run(ctx context.Context, environ []string, stdin []byte) ([]byte, error) {
	c, err := m.spawn(environ, stdin)
	if err != nil {
		return nil, &spawnError{err}
	}
	err = c.wait(ctx)
	status := c.finish()
	if err != nil {
		return nil, err
	}
	if text := exitText(status); text != "" {
		return c.output.Bytes(), &exitError{text}
	}
	return c.output.Bytes(), nil
}

func (m *forkMode) spawn(environ []string, stdin []byte) (*call, error) {
	c, err := m.startCall(environ, len(stdin) > 0)
	if err != nil {
		return nil, err
	}
	go c.feed(stdin)
	go c.collect(int64(m.outputBytes))
	return c, nil
}

// startCall starts a process and the reader of its stderr. Feeding and collecting are the caller's.
func (m *forkMode) startCall(environ []string, hasInput bool) (*call, error) {
	prog, err := m.program()
	if err != nil {
		return nil, err
	}
	c := &call{fed: make(chan struct{}), collected: make(chan struct{}), logged: make(chan struct{})}
	in, out, errOut, err := c.open(m, hasInput)
	if err != nil {
		return nil, err
	}
	c.proc, err = m.procs.start(prog, environ, in, out, errOut)
	c.closeChilds(m, in, out, errOut)
	if err != nil {
		c.closeOurs()
		return nil, err
	}
	go c.log(m.stderr)
	return c, nil
}

// open makes the pipes and returns the child's ends of them.
func (c *call) open(m *forkMode, hasInput bool) (in, out, errOut int, err error) {
	in = int(m.null.Fd())
	if hasInput {
		if c.stdin, in, err = inPipe(); err != nil {
			return 0, 0, 0, err
		}
	}
	if c.stdout, out, err = outPipe(); err != nil {
		c.closeChilds(m, in)
		c.closeOurs()
		return 0, 0, 0, err
	}
	errOut = out
	if !m.cfg.CombineOutput {
		if c.stderr, errOut, err = outPipe(); err != nil {
			c.closeChilds(m, in, out)
			c.closeOurs()
			return 0, 0, 0, err
		}
	}
	return in, out, errOut, nil
}

// closeChilds closes the child's ends, each once, and never the shared /dev/null.
func (c *call) closeChilds(m *forkMode, fds ...int) {
	for i, fd := range fds {
		if fd != int(m.null.Fd()) && (i == 0 || fd != fds[i-1]) {
			closeFD(fd)
		}
	}
}

func (c *call) closeOurs() {
	for _, f := range []*os.File{c.stdin, c.stdout, c.stderr} {
		if f != nil {
			// Ends what is pending on it; nothing was written that could be lost.
			_ = f.Close()
		}
	}
}

// feed writes stdin. A process that does not read it, or not all of it, is none the worse: its EPIPE is no error.
func (c *call) feed(stdin []byte) {
	defer close(c.fed)
	if c.stdin == nil {
		return
	}
	_, _ = c.stdin.Write(stdin)
	_ = c.stdin.Close()
}

// collect reads one byte more than is allowed, to tell.
func (c *call) collect(most int64) {
	defer close(c.collected)
	// A broken pipe is its end.
	n, _ := io.CopyN(&c.output, c.stdout, most+1)
	c.tooBig = n > most
}

func (c *call) log(to *lineLog) {
	defer close(c.logged)
	if c.stderr != nil {
		to.copy(c.stderr)
	}
}

// wait returns nil when the leader has exited and everybody has closed stdout, else errOutputTooBig or the cause of ctx's end.
func (c *call) wait(ctx context.Context) error {
	exited, collected := c.proc.exited, c.collected
	for exited != nil || collected != nil {
		select {
		case <-exited:
			exited = nil
		case <-collected:
			if c.tooBig {
				return errOutputTooBig
			}
			collected = nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// finish kills what is left of the session and waits for everything that spawn started.
func (c *call) finish() syscall.WaitStatus {
	status := c.proc.end()
	if c.stdin != nil {
		giveUpAfter(c.stdin, 0)
	}
	giveUpAfter(c.stdout, 0)
	if c.stderr != nil {
		giveUpAfter(c.stderr, stderrPatience)
	}
	<-c.fed
	<-c.collected
	<-c.logged
	c.closeOurs()
	return status
}
