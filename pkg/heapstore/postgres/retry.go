package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

const (
	firstPause = 5 * time.Millisecond
	longPause  = 500 * time.Millisecond
)

// transient are the server's errors after which the same may succeed, by their SQLSTATE or its class. With all of them the
// transaction was rolled back, unless the session ended with it, which broken tells.
var transient = []string{
	"40",    // serialization failure, deadlock
	"08",    // connection exception
	"53300", // too many connections
	"55P03", // a lock was not to be had in lock_timeout
	"57P",   // shutdown, crash of another session, starting up
	"25P03", // idle in a transaction: we were stopped for a while
}

// retryable reports whether the same may succeed when it is tried again: after a transient error of the server, or one of
// the connection.
func retryable(err error) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return !errors.Is(err, pgx.ErrNoRows) && !errors.Is(err, heapstore.ErrSchema)
	}
	for _, code := range transient {
		if strings.HasPrefix(answer.Code, code) {
			return true
		}
	}
	return false
}

// broken reports whether the session ended with the error, so that what it was asked last may have been done or not. An
// ERROR of the server rolls the transaction back and leaves the session as it is.
func broken(err error) bool {
	var answer *pgconn.PgError
	return !errors.As(err, &answer) || answer.SeverityUnlocalized != "ERROR"
}

// pauses gives out the waits between attempts, until the patience that began with it is over.
type pauses struct {
	store *Store
	until time.Time
	next  time.Duration
}

func (s *Store) newPauses() *pauses {
	return &pauses{store: s, until: time.Now().Add(s.patience), next: firstPause}
}

// wait waits for the next attempt, or returns an error that says why there is none. cause is why one is needed.
func (p *pauses) wait(ctx context.Context, cause error) error {
	if time.Now().Add(p.next).After(p.until) {
		return fmt.Errorf("%w: %w", heapstore.ErrUnavailable, cause)
	}
	timer := time.NewTimer(p.next)
	defer timer.Stop()
	p.next = min(p.next*2, longPause)
	select {
	case <-timer.C:
		return nil
	case <-p.store.closing:
		return heapstore.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retry does what may be repeated until it succeeds, is refused, or patience or ctx ends.
func (s *Store) retry(ctx context.Context, do func(ctx context.Context) error) error {
	for pauses := s.newPauses(); ; {
		if s.closed() {
			return heapstore.ErrClosed
		}
		err := attempt(ctx, do)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !retryable(err):
			return err
		}
		if err := pauses.wait(ctx, err); err != nil {
			return err
		}
	}
}

// attempt gives one attempt its time.
func attempt(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return do(ctx)
}
