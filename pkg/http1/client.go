package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Client makes requests of the program itself over Pools, for those who have net/http's types. Where net/http hands a request to one
// goroutine and waits for its answer from another, a Client does all in its caller's. The zero value is ready; its methods may be
// called from any goroutine.
type Client struct {
	fetches sync.Pool // of *fetch
}

// CanSend tells whether RoundTrip takes r with a body in memory. What it does not take is rare: an Expect, trailers, a Host or a target
// that no server would accept, characters that must not stand in a field.
func CanSend(r *http.Request) bool {
	if len(r.Trailer) > 0 || len(r.TransferEncoding) > 0 || !isToken([]byte(r.Method)) || r.Method == http.MethodConnect {
		return false
	}
	if r.Host != "" && !validHost([]byte(r.Host)) {
		return false
	}
	if target := r.URL.RequestURI(); target == "" || target[0] != '/' || !all([]byte(target), &inTarget) {
		return false
	}
	for name, values := range r.Header {
		if !isToken([]byte(name)) || kindOf([]byte(name)) == kindExpect {
			return false
		}
		for _, value := range values {
			if !isContent([]byte(value)) {
				return false
			}
		}
	}
	return true
}

// RoundTrip sends a request that CanSend takes, and the body given in the place of its own, to p's endpoint, and returns the answer.
// Of r's URL only path and query count. Fields of one connection are left out of what is sent, and Content-Length is added to what has a
// body or a method that mostly has one; nothing else is. Interim answers are dropped.
//
// The answer's head must have come by the deadline, and all of it if its length is known; what is left to read fails with ErrDeadline then.
// When ctx ends, so do the waits for the answer and its body, with ctx's error. The body is for one goroutine at a time. When it was
// read to its end, the answer has its trailers, and the connection is back in the pool; Close gives up what is left of it.
//
// dialed is how long it took to connect, or 0 if there was a connection. An error without ctx's or ErrDeadline is ErrNotReached, after
// which the request may be sent elsewhere, or ErrNoAnswer.
func (c *Client) RoundTrip(ctx context.Context, p *Pool, r *http.Request, body []byte, deadline time.Time) (answer *http.Response, dialed time.Duration, err error) {
	f, ok := c.fetches.Get().(*fetch)
	if !ok {
		f = &fetch{client: c, from: source{buf: make([]byte, bufferBytes)}, out: make([]byte, 0, bufferBytes)}
	}
	f.ctx, f.pool, f.method = ctx, p, append(f.method[:0], r.Method...)
	f.appendHead(r, p.cfg.Address, len(body))
	dialed, err = f.send(body, deadline)
	if err == nil {
		answer, err = f.receive(r)
	}
	if err != nil {
		f.end(false)
		return nil, dialed, err
	}
	return answer, dialed, nil
}

// fetch is one request of a Client's and its answer. It goes back to the Client with end.
type fetch struct {
	client *Client
	ctx    context.Context // of the request, for as long as that is under way
	pool   *Pool
	method []byte
	conn   *endpointConn
	// unhook takes back that ctx closes conn, and tells whether it has not.
	unhook func() bool

	out   []byte
	names []string
	from  source
	res   Response
	body  body
	still spinner // spins never: who waits here is one of many
}

// appendHead writes the head of the request. Its fields are in order, so that one request is written in one way.
func (f *fetch) appendHead(r *http.Request, address string, length int) {
	b := append(append(f.out[:0], r.Method...), ' ')
	b = append(append(b, r.URL.RequestURI()...), " HTTP/1.1\r\nHost: "...)
	if r.Host != "" {
		address = r.Host
	}
	b = append(append(b, address...), "\r\n"...)
	f.names = f.names[:0]
	for name := range r.Header {
		if kindOf([]byte(name)) == plain && !named(r.Header["Connection"], name) {
			f.names = append(f.names, name)
		}
	}
	slices.Sort(f.names)
	for _, name := range f.names {
		for _, value := range r.Header[name] {
			b = append(append(b, name...), ": "...)
			b = append(append(b, value...), "\r\n"...)
		}
	}
	if length > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		b = appendLength(b, int64(length))
	}
	f.out = append(b, "\r\n"...)
}

