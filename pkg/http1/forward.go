package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"
)

const (
	mostInterim    = 64
	expectTimeout  = time.Second           // for an endpoint that does not ask for the body
	uploadPatience = 50 * time.Millisecond // for the last of a body when the answer is complete
	chunkRoom      = 8                     // for a chunk's size and its line end, before the data
	chunkEnd       = 16                    // and after it, with the last chunk
)

// Forward sends the request to p's endpoint and its answer to the client: both ways at once, flushed as they come, with ToEndpoint
// and ToClient applied, without the fields of one connection. target takes the place of the request's own unless it is nil. answered,
// unless nil, is called once with the head of the answer before it is sent on, and may still change ToClient. What it has changed is
// forgotten if the answer then turns out to be none.
//
// It returns nil when the whole answer was sent. Otherwise the error is one of this package or wraps one, and Begun tells whether
// something else can be answered. After ErrNotReached it may be called again, with another Pool, and
// after ErrClosedIdle if the request may reach an endpoint twice.
func (x *Exchange) Forward(p *Pool, target []byte, answered func(*Exchange, *Response)) error {
	if !x.expect {
		// A small body is worth waiting for, and one that is here already is as good as read.
		if _, _, err := x.ReadBody(max(bufferBytes/2, len(x.in.buffered()))); err != nil {
			return err
		}
	}
	e, err := x.sendHead(p, target)
	if err != nil {
		return err
	}
	err = x.receive(e, p, answered)
	whole, bodyErr := x.joinUpload(err)
	switch {
	case bodyErr == nil || x.Err() != nil:
	case x.set != nil:
		err = fmt.Errorf("%w: read the body to be sent: %w", ErrNoAnswer, bodyErr)
	default:
		err = x.bodyError(bodyErr)
	}
	if err == nil && (!whole || !x.body.ended()) {
		x.keep = false // the rest of the body is on its way, and nobody wants it
	}
	if !x.conn.endpoint.CompareAndSwap(e, nil) {
		e.close() // it is already, or about to be
		if err != nil {
			if why := x.Err(); why != nil {
				err = why
			}
		}
		return err
	}
	if err == nil && whole && x.res.keepAlive && x.answer.ended() && x.from.r == x.from.w {
		p.put(e)
	} else {
		e.close()
	}
	return err
}

// sendHead sends the head, and the body as far as it is in memory, on a connection of the pool or, where those are stale, a new
// one. The first of the answer may have come when it returns.
func (x *Exchange) sendHead(p *Pool, target []byte) (*endpointConn, error) {
	streams := x.set != nil || !x.body.ended()
	x.dialed = 0
	x.out = x.appendRequest(x.out[:0], p, target)
	apart := len(x.held) > bufferBytes
	if !apart {
		x.out = append(x.out, x.held...)
	}
	for {
		e := p.take()
		if e == nil {
			var err error
			begun := time.Now()
			e, err = p.dial(x.Context())
			x.dialed = time.Since(begun)
			if err != nil {
				if why := x.Err(); why != nil {
					return nil, why
				}
				return nil, fmt.Errorf("%w: %w", ErrNotReached, err)
			}
		}
		x.conn.endpoint.Store(e)
		if why := x.Err(); why != nil {
			x.conn.endpoint.Store(nil)
			e.close()
			return nil, why
		}
		x.from.conn = e.tcp
		x.from.floor, x.from.r, x.from.w = 0, 0, 0
		n, err := e.begin(x.out, x.from.buf, !streams && !apart, &x.conn.srv.spin)
		x.from.w = n
		if err == nil && apart {
			_, err = e.tcp.Write(x.held)
		}
		if err == nil || e.wrote > 0 {
			// What broke after the first byte shows again when the answer is read.
			x.out = x.out[:0]
			return e, nil
		}
		mine := x.conn.endpoint.CompareAndSwap(e, nil)
		e.close()
		if why := x.Err(); !mine && why != nil {
			return nil, why
		}
		if !e.used {
			return nil, fmt.Errorf("%w: %w", ErrNotReached, err)
		}
	}
}

