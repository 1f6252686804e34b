package http1

import (
	"errors"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	lingerTime  = 500 * time.Millisecond // for a client that is still sending when it was answered
	restTime    = 5 * time.Second        // for the rest of a body that nobody wants, where no other limit is set
	lingerBytes = 256 << 10              // of a body that nobody wants, for which a connection is kept
)

// phase is what a connection is about.
type phase uint8

const (
	phaseNew    phase = iota // nothing was read yet
	phaseIdle                // between two requests
	phaseHead                // some of a head was read
	phaseBusy                // in an exchange
	phaseLinger              // answered, and about to close
	phaseClosed
)

// cause is why an exchange was ended.
type cause uint8

const (
	alive cause = iota
	gone
	expired
	stopped
)

func (c cause) err() error {
	switch c {
	case gone:
		return ErrClientGone
	case expired:
		return ErrDeadline
	case stopped:
		return ErrServerClosed
	}
	return nil
}

// A conn's word is its phase, why its exchange was ended, and a number that grows with every exchange, so that whoever looked at
// one exchange cannot end another.
const (
	causeShift = 4
	nextWord   = 1 << 8
)

func phaseOf(word uint64) phase { return phase(word & 0xf) }
func causeOf(word uint64) cause { return cause(word >> causeShift & 0xf) }

// conn is a client's connection, served by one goroutine:
//
//	new ──► head ──► busy ──► idle ──► head ...
//	 │       │        │        │
//	 └───────┴────────┴────────┴──► linger ──► closed, or handed over
//
// The sweeper and Shutdown close it where it is not busy, and end its exchange where it is: the exchange is then its last.
type conn struct {
	srv      *Server
	tcp      *net.TCPConn
	raw      syscall.RawConn
	word     atomic.Uint64
	deadline atomic.Int64 // of the exchange, in nanoseconds since srv.epoch; 0 means none
	answered atomic.Int64 // when it last became idle, if the server was ending by then; in the same nanoseconds
	endpoint atomic.Pointer[endpointConn]
	ctx      atomic.Pointer[exchangeContext]
	index    int // in srv.conns; guarded by srv.mu

	swept uint64 // the sweeper's
	since int64

	x           *Exchange // nil while idle
	requests    waits
	n           int // what await has read
	err         error
	awaits      func(fd uintptr) bool // await, made once
	rest        []byte                // what writes has left to write
	writes      func(fd uintptr) bool // write, made once
	arms        func() error          // arm, made once, or nil
	timedReads  bool                  // a read deadline is set
	timedWrites bool                  // a write deadline is set
	given       bool                  // the connection is somebody else's
	remoteIP    string                // made when it is first asked for
}

func newConn(s *Server, tcp *net.TCPConn) (*conn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{srv: s, tcp: tcp, raw: raw, swept: ^uint64(0)} // a word that it never has
	c.awaits, c.writes = c.await, c.write
	if s.cfg.ReadTimeout > 0 || s.cfg.StallTimeout > 0 {
		c.arms = c.arm
	}
	return c, nil
}

// serve is the life of a connection.
func (c *conn) serve() {
	defer c.end()
	for c.next() {
	}
}

func (c *conn) end() {
	if r := recover(); r != nil {
		c.srv.cfg.Log.Error("a handler panicked", "err", r, "stack", string(debug.Stack()))
		if c.x != nil {
			c.x.abandon()
			c.x = nil // whoever still refers to it
		}
	}
	if !c.given {
		_ = c.tcp.Close() // whatever had to be sent is
	}
	if c.x != nil {
		c.release()
	}
	c.srv.drop(c)
}