// named tells whether one of the lists has that name.
func named(lists []string, name string) (found bool) {
	for _, list := range lists {
		eachToken([]byte(list), func(token []byte) { found = found || equalFold(token, name) })
	}
	return found
}

// send sends the request on a connection of the pool or, where those are stale, a new one. The first of the answer may have come when
// it returns.
func (f *fetch) send(body []byte, deadline time.Time) (dialed time.Duration, err error) {
	apart := len(body) > bufferBytes
	if !apart {
		f.out = append(f.out, body...)
	}
	for {
		f.conn = f.pool.take()
		if f.conn == nil {
			begun := time.Now()
			f.conn, err = f.dial(deadline)
			dialed = time.Since(begun)
			if err != nil {
				return dialed, err
			}
		}
		e := f.conn
		f.unhook = context.AfterFunc(f.ctx, e.close)
		_ = e.tcp.SetDeadline(deadline) // an error shows when it is used
		f.from.conn = e.tcp
		f.from.floor, f.from.r, f.from.w = 0, 0, 0
		f.from.w, err = e.begin(f.out, f.from.buf, !apart, &f.still)
		if err == nil && apart {
			_, err = e.tcp.Write(body)
		}
		if err == nil || e.wrote > 0 {
			// What broke after the first byte shows again when the answer is read.
			return dialed, nil
		}
		used := e.used
		f.unhook()
		f.drop()
		if why := f.cause(err); why != nil {
			return dialed, why
		}
		if !used {
			return dialed, fmt.Errorf("%w: %w", ErrNotReached, err)
		}
	}
}

func (f *fetch) dial(deadline time.Time) (*endpointConn, error) {
	ctx := f.ctx
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, deadline, ErrDeadline)
		defer cancel()
	}
	e, err := f.pool.dial(ctx)
	switch {
	case err == nil:
		return e, nil
	case f.ctx.Err() != nil:
		return nil, f.ctx.Err()
	case ctx.Err() != nil:
		return nil, ErrDeadline
	}
	return nil, fmt.Errorf("%w: %w", ErrNotReached, err)
}

// cause is why a connection has failed that its endpoint did not break, or nil.
func (f *fetch) cause(err error) error {
	switch {
	case f.ctx.Err() != nil:
		return f.ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrDeadline
	}
	return nil
}

// noAnswer is why there is none.
func (f *fetch) noAnswer(err error) error {
	if why := f.cause(err); why != nil {
		return why
	}
	return fmt.Errorf("%w: %w", ErrNoAnswer, err)
}

// receive takes the head of the answer, for whoever reads the body.
func (f *fetch) receive(r *http.Request) (*http.Response, error) {
	for interim := 0; ; interim++ {
		if err := f.readHead(); err != nil {
			if interim == 0 && f.from.w == 0 && f.conn.used && hungUp(err) {
				err = fmt.Errorf("%w: %w", ErrClosedIdle, err)
			}
			return nil, f.noAnswer(err)
		}
		switch {
		case f.res.Status == http.StatusSwitchingProtocols:
			return nil, f.noAnswer(errSwitched)
		case interim >= mostInterim:
			return nil, f.noAnswer(errManyInterim)
		case f.res.Status >= http.StatusOK:
			return f.answer(r), nil
		}
		f.from.reset()
	}
}

// readHead reads and parses one head.
func (f *fetch) readHead() error {
	for seen := 0; ; {
		end, next, err := headEnd(f.from.buffered(), seen)
		if err != nil {
			return err
		}
		if end > f.pool.cfg.HeadBytes || end == 0 && f.from.w-f.from.r >= f.pool.cfg.HeadBytes {
			return errHeadLong
		}
		if end > 0 {
			head := f.from.buffered()[:end]
			f.from.r += end
			f.from.floor = f.from.r
			return f.res.parse(head, f.method, defaultMostFields*4)
		}
		seen = next
		if err := f.from.fill(); err != nil {
			return err
		}
	}
}

