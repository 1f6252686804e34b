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

// call is one call of a function: where it is counted, where it has been, and what ends it. It belongs to one goroutine,
// except while it is in a queue: then the queue's activity may put it at an endpoint.
type call struct {
	p *Proxy
	f *function.Function
	// came is when the call came; waitUntil is when a wait for an endpoint ends.
	came, waitUntil time.Time

	// queue is the activity in whose queue the call was put, or nil. While it is set that activity's mu guards the fields
	// below.
	queue *activity
	// queued is false once the call was taken out of the queue; previous and next are its neighbours there.
	queued         bool
	previous, next *call
	// look gets a word when a waiter has something to look at: a place, or a change.
	look chan struct{}
	// refused are the endpoints that could not be reached since the last change.
	refused []*slot
	// at is where the call is counted as in flight, or nil, slot is its endpoint there, and placed is since when. trial is
	// set if the endpoint's ejection depends on this call.
	at     *activity
	slot   *slot
	placed time.Time
	trial  bool

	// home is where the call was counted when it came, and is when it ends; nil before and after.
	home *activity
	// status is that of the answer, or of the error in its place.
	status int
	// phases are how long the call was in each.
	phases [phases]time.Duration
	// entry is for the access log, or nil.
	entry *accessEntry

	cancel context.CancelFunc
	timer  *time.Timer
	// expired is set when the timer has ended the call.
	expired atomic.Bool
}

func (p *Proxy) newCall(f *function.Function, now time.Time) *call {
	return &call{p: p, f: f, came: now, waitUntil: now.Add(p.cfg.WakeTimeout)}
}

// roundTrip finds an endpoint, hands it r and returns its answer. The call is counted, and its answer's body can be read,
// until end.
func (c *call) roundTrip(r *http.Request, body *sentBody) (*http.Response, error) {
	answer, err := c.makeTrip(r, body)
	if err != nil {
		c.status = c.p.cfg.Status(err)
		if c.entry != nil {
			c.entry.err = err
		}
		return nil, err
	}
	c.status = answer.StatusCode
	if c.entry != nil && answer.StatusCode != http.StatusSwitchingProtocols {
		answer.Body = loggedBody{answer.Body, c.entry}
	}
	return answer, nil
}

func (c *call) makeTrip(r *http.Request, body *sentBody) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	c.cancel = cancel
	for now := c.came; ; now = time.Now() {
		if err := c.acquire(ctx, body, now); err != nil {
			return nil, err
		}
		if c.entry != nil {
			c.entry.endpoint = c.slot.endpoint
		}
		c.startTimer()
		answer, trace, err := c.attempt(ctx, r, body, c.slot.endpoint)
		c.timeAttempt(trace, err)
		if err == nil {
			c.answered()
			c.keepTimer(answer)
			return answer, nil
		}
		if ctx.Err() != nil || body.failure() != nil {
			return nil, c.explain(r.Context(), body.failure(), err)
		}
		at := c.slot
		c.stopTimer()
		c.failed()
		if trace.reached() || !body.rewind() {
			return nil, unreachable(c.f.Ref, err)
		}
		c.refused = append(c.refused, at)
	}
}

// timeAttempt adds an attempt's time to the phases that it was in.
func (c *call) timeAttempt(trace *footprint, err error) {
	begun := c.placed
	switch now := time.Now(); {
	case err != nil && trace.conn == nil:
		c.phases[phaseConnect] += now.Sub(begun)
	case !trace.connected.IsZero():
		c.phases[phaseConnect] += trace.connected.Sub(begun)
		begun = trace.connected
		fallthrough
	default:
		c.phases[phaseFunction] += now.Sub(begun)
	}
}

// attempt sends r to one endpoint. The footprint tells whether some of it may have arrived there.
func (c *call) attempt(ctx context.Context, r *http.Request, body *sentBody, endpoint function.Endpoint) (*http.Response, *footprint, error) {
	trace := new(footprint)
	out := r.WithContext(trace.watch(ctx))
	url := *r.URL
	url.Scheme, url.Host = "http", endpoint.Address
	out.URL, out.Close, out.GetBody = &url, false, nil
	if body.source == nil {
		withoutReplay(out)
	} else {
		out.Body = body.reader()
	}
	answer, err := c.p.forwarder.transport.RoundTrip(out)
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

// explain tells why a call was ended that its endpoint did not end.
func (c *call) explain(caller context.Context, bodyErr, err error) error {
	switch {
	case c.expired.Load():
		return timedOut(c.f.Ref)
	case bodyErr != nil:
		return bodyFailure(caller, bodyErr)
	default:
		return canceled(err)
	}
}

func (c *call) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// end takes back all that the call holds. What is left unread of the answer's body cannot be read any more. It may be
// called again.
func (c *call) end() {
	c.stopTimer()
	if c.at != nil && c.at != c.home { // the function was forgotten and is there again
		c.at.end(c, false)
	}
	if c.home != nil {
		c.home.end(c, true)
	}
	if c.cancel != nil {
		c.cancel()
	}
	if c.entry != nil {
		c.entry.logCall(c.p.cfg.AccessLog, c, time.Now())
		c.entry = nil
	}
}