// next serves one request, and returns whether there may be another.
func (c *conn) next() bool {
	head, err := c.readHead()
	switch {
	case err != nil:
		c.refuse(err)
		return false
	case head == nil:
		return false
	}
	x := c.x
	x.start = x.in.r
	x.in.r += len(head)
	x.in.floor = x.in.r
	if string(head) == preface {
		return c.handOver()
	}
	if err := x.Request.parse(head, c.srv.cfg.TargetBytes, c.srv.cfg.Fields); err != nil {
		c.refuse(err)
		return false
	}
	if x.Request.rare() {
		return c.handOver()
	}
	c.deadline.Store(0)
	word := c.word.Load()
	if phaseOf(word) != phaseHead || !c.word.CompareAndSwap(word, word&^0xff|uint64(phaseBusy)) {
		return false
	}
	c.srv.wake()
	x.begin()
	c.handle(x)
	if x.passed {
		return c.handOver()
	}
	return c.after()
}

func (c *conn) handle(x *Exchange) {
	if c.srv.spin.limit <= 0 {
		c.srv.cfg.Handler(x) // nobody asks how many there are
		return
	}
	c.srv.spin.busy.Add(1)
	defer c.srv.spin.busy.Add(-1)
	c.srv.cfg.Handler(x)
}

// readHead returns the head of the next request, which stays where it is, or nil if there is none.
func (c *conn) readHead() ([]byte, error) {
	if c.x == nil {
		c.requests.begin(&c.srv.spin, 0)
		if err := c.raw.Read(c.awaits); err != nil || c.err != nil || c.n == 0 {
			return nil, nil // closed, by the client or by us
		}
		c.requests.end(&c.srv.spin)
		c.x.in.w = c.n
	}
	word := c.word.Load()
	if p := phaseOf(word); p != phaseNew && p != phaseIdle && p != phaseHead || !c.word.CompareAndSwap(word, word&^0xff|uint64(phaseHead)) {
		return nil, nil // closed as this came
	}
	in, cfg := &c.x.in, &c.srv.cfg
	for seen := 0; ; {
		end, next, err := headEnd(in.buffered(), seen)
		if err != nil {
			return nil, err
		}
		if seen = next; end > cfg.HeadBytes || end == 0 && in.w-in.r >= cfg.HeadBytes {
			return nil, errHeadLong
		}
		if end > 0 {
			return in.buffered()[:end], nil
		}
		if seen == 0 && in.w-in.r > 0 {
			// Nothing but a method can begin a request, and nothing as long as this its first line.
			if lower[in.buf[in.r]] == 0 {
				return nil, errRequestLine
			}
			if in.w-in.r > cfg.TargetBytes+roomBytes {
				return nil, errTargetLong
			}
		}
		if err := in.fill(); err != nil {
			return nil, nil
		}
	}
}

// await reads what comes next. It borrows a buffer only when there is something, so that an idle connection has none.
func (c *conn) await(fd uintptr) bool {
	c.x = c.srv.lend(c)
	c.n, c.err = readFD(fd, c.x.in.buf)
	if c.err == syscall.EAGAIN {
		c.n, c.err = c.srv.spin.read(fd, c.x.in.buf, &c.requests, 0)
	}
	if c.err == syscall.EAGAIN {
		c.release()
		return false
	}
	return true
}

// lend returns an exchange for c.
func (s *Server) lend(c *conn) *Exchange {
	x, ok := s.exchanges.Get().(*Exchange)
	if !ok {
		x = newExchange()
	}
	x.conn, x.in.conn, x.in.arm = c, c.tcp, c.arms
	x.in.floor, x.in.r, x.in.w = 0, 0, 0
	return x
}

// release gives the exchange back. One that has grown is not kept.
func (c *conn) release() {
	x := c.x
	c.x = nil
	x.conn, x.in.conn, x.in.arm, x.from.conn, x.Data = nil, nil, nil, nil, nil
	if len(x.in.buf) > 2*bufferBytes || len(x.from.buf) > 2*bufferBytes || cap(x.out) > 3*bufferBytes || cap(x.Fields) > 128 ||
		cap(x.res.Fields) > 128 {
		return
	}
	c.srv.exchanges.Put(x)
}

// send writes all of b to the client. A client that takes nothing for ServerConfig.StallTimeout is given up.
func (c *conn) send(b []byte) error {
	c.rest, c.err = b, nil
	if err := c.raw.Write(c.writes); err != nil {
		return err
	}
	err := c.err
	if c.timedWrites {
		c.timedWrites = false
		c.setWriteDeadline(time.Time{})
	}
	return err
}

