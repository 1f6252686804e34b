package proxy

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// trip is the way of a call through net/http, which returns when there is an answer whose body can be read.
type trip struct {
	call *call
	// r is the request as the function is to see it. Its context ends with the caller, with the deadline, and with the trip.
	r    *http.Request
	body *sentBody
	// answer is nil until there is one.
	answer *http.Response

	cancel context.CancelFunc
	timer  *time.Timer
	// expired is set when the timer has ended the call.
	expired atomic.Bool
}

// newTrip returns the way of c, by which r goes.
func newTrip(c *call, r *http.Request) *trip {
	ctx, cancel := context.WithCancel(r.Context())
	r = r.WithContext(ctx)
	return &trip{call: c, r: r, body: newSentBody(r, c.keeps), cancel: cancel}
}

// run makes the call and returns the answer, whose body can be read until end.
func (t *trip) run() (*http.Response, error) {
	if err := t.call.run(t); err != nil {
		return nil, err
	}
	if entry := t.call.entry; entry != nil && t.answer.StatusCode != http.StatusSwitchingProtocols {
		t.answer.Body = loggedBody{t.answer.Body, entry}
	}
	return t.answer, nil
}

func (t *trip) caller() context.Context { return t.r.Context() }

func (t *trip) readAhead(deadline time.Time) error {
	if err := t.body.readAhead(deadline); err != nil {
		return bodyFailure(t.r.Context(), err)
	}
	return nil
}

func (t *trip) attempt(c *call) outcome {
	t.startTimer()
	answer, trace, err := t.send(c.slot.endpoint)
	t.timeAttempt(trace, err)
	if err == nil {
		t.answer = answer
		c.answered(answer.StatusCode)
		t.keepTimer()
		return outcome{}
	}
	if t.r.Context().Err() != nil || t.body.failure() != nil {
		return outcome{ended: t.explain(err)}
	}
	t.stopTimer()
	return outcome{failed: err, again: !trace.reached() && t.body.rewind()}
}

// timeAttempt adds an attempt's time to the phases that it was in.
func (t *trip) timeAttempt(trace *footprint, err error) {
	begun, now := t.call.placed, time.Now()
	if err != nil && trace.conn == nil {
		t.call.phases[phaseConnect] += now.Sub(begun)
		return
	}
	if !trace.connected.IsZero() {
		t.call.phases[phaseConnect] += trace.connected.Sub(begun)
		begun = trace.connected
	}
	t.call.phases[phaseFunction] += now.Sub(begun)
}

// send sends the request to one endpoint. The footprint tells whether some of it may have arrived there.
func (t *trip) send(endpoint function.Endpoint) (*http.Response, *footprint, error) {
	trace := new(footprint)
	out := t.r.WithContext(trace.watch(t.r.Context()))
	url := *t.r.URL
	url.Scheme, url.Host = "http", endpoint.Address
	out.URL, out.Close, out.GetBody = &url, false, nil
	if t.body.source == nil {
		withoutReplay(out)
	} else {
		out.Body = t.body.reader()
	}
	answer, err := t.call.p.forwarder.transport.RoundTrip(out)
	return answer, trace, err
}

// withoutReplay keeps http.Transport from sending a request without a body a second time, which it does for these methods
// when a connection that was used before breaks: the function may have run by then. What has a body that cannot be had
// again is sent once, so an empty one is given; "identity" spares the probe that would find it empty.
func withoutReplay(r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		r.Body = io.NopCloser(strings.NewReader(""))
		r.TransferEncoding = []string{"identity"}
	}
}

// startTimer begins the time that an endpoint has for its answer.
func (t *trip) startTimer() {
	t.timer = time.AfterFunc(t.call.p.cfg.Timeout, func() {
		t.expired.Store(true)
		t.cancel()
	})
}

// keepTimer takes the deadline from what has no foreseeable end.
func (t *trip) keepTimer() {
	if t.answer.ContentLength < 0 || t.answer.StatusCode == http.StatusSwitchingProtocols {
		t.timer.Stop()
	}
}

func (t *trip) stopTimer() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}

// explain tells why a call was ended that its endpoint did not end.
func (t *trip) explain(err error) error {
	switch bodyErr := t.body.failure(); {
	case t.expired.Load():
		return timedOut(t.call.f.Ref)
	case bodyErr != nil:
		return bodyFailure(t.r.Context(), bodyErr)
	default:
		return canceled(err)
	}
}

// end ends the call. What is left unread of the answer's body cannot be read any more. It may be called again.
func (t *trip) end() {
	t.stopTimer()
	t.call.end()
	t.cancel()
}