// appendRequest writes the head of the request as the endpoint gets it.
func (x *Exchange) appendRequest(b []byte, p *Pool, target []byte) []byte {
	if target == nil {
		target = x.Target
	}
	b = append(b, x.Method...)
	b = append(b, ' ')
	b = append(b, target...)
	b = append(b, " HTTP/1.1\r\n"...)
	if x.Host == nil && !x.ToEndpoint.drops([]byte("Host")) {
		b = append(b, "Host: "...)
		b = append(b, p.cfg.Address...)
		b = append(b, "\r\n"...)
	}
	trailers := false
	for i := range x.Fields {
		f := &x.Fields[i]
		switch f.kind {
		case plain, kindHost:
		case kindTrailer:
			if x.length != chunked {
				continue
			}
		case kindExpect:
			if !x.expect {
				continue
			}
		case kindTE:
			eachToken(f.Value, func(token []byte) { trailers = trailers || equalFold(token, "trailers") })
			continue
		default:
			continue
		}
		if len(x.ToEndpoint.drop) == 0 || !x.ToEndpoint.drops(f.Name) {
			b = appendField(b, f.Name, f.Value)
		}
	}
	b = append(b, x.ToEndpoint.add...)
	if trailers {
		b = append(b, "TE: trailers\r\n"...)
	}
	switch {
	case x.length == chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case x.sized:
		b = appendLength(b, x.length)
	}
	return append(b, "\r\n"...)
}

func appendLength(b []byte, length int64) []byte {
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, length, 10)
	return append(b, "\r\n"...)
}

// upload is a request's body on its way while the answer may come.
type upload struct {
	done   chan struct{}
	client error // what is wrong with the body, or its client
	broken bool  // the endpoint takes no more
}

// startUpload sends the body from a goroutine of its own, which joinUpload waits for.
func (x *Exchange) startUpload(e *endpointConn) {
	if x.set == nil && x.body.ended() || x.upload != nil {
		return
	}
	u := &upload{done: make(chan struct{})}
	x.upload = u
	go func() {
		defer close(u.done)
		buf := x.conn.srv.lendCopy()
		defer x.conn.srv.copies.Put(buf)
		var bodyErr, endpointErr error
		if x.set != nil {
			bodyErr, endpointErr = copySized(e.tcp, x.set, x.length, buf)
		} else {
			bodyErr, endpointErr = copyBody(e.tcp, &x.body, x.length == chunked, buf)
		}
		u.client, u.broken = bodyErr, endpointErr != nil
		if bodyErr != nil && x.conn.endpoint.CompareAndSwap(e, nil) {
			e.close() // it would wait for the rest
		}
	}()
}

// joinUpload waits for the body, or gives it up: at once if the exchange has failed with err. It tells whether all of it was sent,
// and what was wrong with it.
func (x *Exchange) joinUpload(err error) (whole bool, bodyErr error) {
	u := x.upload
	if u == nil {
		return x.body.ended(), nil
	}
	x.upload = nil
	patience := uploadPatience
	if err != nil {
		patience = 0
		if x.conn.endpoint.Load() == nil && x.Err() == nil {
			<-u.done // it was the body that has failed
			return false, u.client
		}
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-u.done:
		return u.client == nil && !u.broken, u.client
	case <-timer.C:
	}
	if e := x.conn.endpoint.Swap(nil); e != nil {
		e.close()
	}
	_ = x.conn.tcp.SetReadDeadline(time.Unix(1, 0)) // an error means that it is closed
	<-u.done
	if x.Err() == nil {
		_ = x.conn.tcp.SetReadDeadline(time.Time{}) // for whoever reads the rest
	}
	// It may have been whole for long, and its goroutine have waited for a processor.
	return u.client == nil && !u.broken, nil
}

