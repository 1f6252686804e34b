package http1

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// TestExchangeContext looks at a context that ends before, and after, somebody waits for it: it is as package context's own.
func TestExchangeContext(t *testing.T) {
	for _, waitsFirst := range []bool{false, true} {
		e := &exchangeContext{}
		if err := e.Err(); err != nil {
			t.Errorf("alive, with %v", err)
		}
		var child context.Context
		if waitsFirst {
			var cancel context.CancelFunc
			child, cancel = context.WithTimeout(e, time.Hour)
			defer cancel()
			select {
			case <-e.Done():
				t.Error("ended before its end")
			case <-child.Done():
				t.Error("its child ended before its end")
			default:
			}
			if err, cause := e.Err(), context.Cause(e); err != nil || cause != nil {
				t.Errorf("alive, with %v, because of %v", err, cause)
			}
		}
		e.cancel(ErrClientGone)
		e.cancel(ErrDeadline)
		if err, cause := e.Err(), context.Cause(e); err != context.Canceled || cause != ErrClientGone {
			t.Errorf("ended with %v, because of %v", err, cause)
		}
		<-e.Done()
		if !waitsFirst {
			var cancel context.CancelFunc
			child, cancel = context.WithCancel(e)
			defer cancel()
		}
		<-child.Done()
		if err, cause := child.Err(), context.Cause(child); err != context.Canceled || cause != ErrClientGone {
			t.Errorf("its child ended with %v, because of %v", err, cause)
		}
	}
}

// TestExchangeContext_Race ends a context while others begin to wait.
func TestExchangeContext_Race(t *testing.T) {
	for range 200 {
		var all sync.WaitGroup
		e := &exchangeContext{}
		for _, why := range []error{ErrClientGone, ErrDeadline} {
			all.Go(func() { e.cancel(why) })
			all.Go(func() {
				ctx, cancel := context.WithCancel(e)
				defer cancel()
				<-ctx.Done()
				if cause := context.Cause(e); !errors.Is(cause, ErrClientGone) && !errors.Is(cause, ErrDeadline) || e.Err() == nil {
					t.Errorf("because of %v, with %v", cause, e.Err())
				}
			})
		}
		all.Wait()
	}
}
