package watchdog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// streamBytes is the size of a copy: what a pipe holds.
	streamBytes = 64 << 10
	// callerPause is between two looks at the connection of a caller whose body waits for a process that does not read.
	callerPause = time.Second
	// lingering is how long a body may go on to come after the end of its answer.
	lingering = 500 * time.Millisecond
)

// Trailers of an answer whose caller takes trailers.
const (
	exitCodeTrailer = "X-Exit-Code"  // as shells have it: 128 and the number of the signal, where one ended the process
	reasonTrailer   = "X-Dcw-Reason" // in words; absent after a good end
)

// errCallerGone ends an invocation whose caller is found to have gone.
var errCallerGone = errors.New("the caller has gone")

// bodyError is why a request's body could not be read to its end.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "the request's body broke off: " + e.err.Error() }

// streamingMode runs a process for every invocation and passes both bodies on as they come, through 64 KiB each way.
//
// The kernel could move the bytes by itself (splice), but net/http gives it no chance: both bodies are chunked as a rule, and even one
// that is not comes through a buffer.
type streamingMode struct {
	*forkMode
	buffers sync.Pool // of *[streamBytes]byte
}

// ServeHTTP is one invocation.
func (m *streamingMode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	limited, cancel := withLimit(r.Context(), limitOf(m.cfg, r))
	defer cancel()
	ctx, end := context.WithCancelCause(limited)
	defer end(nil)
	m.debugHeaders("in", r.Header)
	s := &stream{mode: m, w: w, r: r, control: http.NewResponseController(w), end: end}
	vars, err := m.varsFor(r)
	switch {
	case err != nil:
		s.fail(requestStatus(err), err.Error())
	default:
		defer m.reserve.release()
		err = s.run(ctx, vars)
		s.answer(err)
	}
	m.note(r, s.status, s.bytes, err, time.Since(started))
	if s.status != http.StatusOK && s.begun {
		countAs(w, s.status)
		s.breakOff()
	}
}

// stream is one invocation.
//
//	start ──► body to stdin, stdout to the answer, stderr to the log ──► leader exited, stdout at its end ──► finish
//	               └─ out of time, caller gone, body broken off: the group is killed ───────────────────────►
//
// Its status is open until the first byte of stdout. From then on a bad end can only be told by breaking the answer off or, to a caller
// that takes them, by trailers.
type stream struct {
	mode    *streamingMode
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	end     context.CancelCauseFunc // of the invocation's context

	*call
	bodyRead atomic.Bool // to its end
	broken   error       // why it was not; owned by feed until fed is closed
	over     atomic.Bool // nobody waits for the process's stdin to be read
	exit     syscall.WaitStatus
	begun    bool // the first byte was sent, or is about to be
	trailers bool // were announced
	bytes    int64
	status   int // for the log; what was sent, unless it turned out worse
}

// run starts the process and returns when it is over. The error is a *spawnError, an *exitError, a *bodyError, or the cause of ctx's end.
func (s *stream) run(ctx context.Context, vars requestVars) (err error) {
	hasInput := s.r.Body != http.NoBody
	if s.call, err = s.mode.startCall(vars, hasInput); err != nil {
		return &spawnError{err}
	}
	// The answer may begin before the request has ended. HTTP/1.1 connections can do it; an error means that this one cannot.
	_ = s.control.EnableFullDuplex()
	stop := afterEnd(ctx, s.giveUp)
	defer stop()
	if hasInput {
		go s.feed()
	}
	err = s.copyOutput(ctx)
	if err == nil {
		err = s.waitExited(ctx)
	}
	killed := context.Cause(ctx) // before stopFeeding makes the body break off
	if err != nil {
		s.proc.signal(syscall.SIGKILL) // before its stdin is closed
	}
	s.stopFeeding()
	s.exit = s.finish()
	s.linger()
	return s.verdict(err, killed)
}

