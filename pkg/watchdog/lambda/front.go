package lambda

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// readGrace is what the caller gets, after the end of the invocation's time, to read the reply.
const readGrace = time.Second

// ServeHTTP is one invocation. At the path of Lambda's Invoke API it has that API's semantics, so that AWS's tools can call the
// function; at any other path the body is the event, and the answer is the answer.
func (p *Pool) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch apiOf(r.URL.Path) {
	case invokeAPI:
		p.serveInvoke(w, r)
	case invokeAsyncAPI:
		p.serveInvokeAsync(w, r)
	case invokeStreamAPI:
		p.serveInvokeStream(w, r)
	default:
		p.serveRaw(w, r)
	}
}

// serveRaw takes any method and path.
func (p *Pool) serveRaw(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	inv, release, err := p.newInvocation(w, r)
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	defer release()
	o, err := p.invoke(r.Context(), inv)
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	defer o.done()
	h := w.Header()
	h.Set(headerAWSRequestID, inv.id)
	h.Set("X-Duration-Seconds", strconv.FormatFloat(time.Since(started).Seconds(), 'f', 6, 64))
	if o.stream != nil {
		p.sendStream(w, inv, &o)
		return
	}
	if p.cfg.HTTPEvents && o.kind == answered {
		p.sendHTTP(w, inv, &o)
		return
	}
	p.sendWhole(w, inv, &o)
}

func (p *Pool) sendWhole(w http.ResponseWriter, inv *invocation, o *outcome) {
	status := rawStatus[o.kind]
	p.note(inv, status)
	if o.kind != answered {
		w.Header().Set(headerFunctionError, unhandled)
	}
	if o.kind > functionErr {
		w.Header().Set("X-OpenFaaS-Internal", "dc-watchdog")
	}
	p.sendReply(w, inv, o, status, "application/json", o.body)
}

// sendReply sends what is in memory.
func (p *Pool) sendReply(w http.ResponseWriter, inv *invocation, o *outcome, status int, contentType string, body []byte) {
	defer p.boundReply(w, inv, o)()
	send(w, status, contentType, body)
}

// boundReply bounds how long the caller may take to read what is in memory, until done is called: he keeps it from others. He has as
// long as his invocation might have taken, but only a few seconds when others wait for the memory.
func (p *Pool) boundReply(w http.ResponseWriter, inv *invocation, o *outcome) (done func()) {
	control := http.NewResponseController(w)
	// The server sets another for the next request. Not every writer can do it; that of an http.Server can.
	_ = control.SetWriteDeadline(time.Now().Add(max(time.Until(inv.deadline), 0) + readGrace))
	if o.release == nil {
		return func() {} // nobody waits for as little
	}
	return p.replies.hold(func() {
		p.log.Warn("a caller that is slow to read its answer was cut off, for others wait for the memory", "call_id", inv.id)
		_ = control.SetWriteDeadline(time.Now()) // as above
	})
}

var rawStatus = map[kind]int{
	answered:    http.StatusOK,
	functionErr: http.StatusInternalServerError,
	crashed:     http.StatusBadGateway,
	initFailed:  http.StatusBadGateway,
	timedOut:    http.StatusGatewayTimeout,
}

// sendStream passes an answer on as it comes. One that does not end well is broken off, so that nobody takes it for whole.
func (p *Pool) sendStream(w http.ResponseWriter, inv *invocation, o *outcome) {
	head := prelude{StatusCode: http.StatusOK, Headers: map[string]string{"Content-Type": orDefault(o.contentType, "application/octet-stream")}}
	body, err := io.Reader(o.stream), error(nil)
	if mediaType(o.contentType) == preludeType {
		head, body, err = readPrelude(o.stream)
	}
	buffer, n := make([]byte, copyBytes), 0
	if err == nil {
		n, err = body.Read(buffer) // before the status is sent: an error that comes first can still be told as one
	}
	if err != nil && err != io.EOF {
		p.sendWhole(w, inv, brokenAnswer(inv, err))
		return
	}
	head.set(w.Header())
	p.note(inv, head.StatusCode)
	w.WriteHeader(head.StatusCode)
	flush := http.NewResponseController(w)
	for {
		if _, writeErr := w.Write(buffer[:n]); writeErr != nil {
			return // the caller has left
		}
		_ = flush.Flush() // fails if the caller has left, as the next write will
		if err == io.EOF {
			return
		}
		if err != nil {
			p.log.Warn("a streamed answer broke off", "call_id", inv.id, "err", err)
			panic(http.ErrAbortHandler)
		}
		n, err = body.Read(buffer)
	}
}

// brokenAnswer is the outcome of an answer that cannot be passed on.
func brokenAnswer(inv *invocation, err error) *outcome {
	var fault *streamError
	switch {
	case errors.As(err, &fault):
		return &outcome{kind: functionErr, body: fault.body}
	case errors.Is(err, errTruncated) && !time.Now().Before(inv.deadline):
		return &outcome{kind: timedOut, body: timeoutError(inv.id, inv.timeout)}
	case errors.Is(err, errTruncated):
		return &outcome{kind: crashed, body: errorJSON("Runtime.TruncatedResponse", err.Error())}
	}
	return &outcome{kind: crashed, body: errorJSON("Runtime.InvalidResponse", err.Error())}
}

