package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// sweepEntries is how many entries of a dropped heap are deleted in one transaction.
const sweepEntries = 5000

// maintain works in the background until the Store is closed.
func (s *Store) maintain() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.background.Go(func() {
		<-s.closing
		cancel()
	})
	s.background.Go(func() { s.renew(ctx) })
	ticker := time.NewTicker(maintainEvery)
	defer ticker.Stop()
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("heap store not swept; it will be tried again", "err", err)
		}
		select {
		case <-ticker.C:
		case <-s.swept:
		case <-ctx.Done():
			return
		}
	}
}

// sweepSoon has the background sweep now.
func (s *Store) sweepSoon() {
	select {
	case s.swept <- struct{}{}:
	default: // it will look again anyway
	}
}

// sweep deletes what dropped heaps have left and what providers that are gone have left.
func (s *Store) sweep(ctx context.Context) error {
	for {
		var more bool
		err := attempt(ctx, func(ctx context.Context) (err error) {
			more, err = s.sweepDropped(ctx)
			return err
		})
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	return attempt(ctx, func(ctx context.Context) error {
		// A lane that is only idle gets its row back with its next transaction.
		if _, err := s.pool.Exec(ctx, "DELETE FROM dc_lanes WHERE at < now() - interval '1 day'"); err != nil {
			return err
		}
		_, err := s.pool.Exec(ctx, sqlTrim, s.recordAge, heapstore.MaxRecords, heapstore.MaxRecordBytes, sweepEntries)
		return err
	})
}

// sqlTrim deletes some of the records that are too old or too many, and leaves each heap's newest.
const sqlTrim = `DELETE FROM dc_calls WHERE (heap, id) IN (SELECT heap, id FROM (
		SELECT heap, id, at, row_number() OVER newest AS number, sum(octet_length(record)) OVER newest AS bytes
		FROM dc_calls WINDOW newest AS (PARTITION BY heap ORDER BY at DESC, id)
	) AS c WHERE number > 1 AND (at < now() - $1::interval OR number > $2 OR bytes > $3) LIMIT $4)`

// sweepDropped deletes some entries of a dropped heap, and reports whether there was one. Two providers that sweep at once
// take different heaps.
func (s *Store) sweepDropped(ctx context.Context) (more bool, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var heap int64
		err := tx.QueryRow(ctx, "SELECT heap FROM dc_dropped LIMIT 1 FOR UPDATE SKIP LOCKED").Scan(&heap)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		more = true
		deleted, err := tx.Exec(ctx, `DELETE FROM dc_entries WHERE heap = $1 AND key IN (SELECT key FROM dc_entries WHERE heap = $1 LIMIT $2)`,
			heap, sweepEntries)
		if err != nil || deleted.RowsAffected() == sweepEntries {
			return err
		}
		if _, err := tx.Exec(ctx, "DELETE FROM dc_calls WHERE heap = $1", heap); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "DELETE FROM dc_dropped WHERE heap = $1", heap)
		return err
	})
	return more, err
}