// verdict is the reason why it is over, when the process has been ended. killed is why giveUp was called before that, if it was.
func (s *stream) verdict(err, killed error) error {
	text := exitText(s.exit)
	if err == nil && text != "" {
		err = killed // and its exit was seen before the reason for it
	}
	switch {
	case errors.Is(err, context.Canceled) && s.broken != nil && !errors.Is(s.broken, net.ErrClosed):
		return &bodyError{s.broken} // for net/http it is the caller that has gone
	case err == nil && text != "":
		return &exitError{text: text}
	}
	return err
}

// afterEnd calls f when ctx has ended. The function that it returns waits for f, if that has begun, and keeps it from beginning.
func afterEnd(ctx context.Context, f func()) (stop func()) {
	done := make(chan struct{})
	halt := context.AfterFunc(ctx, func() {
		defer close(done)
		f()
	})
	return func() {
		if !halt() {
			<-done
		}
	}
}

// giveUp ends the process, and with it whatever waits for it. A caller that does not read has a moment to take in the end.
func (s *stream) giveUp() {
	s.proc.signal(syscall.SIGKILL)
	giveUpAfter(s.stdout, 0)
	// A connection that can have no deadline has gone.
	_ = s.control.SetWriteDeadline(time.Now().Add(writeGrace))
}

// feed passes the body on. When the process reads no more of it, the rest is thrown away: a caller that is busy sending could not read
// the answer, and one that has gone would go unnoticed.
func (s *stream) feed() {
	defer close(s.fed)
	buf := s.mode.buffer()
	defer s.mode.buffers.Put(buf)
	reading := true
	for {
		n, err := s.r.Body.Read(buf[:])
		if err == io.EOF {
			s.bodyRead.Store(true)
		}
		if n > 0 && reading && s.writeInput(buf[:n]) != nil {
			reading = false
			_ = s.stdin.Close() // nobody reads it
		}
		if err != nil {
			if err != io.EOF {
				s.broken = err
				s.end(&bodyError{err}) // does nothing if it is over anyway
				s.proc.signal(syscall.SIGKILL)
			}
			_ = s.stdin.Close() // everything is written, or nobody is left to take this for the end of a whole body
			return
		}
	}
}

// writeInput waits for the process to read. net/http notices a caller that goes away only once the body is read to its end, which may
// be never here, so that this looks after the connection meanwhile.
func (s *stream) writeInput(p []byte) error {
	for {
		giveUpAfter(s.stdin, callerPause)
		if s.over.Load() {
			return os.ErrDeadlineExceeded
		}
		n, err := s.stdin.Write(p)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		p = p[n:]
		if hungUp(s.r) {
			s.end(errCallerGone)
		}
	}
}

// stopFeeding ends what still waits for the body, or for the process to read it.
func (s *stream) stopFeeding() {
	s.over.Store(true) // before finish ends what is pending on stdin: see writeInput
	if s.bodyRead.Load() || s.stdin == nil {
		return
	}
	until := time.Now()
	if s.r.Context().Err() != nil {
		until = until.Add(writeGrace) // it is broken, and says why in a moment
	}
	// The connection is not used again: see closeUnlessRead. One that can have no deadline has gone.
	_ = s.control.SetReadDeadline(until)
}

// linger leaves net/http a moment in which it reads some of a body that is still coming, so that its caller is not cut off before it has
// seen the answer.
func (s *stream) linger() {
	if !s.bodyRead.Load() && s.stdin != nil {
		_ = s.control.SetReadDeadline(time.Now().Add(lingering)) // as in stopFeeding
	}
}

// copyOutput passes stdout on, each piece at once. It returns nil at its end.
func (s *stream) copyOutput(ctx context.Context) error {
	buf := s.mode.buffer()
	defer s.mode.buffers.Put(buf)
	for {
		n, err := s.stdout.Read(buf[:])
		if n > 0 && !s.send(buf[:n]) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return errCallerGone
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return context.Cause(ctx)
		case err != nil:
			return nil // at its end, or broken, which is the same
		}
	}
}

func (s *stream) send(p []byte) bool {
	if !s.begun {
		s.begin()
		s.w.WriteHeader(http.StatusOK)
	}
	n, err := s.w.Write(p)
	s.bytes += int64(n)
	return err == nil && s.control.Flush() == nil
}