func (p *prelude) set(h http.Header) {
	for name, value := range p.Headers {
		h.Set(name, value)
	}
	for _, cookie := range p.Cookies {
		h.Add("Set-Cookie", cookie)
	}
	for _, name := range []string{"Connection", "Content-Length", "Transfer-Encoding", "Trailer", "Upgrade"} {
		h.Del(name) // the connection is ours, and the length is not known
	}
}

// errTooLarge is an event above the limit.
var errTooLarge = errors.New("the event is too large")

// newInvocation reads an event, for as long as the invocation may take. release gives its memory back. Nobody's event is the empty object, as when a function is invoked
// without a payload.
func (p *Pool) newInvocation(w http.ResponseWriter, r *http.Request) (inv *invocation, release func(), err error) {
	timeout := p.cfg.timeout(r)
	deadline := time.Now().Add(timeout)
	limit := p.cfg.PayloadBytes
	body, err := p.readEvent(w, r, deadline)
	if err != nil {
		return nil, nil, err
	}
	if body.size > limit {
		return nil, nil, errTooLarge
	}
	id := r.Header.Get("X-Call-Id")
	if !isUUID(id) {
		id = newUUID()
	}
	event := body.data
	if p.cfg.HTTPEvents && apiOf(r.URL.Path) == noAPI {
		if event = httpEvent(r, id, body.data, time.Now()); int64(len(event)) > limit {
			body.release()
			return nil, nil, errTooLarge
		}
	} else if len(event) == 0 {
		event = []byte("{}")
	}
	return &invocation{
		log: p.newLog(id, false), id: id, event: event, timeout: timeout, deadline: deadline, traceID: r.Header.Get("X-Amzn-Trace-Id"),
		outcome: make(chan outcome, 1),
	}, body.release, nil
}

// readEvent reads the body of r, until deadline: a caller that stops sending must not keep the memory from others.
func (p *Pool) readEvent(w http.ResponseWriter, r *http.Request, deadline time.Time) (payload, error) {
	ctx, giveUp := context.WithCancelCause(r.Context())
	defer giveUp(nil)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cut)
		// The server sets another for the next request. Not every writer can do it; that of an http.Server can.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	})
	body, err := p.events.read(ctx, r.Body, r.ContentLength, p.cfg.PayloadBytes, 0, func() { giveUp(errLate) })
	if !stop() {
		<-cut // it must not hit the next request
	}
	switch {
	case err == nil:
		return body, nil
	case context.Cause(ctx) == errLate:
		return body, errLate // and others wait for the memory
	case errors.Is(err, context.DeadlineExceeded):
		return body, errBusy // other events have had the memory all the time
	case errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(deadline): // or it was the server's end
		return body, errLate
	}
	return body, fmt.Errorf("read the event: %w", err)
}

// refuse answers a request that no process has got.
func (p *Pool) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadRequest
	switch {
	// A read that is out of time ends the context too.
	case r.Context().Err() != nil && !errors.Is(err, errTooLarge) && !errors.Is(err, errLate):
		p.log.Debug("caller went away", "path", r.URL.Path)
		panic(http.ErrAbortHandler) // so that no empty 200 goes to a client that has only closed its sending side
	case errors.Is(err, errBusy):
		w.Header().Set("Retry-After", "1")
		status = http.StatusTooManyRequests
		reject(w, status, "TooManyRequestsException", "Rate Exceeded.", "ConcurrentInvocationLimitExceeded")
	case errors.Is(err, errNotReady), errors.Is(err, errClosed):
		w.Header().Set("Retry-After", "1")
		status = http.StatusServiceUnavailable
		reject(w, status, "ServiceException", err.Error(), "")
	case errors.Is(err, errLate):
		status = http.StatusRequestTimeout
		reject(w, status, "RequestTimeoutException", err.Error(), "")
	case errors.Is(err, errTooLarge):
		status = http.StatusRequestEntityTooLarge
		reject(w, status, "RequestTooLargeException",
			fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", p.cfg.PayloadBytes), "")
	default:
		reject(w, status, "InvalidRequestContentException", err.Error(), "")
	}
	p.log.Debug("invocation refused", "path", r.URL.Path, "status", status, "err", err)
}

// reject answers in the form of the Invoke API's errors.
func reject(w http.ResponseWriter, status int, exception, message, reason string) {
	w.Header().Set("X-Amzn-Errortype", exception)
	w.Header().Set("X-OpenFaaS-Internal", "dc-watchdog")
	sendJSON(w, status, struct {
		Reason  string `json:"Reason,omitempty"`
		Type    string `json:"Type"`
		Message string `json:"message"`
	}{reason, "User", message})
}

func (p *Pool) note(inv *invocation, status int) {
	p.log.Debug("invocation ended", "call_id", inv.id, "status", status)
}

// detached is a context that does not end with the request's.
func detached(r *http.Request) context.Context { return context.WithoutCancel(r.Context()) }
