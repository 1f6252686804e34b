package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// Exchange is one request and its answer. It belongs to the Handler that it was given to until that returns, and to one goroutine;
// Context's result may be used by others. Exactly one of Answer, Pass and a Forward that has begun to answer ends it.
type Exchange struct {
	Request
	// Started is when the request's head was complete.
	Started time.Time
	// ToEndpoint changes the request's fields when it is forwarded.
	ToEndpoint Edits
	// ToClient changes the answer's fields: of a forwarded one, and of Answer's.
	ToClient Edits
	// Data is the Handler's, and nil at first.
	Data any

	conn   *conn
	in     source    // the client's connection
	start  int       // of the request in in.buf
	body   body      // the request's
	held   []byte    // the request's body, if it was read ahead
	set    io.Reader // what is sent in its place; x.length bytes
	passed bool
	asked  bool // the client was asked for the body
	begun  bool // some of an answer was sent
	status int  // of it
	cut    bool // the answer is not whole
	keep   bool // the connection goes on after the answer
	ctx    *exchangeContext

	out    []byte // a head on its way, and what goes with it
	from   source // the endpoint's connection
	res    Response
	answer body // the endpoint's
	dialed time.Duration
	upload *upload
}

func newExchange() *Exchange {
	return &Exchange{
		in:   source{buf: make([]byte, bufferBytes)},
		from: source{buf: make([]byte, bufferBytes)},
		out:  make([]byte, 0, bufferBytes),
	}
}

// begin makes it ready for the handler. The request is parsed.
func (x *Exchange) begin() {
	x.Started = time.Now()
	x.ToEndpoint.reset()
	x.ToClient.reset()
	x.body.begin(&x.in, x.length)
	x.held, x.set, x.Data, x.upload = nil, nil, nil, nil
	x.passed, x.asked, x.begun, x.cut, x.keep = false, false, false, false, false
	x.status, x.dialed, x.answer.got = 0, 0, 0
}

// Context ends with the exchange, when the client goes away, when the deadline has passed, and when the server is closed;
// context.Cause then is ErrClientGone, ErrDeadline or ErrServerClosed. It is made when it is first asked for.
func (x *Exchange) Context() context.Context {
	if x.ctx == nil {
		x.ctx = &exchangeContext{}
		x.conn.ctx.Store(x.ctx)
		if err := x.Err(); err != nil {
			x.ctx.cancel(err)
		}
	}
	return x.ctx
}

// Err tells why the exchange was ended early, as Context does, or nil.
func (x *Exchange) Err() error { return causeOf(x.conn.word.Load()).err() }

// SetDeadline ends the exchange at t, or some 50 ms later. An answer that has not begun can still be given within a second. The
// zero time takes the deadline back.
func (x *Exchange) SetDeadline(t time.Time) {
	at := int64(0)
	if !t.IsZero() {
		at = max(int64(t.Sub(x.conn.srv.epoch)), 1)
	}
	x.conn.deadline.Store(at)
}

// Begun tells whether some of an answer was sent, so that no other can be given.
func (x *Exchange) Begun() bool { return x.begun }

// Status is that of the answer that was begun, or 0. Interim answers do not count.
func (x *Exchange) Status() int { return x.status }

// Dialed is how long the last Forward was connecting; 0 if it used a connection that was there.
func (x *Exchange) Dialed() time.Duration { return x.dialed }

// AnswerBytes is how much came of the body of the endpoint's answer, without its framing.
func (x *Exchange) AnswerBytes() int64 { return x.answer.got }

// RemoteAddr is the client's address.
func (x *Exchange) RemoteAddr() *net.TCPAddr { return x.conn.tcp.RemoteAddr().(*net.TCPAddr) }

// RemoteIP is the client's address without its port, as text that is made once for each connection.
func (x *Exchange) RemoteIP() string {
	if x.conn.remoteIP == "" {
		x.conn.remoteIP = x.RemoteAddr().AddrPort().Addr().Unmap().String()
	}
	return x.conn.remoteIP
}

// LocalAddr is the address that the client has connected to.
func (x *Exchange) LocalAddr() *net.TCPAddr { return x.conn.tcp.LocalAddr().(*net.TCPAddr) }

