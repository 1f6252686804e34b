package http1

import (
	"context"
	"sync"
	"time"
)

// exchangeContext is what Exchange.Context returns. What can be waited for is made when somebody wants to wait: many who take a context
// only look at it, or not even that.
type exchangeContext struct {
	mu     sync.Mutex
	ended  error // what cancel was told first
	waited context.Context
	end    context.CancelCauseFunc // of waited
}

// wait returns a context that ends with e.
func (e *exchangeContext) wait() context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waited == nil {
		// Of no other context: that of all would be one lock for all, and whatever ends an exchange ends its own (see conn.cancel).
		e.waited, e.end = context.WithCancelCause(context.Background())
		if e.ended != nil {
			e.end(e.ended)
		}
	}
	return e.waited
}

// cancel ends it, if it has not ended.
func (e *exchangeContext) cancel(why error) {
	e.mu.Lock()
	if e.ended == nil {
		e.ended = why
	}
	why, end := e.ended, e.end
	e.mu.Unlock()
	if end != nil {
		end(why)
	}
}

// Err is context.Context's, as are the others.
func (e *exchangeContext) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.waited != nil:
		return e.waited.Err()
	case e.ended != nil:
		return context.Canceled
	}
	return nil
}

func (e *exchangeContext) Done() <-chan struct{} { return e.wait().Done() }

// Value finds what package context keeps there: context.Cause, and contexts that are made of this one.
func (e *exchangeContext) Value(key any) any { return e.wait().Value(key) }

func (e *exchangeContext) Deadline() (time.Time, bool) { return time.Time{}, false }
