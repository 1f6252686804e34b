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

// call is one call of a function: where it is counted, where it has been, and what ends it. It belongs to one goroutine.
type call struct {
	p *Proxy
	f *function.Function
	// waitUntil is when a wait for an endpoint ends.
	waitUntil time.Time
	// refused are the endpoints that could not be reached since the last change.
	refused []function.Endpoint

	// queue is where the call is counted as waiting, or nil.
	queue *activity
	// at is where it is counted as in flight, or nil; address is the endpoint's.
	at      *activity
	address string

	cancel context.CancelFunc
	timer  *time.Timer
	// expired is set when the timer has ended the call.
	expired atomic.Bool
}

func (p *Proxy) newCall(f *function.Function) *call {
	return &call{p: p, f: f, waitUntil: time.Now().Add(p.cfg.WakeTimeout)}
}

// roundTrip finds an endpoint, hands it r and returns its answer. The call is counted, and its answer's body can be read,
// until end.
func (c *call) roundTrip(r *http.Request, body *sentBody) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	c.cancel = cancel
	for {
		endpoint, err := c.acquire(ctx, body)
		if err != nil {
			return nil, err
		}
		c.startTimer()
		answer, reached, err := c.attempt(ctx, r, body, endpoint)
		if err == nil {
			c.keepTimer(answer)
			return answer, nil
		}
		if reached || ctx.Err() != nil || body.failure() != nil || !body.rewind() {
			return nil, c.explain(r.Context(), body.failure(), err)
		}
		c.release()
		c.refused = append(c.refused, endpoint)
	}
}

// attempt sends r to one endpoint. reached is whether some of it may have arrived there.
func (c *call) attempt(ctx context.Context, r *http.Request, body *sentBody, endpoint function.Endpoint) (answer *http.Response, reached bool, err error) {
	var trace footprint
	out := r.WithContext(trace.watch(ctx))
	url := *r.URL
	url.Scheme, url.Host = "http", endpoint.Address
	out.URL, out.Close, out.GetBody = &url, false, nil
	if body.source == nil {
		withoutReplay(out)
	} else {
		out.Body = body.reader()
	}
	answer, err = c.p.forwarder.transport.RoundTrip(out)
	return answer, trace.reached(), err
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
func (c *call) startTimer() {
	c.timer = time.AfterFunc(c.p.cfg.Timeout, func() {
		c.expired.Store(true)
		c.cancel()
	})
}

// keepTimer takes the deadline from what has no foreseeable end.
func (c *call) keepTimer(answer *http.Response) {
	if answer.ContentLength < 0 || answer.StatusCode == http.StatusSwitchingProtocols {
		c.timer.Stop()
	}
}

// explain turns an error of the transport into one of ours.
func (c *call) explain(caller context.Context, bodyErr, err error) error {
	switch {
	case c.expired.Load():
		return timedOut(c.f.Ref)
	case bodyErr != nil:
		return bodyFailure(caller, bodyErr)
	case caller.Err() != nil:
		return canceled(err)
	default:
		return unreachable(c.f.Ref, err)
	}
}

// release takes the call off its endpoint.
func (c *call) release() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if c.at != nil {
		c.at.end(c.address, time.Now())
		c.at = nil
	}
}

// end takes back all that the call holds. What is left unread of the answer's body cannot be read any more.
func (c *call) end() {
	c.release()
	if c.cancel != nil {
		c.cancel()
	}
}