// Pass leaves the request, and the connection from then on, to ServerConfig.Rest. The Handler must have used nothing of the body
// and returns next.
func (x *Exchange) Pass() { x.passed = true }

// Body reads the request's body. The first read asks a client for it that waits to be asked. Errors wrap ErrBody, ErrBodyTimeout,
// or are as Context's.
func (x *Exchange) Body() io.Reader { return (*bodyReader)(x) }

type bodyReader Exchange

func (r *bodyReader) Read(p []byte) (int, error) {
	x := (*Exchange)(r)
	if x.held != nil {
		n := copy(p, x.held)
		x.held = x.held[n:]
		if n == 0 && len(p) > 0 {
			return 0, io.EOF
		}
		return n, nil
	}
	if err := x.ask(); err != nil {
		return 0, err
	}
	n, err := x.body.Read(p)
	if err != nil && err != io.EOF {
		err = x.bodyError(err)
	}
	return n, err
}

// ReadBody reads the body into memory if its length is known and at most that many bytes, and returns it, with ok set. A Forward
// sends it then, and may do so again after ErrNotReached. Otherwise it reads nothing. Errors are Body's. What it returns is valid
// until the Handler returns.
func (x *Exchange) ReadBody(most int) (body []byte, ok bool, err error) {
	switch {
	case x.held != nil || x.length == 0:
		return x.held, true, nil
	case x.length < 0 || x.length > int64(most) || x.body.left != x.length:
		return nil, false, nil
	}
	if err := x.ask(); err != nil {
		return nil, false, err
	}
	length := int(x.length)
	for x.in.w-x.in.r < length {
		x.in.room(length - (x.in.w - x.in.r))
		n, err := x.in.read(x.in.buf[x.in.w:])
		if x.in.w += n; err != nil {
			x.body.err = err
			return nil, false, x.bodyError(err)
		}
	}
	x.held = x.in.buf[x.in.r : x.in.r+length : x.in.r+length]
	x.in.r += length
	x.in.floor = x.in.r
	x.body.left, x.body.err = 0, io.EOF
	return x.held, true, nil
}

// SetBody makes Forward send body, which has that many bytes, in the place of the request's own, and tell its length. The request's own
// must have been read to its end. body is read while an answer may come, and no more once Forward has returned; after ErrNotReached
// nothing of it was read.
func (x *Exchange) SetBody(body io.Reader, length int64) {
	if !x.body.ended() {
		panic("http1: a second body before the end of the first")
	}
	x.held, x.set = nil, body
	x.length, x.sized, x.expect = length, true, false
}