func (c *conn) write(fd uintptr) bool {
	for len(c.rest) > 0 {
		n, err := writeFD(fd, c.rest)
		c.rest = c.rest[n:]
		switch {
		case err == syscall.EAGAIN:
			if stall := c.srv.cfg.StallTimeout; stall > 0 {
				c.timedWrites = true
				c.setWriteDeadline(time.Now().Add(stall))
			}
			return false
		case err != nil:
			c.err = err
			return true
		}
	}
	return true
}

// setWriteDeadline does not take back what cancel has set.
func (c *conn) setWriteDeadline(t time.Time) {
	_ = c.tcp.SetWriteDeadline(t) // an error means that it is closed, which the write will tell
	if why := causeOf(c.word.Load()); why != alive {
		c.interrupt(why)
	}
}

// arm sets the deadline for reading some of a body.
func (c *conn) arm() error {
	if phaseOf(c.word.Load()) != phaseBusy {
		return nil // HeadTimeout is the sweeper's
	}
	cfg := &c.srv.cfg
	var at time.Time
	if cfg.ReadTimeout > 0 {
		at = c.x.Started.Add(cfg.ReadTimeout)
	}
	if cfg.StallTimeout > 0 {
		if stall := time.Now().Add(cfg.StallTimeout); at.IsZero() || stall.Before(at) {
			at = stall
		}
	}
	c.timedReads = true
	err := c.tcp.SetReadDeadline(at)
	if why := causeOf(c.word.Load()); why != alive {
		c.interrupt(why)
		return why.err()
	}
	return err
}

// disarm takes back the read deadline of an exchange that was not cancelled.
func (c *conn) disarm() {
	if c.timedReads {
		c.timedReads = false
		_ = c.tcp.SetReadDeadline(time.Time{}) // an error means that it is closed
	}
}

// gone tells whether the client has closed the connection, or its sending side. What it has sent ahead hides that.
func (c *conn) gone() (gone bool) {
	err := c.raw.Control(func(fd uintptr) {
		n, err := peekFD(fd)
		gone = err == nil && n == 0 || err != nil && err != syscall.EAGAIN
	})
	return gone || err != nil
}

// cancel ends the exchange that was seen with word: what it waits for fails. It does nothing if that has ended.
func (c *conn) cancel(word uint64, why cause) {
	if !c.word.CompareAndSwap(word, word|uint64(why)<<causeShift) {
		return
	}
	if e := c.endpoint.Swap(nil); e != nil {
		e.close()
	}
	// Before the context: a Handler that waits for that alone might otherwise still answer.
	c.interrupt(why)
	if ctx := c.ctx.Load(); ctx != nil {
		ctx.cancel(why.err())
	}
}

// interrupt ends what waits for the client. One that is out of time can still be told so.
func (c *conn) interrupt(why cause) {
	past := time.Unix(1, 0)
	// Errors mean that it is closed, and that nobody waits.
	_ = c.tcp.SetReadDeadline(past)
	if why == expired {
		past = time.Now().Add(writeGrace)
	}
	_ = c.tcp.SetWriteDeadline(past)
}

// expire closes a connection that is not in an exchange, if it still is as it was seen with word.
func (c *conn) expire(word uint64) {
	if c.word.CompareAndSwap(word, word&^0xff|uint64(phaseClosed)) {
		_ = c.tcp.Close() // nothing is on its way
	}
}

// closeIdle closes it if it has been between two requests for a moment, or has carried none yet and fresh is set. One whose next
// request has arrived is left to serve it.
func (c *conn) closeIdle(fresh bool) {
	word := c.word.Load()
	if p := phaseOf(word); p != phaseIdle && (p != phaseNew || !fresh) {
		return
	}
	if at := c.answered.Load(); at > 0 && time.Since(c.srv.epoch) < time.Duration(at)+firstBytes {
		return
	}
	waiting := false
	_ = c.raw.Control(func(fd uintptr) { // an error means that it is closed
		n, err := peekFD(fd)
		waiting = err == nil && n > 0
	})
	if !waiting {
		c.expire(word)
	}
}