// begin makes the headers of an answer that goes on while the process runs.
func (s *stream) begin() {
	s.begun = true
	h := s.w.Header()
	if ct := s.contentType(); ct != "" {
		h.Set("Content-Type", ct)
	}
	s.closeUnlessRead()
	if s.r.ProtoAtLeast(1, 1) && takesTrailers(s.r) {
		s.trailers = true
		h.Set("Trailer", exitCodeTrailer+", "+reasonTrailer)
	}
	s.mode.debugHeaders("out", h)
}

func (s *stream) contentType() string {
	if ct := s.mode.cfg.ContentType; ct != "" {
		return ct
	}
	return s.r.Header.Get("Content-Type")
}

// closeUnlessRead closes the connection behind an answer that overtakes its request: if the process stops reading, the rest of the body
// must not be taken for the next request.
func (s *stream) closeUnlessRead() {
	if s.call != nil && s.stdin != nil && !s.bodyRead.Load() {
		s.w.Header().Set("Connection", "close")
	}
}

// takesTrailers tells a caller that says so. To others an answer that came to a bad end must not look whole.
func takesTrailers(r *http.Request) bool {
	for token := range strings.SplitSeq(strings.Join(r.Header["Te"], ","), ",") {
		if strings.EqualFold(strings.TrimSpace(token), "trailers") {
			return true
		}
	}
	return false
}

// waitExited waits for the leader, which may have closed its stdout long before.
func (s *stream) waitExited(ctx context.Context) error {
	select {
	case <-s.proc.exited():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answer turns the outcome into a response, as far as that is not sent yet.
func (s *stream) answer(err error) {
	status, reason := s.outcome(err)
	switch {
	case s.begun:
		s.status = status
		s.endTrailers(reason)
	case err == nil:
		s.begin()
		s.w.Header().Set("Content-Length", "0")
		s.w.Header().Del("Trailer") // an answer of known length has none
		s.status = http.StatusOK
		s.w.WriteHeader(http.StatusOK)
	case status == statusCallerGone:
		s.status = status
		s.begun = true // there is nobody to answer
	default:
		s.fail(status, reason)
	}
}

// outcome is the status that an invocation deserves, and why.
func (s *stream) outcome(err error) (status int, reason string) {
	var spawn *spawnError
	var exit *exitError
	var body *bodyError
	switch {
	case err == nil:
		return http.StatusOK, ""
	case errors.As(err, &spawn):
		return spawnStatus(spawn), err.Error()
	case errors.As(err, &exit):
		return http.StatusInternalServerError, err.Error()
	case errors.As(err, &body):
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, "the function ran out of time"
	}
	return statusCallerGone, err.Error()
}

// endTrailers fills in what was announced.
func (s *stream) endTrailers(reason string) {
	if !s.trailers {
		return
	}
	code := s.exit.ExitStatus()
	if s.exit.Signaled() {
		code = 128 + int(s.exit.Signal())
	}
	s.w.Header().Set(exitCodeTrailer, strconv.Itoa(code))
	if reason != "" {
		s.w.Header().Set(reasonTrailer, reason)
	}
}

// fail answers in place of a process that has written nothing.
func (s *stream) fail(status int, reason string) {
	s.status = status
	s.closeUnlessRead()
	body := fmt.Appendln(nil, reason)
	s.bytes = int64(len(body))
	s.mode.text(s.w, status, body)
}

// breakOff ends an answer in a way that cannot be taken for its end, unless its trailers tell.
func (s *stream) breakOff() {
	if s.trailers && s.status != statusCallerGone {
		return
	}
	if conn, ok := s.r.Context().Value(connKey{}).(interface{ SetLinger(int) error }); ok && !s.r.ProtoAtLeast(1, 1) {
		// Before HTTP/1.1 an answer ends when its connection does. A reset is no such end. It fails on a connection that has gone.
		_ = conn.SetLinger(0)
	}
	panic(http.ErrAbortHandler)
}

func (m *streamingMode) buffer() *[streamBytes]byte {
	if b, ok := m.buffers.Get().(*[streamBytes]byte); ok {
		return b
	}
	return new([streamBytes]byte)
}
