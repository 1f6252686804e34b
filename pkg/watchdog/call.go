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
// only one which escaped into a session of its own can hold the pipe open. What the pipe holds then is still logged: see teePipe.
const stderrPatience = 100 * time.Millisecond

// exitError is how a forked process ended that did not end well.
type exitError struct {
	text     string
	signaled bool
}

func (e *exitError) Error() string { return e.text }

func (e *exitError) Is(target error) bool { return target == errSignaled && e.signaled }

// errSignaled is what an *exitError is of a process that a signal has ended.
var errSignaled = errors.New("the process was ended by a signal")

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

	log       *lineLog
	request   *os.File      // like stdin, to what DC_REQUEST_FILE names
	fed       chan struct{} // closed when stdin is written, or nobody reads it; nil when nobody writes
	requested chan struct{} // the same of request
	logged    chan struct{} // closed when stderr is at its end; nil unless it is followed
	waited    bool          // it was started before its invocation came
	childs    []int         // the process's ends, until it has them
	held      []int         // its ends of stdin and request, which tell what it has read of them; of one that waited
	output    bytes.Buffer
}

// requestVars is what a process is told of its request, besides the body.
type requestVars struct {
	environ []string // of a process that is started for it
	file    []byte   // in what DC_REQUEST_FILE names; nil if the function has no prefork
	later   bool     // file is not known yet
}

// run hands stdin to a process that waits, or to one that it starts, and returns its output. The error is a *spawnError, an *exitError,
// errOutputTooBig, or the cause of ctx's end. Output is returned with an *exitError too.
//
// A process that waits may be killed at any time, for its memory for instance. If it has read nothing of its request by then, and that can
// be told, the next one gets it: there has to be a body, for who reads none leaves no trace, and it has to fit into a pipe.
func (m *forkMode) run(ctx context.Context, v requestVars, stdin []byte) ([]byte, error) {
	for {
		c := m.reserve.claim()
		if c == nil {
			return m.runNew(ctx, v, stdin)
		}
		if len(stdin) == 0 || len(stdin) > alwaysFits || len(v.file) > alwaysFits {
			c.letGo()
		}
		c.request, c.requested = hand(c.request, v.file)
		c.stdin, c.fed = hand(c.stdin, stdin)
		c.proc.lookAhead()
		output, err := m.complete(ctx, c)
		missed := c.missed(stdin, v.file)
		c.letGo()
		if err == nil || !missed || !errors.Is(err, errSignaled) {
			return output, err
		}
		m.log.Warn("a process was ended before it had read its request, which the next one gets", "err", err)
	}
}

// missed tells whether nothing of a request was read from the process's ends.
func (c *call) missed(stdin, request []byte) bool {
	return len(c.held) == 2 && pending(c.held[0]) == len(stdin) && pending(c.held[1]) == len(request)
}

// letGo closes the process's ends: nobody needs to know any more what it has read.
func (c *call) letGo() {
	for _, fd := range c.held {
		closeFD(fd)
	}
	c.held = nil
}

// runNew is run with a process of its own.
func (m *forkMode) runNew(ctx context.Context, v requestVars, stdin []byte) ([]byte, error) {
	c, err := m.spawn(v, stdin)
	if err != nil {
		return nil, &spawnError{err}
	}
	return m.complete(ctx, c)
}

func (m *forkMode) complete(ctx context.Context, c *call) ([]byte, error) {
	if c.fed != nil || !c.quick() {
		c.follow()
	}
	err := c.wait(ctx, int64(m.outputBytes))
	status := c.finish()
	if err != nil {
		return nil, err
	}
	if text := exitText(status); text != "" {
		return c.output.Bytes(), &exitError{text: text, signaled: status.Signaled()}
	}
	return c.output.Bytes(), nil
}

// spawn starts a process with all of its stdin.
func (m *forkMode) spawn(v requestVars, stdin []byte) (*call, error) {
	c := m.newCall()
	defer c.handedOver()
	in := m.nullFD
	var err error
	if len(stdin) > 0 {
		if c.stdin, in, err = c.inlet(stdin); err != nil {
			return nil, err
		}
	}
	if err := c.start(m, v, in); err != nil {
		return nil, err
	}
	if c.stdin != nil {
		c.stdin, c.fed = hand(c.stdin, stdin)
	}
	return c, nil
}

// startCall starts a process, or takes one that waits, and follows what it writes. The caller feeds stdin, if there is input, and closes
// fed when that is over; it reads stdout.
func (m *forkMode) startCall(v requestVars, hasInput bool) (*call, error) {
	c := m.reserve.claim()
	if c != nil {
		c.letGo() // or nobody would hear that the process reads no more
	}
	switch {
	case c == nil:
		return m.spawnCall(v, hasInput)
	case hasInput:
		c.fed = make(chan struct{})
	default:
		c.stdin, _ = hand(c.stdin, nil)
	}
	c.request, c.requested = hand(c.request, v.file)
	c.proc.lookAhead()
	c.follow()
	return c, nil
}