// receive takes the endpoint's answer and sends it on.
func (x *Exchange) receive(e *endpointConn, p *Pool, answered func(*Exchange, *Response)) error {
	if x.expect && !x.asked {
		_ = e.tcp.SetReadDeadline(time.Now().Add(expectTimeout)) // an error shows when it is read
	} else {
		x.startUpload(e)
	}
	for interim := 0; ; interim++ {
		if err := x.readAnswer(e, p); err != nil {
			if interim == 0 && x.from.w == 0 && x.upload == nil && e.used && hungUp(err) {
				err = fmt.Errorf("%w: %w", ErrClosedIdle, err)
			}
			return x.noAnswer(err)
		}
		switch {
		case x.res.Status == http.StatusSwitchingProtocols:
			return x.noAnswer(errSwitched)
		case interim >= mostInterim:
			return x.noAnswer(errManyInterim)
		case x.res.Status >= http.StatusOK:
			if x.expect && !x.asked {
				_ = e.tcp.SetReadDeadline(time.Time{}) // an error shows when it is read
			}
			before := x.ToClient
			if answered != nil {
				answered(x, &x.res)
			}
			err := x.relay()
			if err != nil && !x.begun {
				x.ToClient.drop, x.ToClient.add = x.ToClient.drop[:len(before.drop)], x.ToClient.add[:len(before.add)]
			}
			return err
		case x.res.Status == http.StatusContinue:
			if err := x.goOn(e); err != nil {
				return err
			}
		case x.minor == 1:
			x.out = appendStatus(x.out[:0], x.res.Status, x.res.reason)
			x.out = x.appendAnswerFields(x.out)
			x.out = append(x.out, "\r\n"...)
			err := x.conn.send(x.out)
			if x.out = x.out[:0]; err != nil {
				return x.clientError()
			}
		}
		x.from.reset()
	}
}