// abort ends it, whatever it does.
func (c *conn) abort() {
	for {
		word := c.word.Load()
		switch phaseOf(word) {
		case phaseBusy:
			if causeOf(word) == alive {
				c.cancel(word, stopped)
			} else {
				c.interrupt(stopped)
			}
			// One that ended in the meantime may have made room for another, which is to end too.
			if now := c.word.Load(); phaseOf(now) == phaseBusy && causeOf(now) != alive {
				return
			}
		case phaseClosed:
			return
		case phaseLinger:
			_ = c.tcp.SetDeadline(time.Unix(1, 0)) // an error means that it is closed
			return
		default:
			if c.expire(word); phaseOf(c.word.Load()) == phaseClosed {
				return
			}
		}
	}
}

// after is what comes after an exchange. It returns whether the connection goes on.
func (c *conn) after() bool {
	x := c.x
	keep := x.finish()
	word := c.word.Load()
	if !keep || causeOf(word) != alive {
		if x.begun && !x.cut && !x.body.ended() {
			c.linger()
		}
		return false
	}
	c.disarm()
	x.in.reset()
	p := phaseIdle
	if x.in.w > x.in.r {
		p = phaseHead // the next request was sent ahead
	}
	if c.srv.ending.Load() {
		// The answer began before the end was announced and said nothing of it: the client may be about to send its next request.
		c.answered.Store(int64(time.Since(c.srv.epoch)))
	}
	if !c.word.CompareAndSwap(word, (word+nextWord)&^0xff|uint64(p)) {
		return false // cancelled, though it was answered
	}
	if p == phaseIdle {
		c.release()
	}
	return true
}

// handOver gives the connection to net/http, with what was read of it from the current request on.
func (c *conn) handOver() bool {
	if c.srv.rest == nil {
		c.refuse(errRare)
		return false
	}
	x := c.x
	x.endContext()
	c.disarm()
	read := append([]byte(nil), x.in.buf[x.start:x.in.w]...)
	word := c.word.Load()
	if causeOf(word) != alive || !c.word.CompareAndSwap(word, word&^0xff|uint64(phaseClosed)) {
		return false
	}
	c.given = c.srv.rest.hand(&begunConn{TCPConn: c.tcp, read: read})
	return false
}

// refuse answers what is no request, and closes. Nothing after it can be told from what it may have meant.
func (c *conn) refuse(err error) {
	r := &refusal{http.StatusBadRequest, err.Error()}
	errors.As(err, &r)
	c.srv.cfg.Log.Debug("refused a request", "status", r.status, "err", r.reason)
	b := appendStatus(nil, r.status, nil)
	b = append(b, "Date: "...)
	b = append(b, c.srv.dateAt(time.Now())...)
	b = append(b, "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(r.reason)+1), 10)
	b = append(b, "\r\n\r\n"...)
	b = append(b, r.reason...)
	b = append(b, '\n')
	if c.send(b) == nil {
		c.linger()
	}
}

// linger closes the sending side and waits a moment for the client's. A socket that is closed with something unread resets the
// connection, and the client may lose the answer (RFC 9112, section 9.6).
func (c *conn) linger() {
	word := c.word.Load()
	if phaseOf(word) == phaseClosed || !c.word.CompareAndSwap(word, word&^0xff|uint64(phaseLinger)) {
		return
	}
	if c.tcp.CloseWrite() != nil || c.tcp.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return // it is closed already
	}
	buf := c.srv.lendCopy()
	defer c.srv.copies.Put(buf)
	for left := lingerBytes; left > 0; {
		n, err := c.tcp.Read(buf[:])
		if left -= n; err != nil {
			return // its end, or out of time
		}
	}
}

// appendStatus begins a head.
func appendStatus(b []byte, status int, reason []byte) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	if reason != nil {
		b = append(b, reason...)
	} else {
		b = append(b, http.StatusText(status)...)
	}
	return append(b, "\r\n"...)
}