func (m *forkMode) spawnCall(v requestVars, hasInput bool) (*call, error) {
	c := m.newCall()
	defer c.handedOver()
	in := m.nullFD
	if hasInput {
		var err error
		if c.stdin, in, err = c.openInlet(); err != nil {
			return nil, err
		}
		c.fed = make(chan struct{})
	}
	if err := c.start(m, v, in); err != nil {
		return nil, err
	}
	c.follow()
	return c, nil
}

func (m *forkMode) newCall() *call { return &call{log: m.stderr, outFD: -1, errFD: -1} }

// inlet makes a pipe with data for the process. If that fits it is written, and ours is nil.
func (c *call) inlet(data []byte) (ours *os.File, childs int, err error) {
	if len(data) > alwaysFits {
		return c.openInlet()
	}
	if childs, err = filledPipe(data); err == nil {
		c.childs = append(c.childs, childs)
	}
	return nil, childs, err
}

func (c *call) openInlet() (ours *os.File, childs int, err error) {
	if ours, childs, err = inPipe(); err == nil {
		c.childs = append(c.childs, childs)
	}
	return ours, childs, err
}

// start makes the other pipes and starts the process.
func (c *call) start(m *forkMode, v requestVars, in int) error {
	prog, err := m.program()
	if err != nil {
		return err
	}
	fds := make([]int, 3, 4)
	fds[0] = in
	if c.outFD, fds[1], err = plainOutPipe(); err != nil {
		return err
	}
	c.childs = append(c.childs, fds[1])
	fds[2] = fds[1]
	if !m.cfg.CombineOutput {
		if c.errFD, fds[2], err = plainOutPipe(); err != nil {
			return err
		}
		c.childs = append(c.childs, fds[2])
	}
	if v.file != nil || v.later {
		var request int
		if v.later {
			c.request, request, err = c.openInlet()
		} else {
			c.request, request, err = c.inlet(v.file)
		}
		if err != nil {
			return err
		}
		fds = append(fds, request)
	}
	if c.proc, err = m.procs.start(prog, v.environ, fds...); err != nil {
		return err
	}
	if c.request != nil && !v.later {
		c.request, c.requested = hand(c.request, v.file)
	}
	return nil
}

// handedOver closes the process's ends, which it has by now, and ours too if there is no process.
func (c *call) handedOver() {
	for _, fd := range c.childs {
		closeFD(fd)
	}
	c.childs = nil
	if c.proc == nil {
		c.closeOurs()
	}
}

// hand writes data to a process and closes the pipe. What fits into it is written at once; otherwise left is the pipe, and done is closed
// when nobody writes into it any more. A process that does not read it, or not all of it, is none the worse: its EPIPE is no error.
func hand(pipe *os.File, data []byte) (left *os.File, done chan struct{}) {
	write := func() {
		_, _ = pipe.Write(data)
		_ = pipe.Close()
	}
	if len(data) <= alwaysFits {
		write()
		return nil, nil
	}
	done = make(chan struct{})
	go func() {
		defer close(done)
		write()
	}()
	return pipe, done
}

// quick waits for the leader's exit as long as that is worth it, and tells whether it has come.
func (c *call) quick() bool {
	for look := firstLook; look <= lastLook; look *= 2 {
		if c.exitsWithin(look) {
			return true
		}
		if pending(c.outFD) > 0 || c.errFD >= 0 && c.stderr == nil && pending(c.errFD) > 0 {
			return false
		}
	}
	return false
}

func (c *call) exitsWithin(d time.Duration) bool {
	if !c.waited {
		return c.proc.exitsBy(time.Now().Add(d))
	}
	patience := time.NewTimer(d)
	defer patience.Stop()
	select {
	case <-c.proc.exited():
		return true
	case <-patience.C:
		return false
	}
}

// follow has what the process writes read as it comes.
func (c *call) follow() {
	if c.stdout == nil {
		c.stdout = os.NewFile(uintptr(c.outFD), "stdout")
	}
	c.followErrors()
}

func (c *call) followErrors() {
	if c.errFD >= 0 && c.stderr == nil {
		c.stderr = os.NewFile(uintptr(c.errFD), "stderr")
		c.logged = make(chan struct{})
		go c.logErrors()
	}
}

func (c *call) closeOurs() {
	for _, f := range []*os.File{c.stdin, c.request, c.stdout, c.stderr} {
		if f != nil {
			_ = f.Close() // written or read to its end, or given up
		}
	}
	if c.stdout == nil && c.outFD >= 0 {
		closeFD(c.outFD)
	}
	if c.stderr == nil && c.errFD >= 0 {
		closeFD(c.errFD)
	}
}

func (c *call) logErrors() {
	defer close(c.logged)
	c.log.copy(newTeePipe(c.stderr, io.Discard))
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
	if c.fed != nil {
		giveUpAfter(c.stdin, 0)
		<-c.fed
	}
	if c.requested != nil {
		giveUpAfter(c.request, 0)
		<-c.requested
	}
	if c.errFD >= 0 && c.stderr == nil && !atEnd(c.errFD) {
		c.followErrors()
	}
	if c.stderr != nil {
		giveUpAfter(c.stderr, stderrPatience)
		<-c.logged
	}
	c.closeOurs()
	return status
}
