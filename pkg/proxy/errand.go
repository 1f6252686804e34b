package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/dragonchain/dc-provider/pkg/http1"
)

// errand is the way of a call that RoundTrip makes, through package http1: its body is small, and whoever asked reads the answer.
type errand struct {
	call *call
	ctx  context.Context // of the caller
	r    *http.Request
	body []byte // once it is read
	// answer is nil until there is one.
	answer *http.Response
}

// newErrand returns the way of c, by which r goes, or nil if r is not plain enough.
func newErrand(ctx context.Context, c *call, r *http.Request) *errand {
	unknown := r.ContentLength < 0 || r.ContentLength == 0 && r.Body != nil && r.Body != http.NoBody
	if unknown || r.ContentLength > aheadBytes || !http1.CanSend(r) {
		return nil
	}
	return &errand{call: c, ctx: ctx, r: r}
}

// run makes the call and returns the answer, whose body ends the call when it is closed.
func (e *errand) run() (*http.Response, error) {
	if err := e.call.run(e); err != nil {
		e.call.end()
		return nil, err
	}
	if entry := e.call.entry; entry != nil {
		e.answer.Body = loggedBody{e.answer.Body, entry}
	}
	e.answer.Body = &errandBody{e.answer.Body, e.call}
	return e.answer, nil
}

func (e *errand) caller() context.Context { return e.ctx }

func (e *errand) readAhead(time.Time) error { return nil } // there is no connection on which a caller's leaving would be hidden by it

func (e *errand) attempt(c *call) outcome {
	pool, err := c.p.poolOf(c.slot)
	if err != nil {
		return outcome{failed: err, again: true}
	}
	if e.body == nil && e.r.ContentLength > 0 {
		body := make([]byte, e.r.ContentLength)
		if _, err := io.ReadFull(e.r.Body, body); err != nil {
			return outcome{ended: bodyFailure(e.ctx, err)}
		}
		e.body = body
	}
	answer, dialed, err := c.p.client.RoundTrip(e.ctx, pool, e.r, e.body, c.placed.Add(c.p.cfg.Timeout))
	again := errors.Is(err, http1.ErrNotReached)
	c.phases[phaseConnect] += dialed
	if !again {
		c.phases[phaseFunction] += time.Since(c.placed) - dialed
	}
	switch {
	case err == nil:
		e.answer = answer
		c.answered(answer.StatusCode)
		return outcome{}
	case errors.Is(err, http1.ErrDeadline):
		return outcome{ended: timedOut(c.f.Ref)}
	case e.ctx.Err() != nil:
		return outcome{ended: canceled(context.Cause(e.ctx))}
	}
	return outcome{failed: err, again: again}
}

// errandBody is an answer's body whose closing ends the call.
type errandBody struct {
	io.ReadCloser
	call *call
}

// Read tells the call's deadline from its caller's leaving.
func (b *errandBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, http1.ErrDeadline) {
		err = timedOut(b.call.f.Ref)
	}
	return n, err
}

func (b *errandBody) Close() error {
	err := b.ReadCloser.Close()
	b.call.end()
	return err
}