// answer is what came, in net/http's form. The fetch lives on in its body, if it has one.
func (f *fetch) answer(r *http.Request) *http.Response {
	res := &f.res
	answer := &http.Response{
		StatusCode: res.Status, Status: strconv.Itoa(res.Status) + " " + string(res.reason),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: int(res.minor), Header: make(http.Header, len(res.Fields)),
		ContentLength: max(res.length, -1), Request: r, Body: http.NoBody,
	}
	if res.minor == 0 {
		answer.Proto = "HTTP/1.0"
	}
	for i := range res.Fields {
		field := &res.Fields[i]
		switch field.kind {
		case kindContentLength:
			answer.Header["Content-Length"] = []string{string(field.Value)} // if repeated, the same
		case plain, kindHost, kindExpect:
			name := http.CanonicalHeaderKey(string(field.Name))
			answer.Header[name] = append(answer.Header[name], string(field.Value))
		case kindTrailer:
			if res.length == chunked {
				eachToken(field.Value, func(name []byte) { addTrailer(answer, name) })
			}
		}
	}
	if string(f.method) == http.MethodHead {
		answer.ContentLength = -1
		if res.sized {
			answer.ContentLength = res.declared
		}
	}
	if res.length < 0 {
		_ = f.conn.tcp.SetDeadline(time.Time{}) // what has no foreseeable end has no deadline; an error shows when it is read
	}
	f.from.floor = 0 // the head is copied
	if f.body.begin(&f.from, res.length); f.body.ended() {
		f.end(true)
		return answer
	}
	answer.Body = &fetchedBody{fetch: f, answer: answer}
	return answer
}

// addTrailer announces a trailer, as net/http does, or adds what has come of one.
func addTrailer(answer *http.Response, name []byte, values ...string) {
	if !isToken(name) || kindOf(name) != plain {
		return // it would frame the message, or is of one connection
	}
	if answer.Trailer == nil {
		answer.Trailer = http.Header{}
	}
	key := http.CanonicalHeaderKey(string(name))
	answer.Trailer[key] = append(answer.Trailer[key], values...)
}

// drop closes the connection.
func (f *fetch) drop() {
	f.conn.close()
	f.conn = nil
}

// end gives everything back, and the connection to its pool if the answer is whole.
func (f *fetch) end(whole bool) {
	if e := f.conn; e != nil {
		mine := f.unhook()
		if mine && whole && f.res.keepAlive && f.from.r == f.from.w && e.tcp.SetDeadline(time.Time{}) == nil {
			f.pool.put(e)
		} else {
			e.close()
		}
	}
	f.ctx, f.pool, f.conn, f.unhook, f.from.conn = nil, nil, nil, nil, nil
	if len(f.from.buf) > bufferBytes || cap(f.out) > 4*bufferBytes {
		return // a long head has made them grow
	}
	clear(f.names)
	f.client.fetches.Put(f)
}

// fetchedBody is the body of an answer.
type fetchedBody struct {
	fetch  *fetch // nil once it has ended
	answer *http.Response
	err    error // why
}

// Read returns io.EOF with the last bytes.
func (b *fetchedBody) Read(p []byte) (int, error) {
	f := b.fetch
	if f == nil {
		return 0, b.err
	}
	n, err := f.body.Read(p)
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		b.takeTrailers()
	default:
		if why := f.cause(err); why != nil {
			err = why
		}
	}
	b.end(err)
	return n, err
}

func (b *fetchedBody) takeTrailers() {
	for rest := b.fetch.body.trailer; len(rest) > 0; {
		var line []byte
		line, rest = cutLine(rest)
		if field, err := parseField(line); err == nil { // as it was when the trailer was read
			addTrailer(b.answer, field.Name, string(field.Value))
		}
	}
}

// Close gives up what was not read. It never fails.
func (b *fetchedBody) Close() error {
	b.end(http.ErrBodyReadAfterClose)
	return nil
}

func (b *fetchedBody) end(err error) {
	if b.fetch == nil {
		return
	}
	b.err = err
	b.fetch.end(err == io.EOF)
	b.fetch = nil
}