// ask asks the client for the body if it waits for that.
func (x *Exchange) ask() error {
	if !x.expect || x.asked || x.begun || x.body.ended() {
		return nil
	}
	x.asked = true
	if len(x.in.buffered()) > 0 {
		return nil // it has not waited
	}
	if err := x.conn.send([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
		return x.clientError()
	}
	return nil
}

// bodyError turns an error of the request's body into ours.
func (x *Exchange) bodyError(err error) error {
	switch why := x.Err(); {
	case why != nil:
		return why
	case malformed(err):
		return errors.Join(ErrBody, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrBodyTimeout
	}
	return ErrClientGone
}

// clientError is why the client took no answer.
func (x *Exchange) clientError() error {
	x.cut = true
	if why := x.Err(); why != nil {
		return why
	}
	return ErrClientGone
}

// Answer answers with the fields that ToClient adds, and a body, which is left out where there must be none. Calling it when an
// answer has begun is an error of the caller's, and panics.
func (x *Exchange) Answer(status int, body []byte) error {
	x.beginAnswer(status)
	if hasNoBody(status) {
		body = nil
	} else {
		x.out = appendLength(x.out, int64(len(body)))
	}
	x.out = x.appendConnection(x.out)
	if string(x.Method) == http.MethodHead {
		body = nil
	}
	if len(body) <= bufferBytes {
		x.out = append(x.out, body...)
		return x.flush()
	}
	if err := x.flush(); err != nil {
		return err
	}
	if err := x.conn.send(body); err != nil {
		return x.clientError()
	}
	return nil
}

// AnswerHead is Answer for a request by HEAD, with the length that the answer to a GET would have; a negative one is not told.
func (x *Exchange) AnswerHead(status int, length int64) error {
	if string(x.Method) != http.MethodHead {
		panic("http1: an answer to " + string(x.Method) + " without its body")
	}
	x.beginAnswer(status)
	if length >= 0 && !hasNoBody(status) {
		x.out = appendLength(x.out, length)
	}
	x.out = x.appendConnection(x.out)
	return x.flush()
}

// AnswerTrailers is Answer with what trailers adds behind the body, for a status and a method that have one. ToClient may announce them
// in a field Trailer. To a client of HTTP/1.0 it is Answer.
func (x *Exchange) AnswerTrailers(status int, body []byte, trailers *Edits) error {
	if x.minor == 0 {
		return x.Answer(status, body)
	}
	x.beginAnswer(status)
	x.out = append(x.out, "Transfer-Encoding: chunked\r\n"...)
	x.out = x.appendConnection(x.out)
	if len(body) > 0 {
		x.out = append(append(appendChunkHead(x.out, len(body)), body...), "\r\n"...)
	}
	x.out = appendLastChunk(x.out, trailers.add)
	return x.flush()
}

// beginAnswer begins the head of an answer of our own.
func (x *Exchange) beginAnswer(status int) {
	if x.begun {
		panic("http1: a second answer")
	}
	x.keepAfterAnswer()
	x.status = status
	x.out = appendStatus(x.out[:0], status, nil)
	x.out = append(x.out, x.ToClient.add...)
	if !x.ToClient.dated {
		x.out = x.appendDate(x.out)
	}
}

func hasNoBody(status int) bool {
	return status == http.StatusNoContent || status == http.StatusNotModified
}

// keepAfterAnswer decides whether the connection goes on, and reads what is left of a body that nobody wants, if it is not much.
func (x *Exchange) keepAfterAnswer() {
	x.keep = x.keepAlive && !x.conn.srv.ending.Load() && x.Err() == nil
	if !x.keep || x.body.ended() {
		return
	}
	if x.expect && !x.asked || x.body.err != nil || x.length > lingerBytes {
		x.keep = false
	}
}

func (x *Exchange) appendDate(b []byte) []byte {
	b = append(b, "Date: "...)
	b = append(b, x.conn.srv.dateAt(x.Started)...)
	return append(b, "\r\n"...)
}

// appendConnection ends a head.
func (x *Exchange) appendConnection(b []byte) []byte {
	switch {
	case !x.keep:
		b = append(b, "Connection: close\r\n"...)
	case x.minor == 0:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	return append(b, "\r\n"...)
}

// flush sends what is in out.
func (x *Exchange) flush() error {
	x.begun = true
	err := x.conn.send(x.out)
	x.out = x.out[:0]
	if err != nil {
		return x.clientError()
	}
	return nil
}

// finish ends the exchange, and tells whether another may follow on its connection.
func (x *Exchange) finish() (keep bool) {
	x.endContext()
	if !x.begun || x.cut || !x.keep {
		return false
	}
	if x.body.ended() {
		return true
	}
	// What is left of the body is not the next request.
	if x.in.arm == nil {
		x.conn.timedReads = true
		_ = x.conn.tcp.SetReadDeadline(time.Now().Add(restTime)) // an error shows when it is read
		if x.Err() != nil {
			return false
		}
	}
	buf := x.conn.srv.lendCopy()
	defer x.conn.srv.copies.Put(buf)
	for left := lingerBytes; left > 0; {
		n, err := x.body.Read(buf[:])
		if left -= n; err != nil {
			return err == io.EOF
		}
	}
	return false
}

// abandon ends it after a panic.
func (x *Exchange) abandon() {
	if e := x.conn.endpoint.Swap(nil); e != nil {
		e.close()
	}
	if x.upload != nil {
		x.conn.interrupt(stopped)
		<-x.upload.done
	}
	x.endContext()
}

func (x *Exchange) endContext() {
	if x.ctx != nil {
		x.conn.ctx.Store(nil)
		x.ctx.cancel(context.Canceled)
		x.ctx = nil
	}
}