// hungUp tells whether the peer has closed the connection.
func hungUp(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// goOn asks the client for the body that the endpoint wants, or has let us wait for too long to say so.
func (x *Exchange) goOn(e *endpointConn) error {
	if x.asked || !x.expect {
		return nil
	}
	_ = e.tcp.SetReadDeadline(time.Time{}) // an error shows when it is read
	if err := x.ask(); err != nil {
		return err
	}
	x.startUpload(e)
	return nil
}

// readAnswer reads and parses one head.
func (x *Exchange) readAnswer(e *endpointConn, p *Pool) error {
	for seen := 0; ; {
		end, next, err := headEnd(x.from.buffered(), seen)
		if err != nil {
			return err
		}
		if end > p.cfg.HeadBytes || end == 0 && x.from.w-x.from.r >= p.cfg.HeadBytes {
			return errHeadLong
		}
		if end > 0 {
			head := x.from.buffered()[:end]
			x.from.r += end
			x.from.floor = x.from.r
			return x.res.parse(head, x.Method, defaultMostFields*4)
		}
		seen = next
		if err := x.from.fill(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && x.expect && !x.asked && x.Err() == nil {
				if err := x.goOn(e); err != nil {
					return err
				}
				continue
			}
			return err
		}
	}
}

// noAnswer is why there is none.
func (x *Exchange) noAnswer(err error) error {
	if why := x.Err(); why != nil {
		return why
	}
	return fmt.Errorf("%w: %w", ErrNoAnswer, err)
}

// appendAnswerFields writes the fields of the answer as the client gets them, but for those of its framing.
func (x *Exchange) appendAnswerFields(b []byte) []byte {
	for i := range x.res.Fields {
		f := &x.res.Fields[i]
		if f.kind != plain && f.kind != kindHost && f.kind != kindExpect && (f.kind != kindTrailer || x.res.length != chunked) {
			continue
		}
		if len(x.ToClient.drop) == 0 || !x.ToClient.drops(f.Name) {
			b = appendField(b, f.Name, f.Value)
		}
	}
	return b
}

// relay sends the answer on.
func (x *Exchange) relay() error {
	res := &x.res
	x.answer.begin(&x.from, res.length)
	toChunked := res.length < 0 && x.minor == 1
	x.keep = x.keepAlive && !x.conn.srv.ending.Load() && (res.length >= 0 || toChunked)
	if x.expect && !x.asked {
		x.keep = false // the client may send the body or not
	}
	out := appendStatus(x.out[:0], res.Status, res.reason)
	out = x.appendAnswerFields(out)
	out = append(out, x.ToClient.add...)
	if !res.Has("Date") {
		out = x.appendDate(out)
	}
	switch {
	case res.Status == http.StatusNoContent:
	case !res.hasBody(x.Method):
		if res.sized {
			out = appendLength(out, res.declared)
		}
	case toChunked:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case res.length >= 0:
		out = appendLength(out, res.length)
	}
	x.out = x.appendConnection(out)
	x.from.floor = 0
	if err := x.first(toChunked); err != nil {
		return x.noAnswer(err)
	}
	x.status = res.Status
	if err := x.flush(); err != nil || x.answer.ended() {
		return err
	}
	buf := x.conn.srv.lendCopy()
	defer x.conn.srv.copies.Put(buf)
	bodyErr, clientErr := copyBody(clientWriter{x.conn}, &x.answer, toChunked, buf)
	switch {
	case clientErr != nil:
		return x.clientError()
	case bodyErr != nil:
		x.cut = true
		if x.res.length < 0 && !toChunked {
			_ = x.conn.tcp.SetLinger(0) // else this end would look like the body's; an error means that it is closed
		}
		if why := x.Err(); why != nil {
			return why
		}
		return fmt.Errorf("%w: %w", ErrCutShort, bodyErr)
	}
	return nil
}

// first puts what there is of the body behind the head. A small one of known length is waited for: it costs one write less, and if
// it breaks off, the client can still be told.
func (x *Exchange) first(toChunked bool) error {
	b := &x.answer
	if b.ended() {
		return nil
	}
	at := len(x.out)
	if !toChunked {
		wait := b.length >= 0 && b.length <= int64(cap(x.out)-at)
		for !b.ended() && len(x.out) < cap(x.out) {
			n, err := b.read(x.out[len(x.out):cap(x.out)], wait)
			x.out = x.out[:len(x.out)+n]
			if err != nil && err != io.EOF {
				return err
			}
			if n == 0 {
				break
			}
		}
		return nil
	}
	if cap(x.out)-at < 4*chunkRoom+chunkEnd {
		return nil
	}
	n, err := b.read(x.out[at+chunkRoom:cap(x.out)-chunkEnd], false)
	if err != nil && err != io.EOF {
		return err
	}
	if n > 0 {
		head := appendChunkHead(x.out[:at], n)
		x.out = append(head, x.out[at+chunkRoom:at+chunkRoom+n]...)
		x.out = append(x.out, "\r\n"...)
	}
	if b.ended() {
		x.out = appendLastChunk(x.out, b.trailer)
	}
	return nil
}

func appendChunkHead(b []byte, n int) []byte {
	b = strconv.AppendInt(b, int64(n), 16)
	return append(b, "\r\n"...)
}

func appendLastChunk(b, trailer []byte) []byte {
	b = append(b, "0\r\n"...)
	b = append(b, trailer...)
	return append(b, "\r\n"...)
}

type clientWriter struct{ c *conn }

func (w clientWriter) Write(p []byte) (int, error) {
	if err := w.c.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// copyBody sends what comes of a body, as chunks or plain, until its end or an error of either side.
func copyBody(to io.Writer, b *body, toChunked bool, buf *[copyBytes]byte) (bodyErr, toErr error) {
	if b.ended() {
		if toChunked {
			_, toErr = to.Write(appendLastChunk(buf[:0], b.trailer))
		}
		return nil, toErr
	}
	for {
		n, err := b.Read(buf[chunkRoom : copyBytes-chunkEnd])
		from, end := chunkRoom, chunkRoom+n
		if toChunked && n > 0 {
			var head [chunkRoom]byte
			size := appendChunkHead(head[:0], n)
			from -= len(size)
			copy(buf[from:], size)
			end += copy(buf[end:], "\r\n")
		}
		last := err == io.EOF && toChunked
		if last && len(b.trailer) == 0 {
			end += copy(buf[end:], "0\r\n\r\n")
			last = false
		}
		if end > from {
			if _, err := to.Write(buf[from:end]); err != nil {
				return nil, err
			}
		}
		switch {
		case last:
			_, toErr = to.Write(appendLastChunk(buf[:0], b.trailer))
			return nil, toErr
		case err == io.EOF:
			return nil, nil
		case err != nil:
			return err, nil
		}
	}
}

// copySized sends length bytes of from, or as many as come before an error of either side.
func copySized(to io.Writer, from io.Reader, length int64, buf *[copyBytes]byte) (fromErr, toErr error) {
	for length > 0 {
		n, err := from.Read(buf[:min(length, copyBytes)])
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return nil, err
			}
		}
		if length -= int64(n); err != nil && length > 0 {
			return err, nil
		}
	}
	return nil, nil
}
