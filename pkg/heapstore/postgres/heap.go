package postgres

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/driver"
)

const (
	sqlExists = `SELECT EXISTS (SELECT FROM dc_heaps WHERE namespace = $1 AND name = $2 AND record = $3)`
	sqlCreate = `INSERT INTO dc_heaps (namespace, name, record) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`
	sqlDrop   = `WITH gone AS (DELETE FROM dc_heaps WHERE namespace = $1 AND name = $2 AND record = $3 RETURNING id)
		INSERT INTO dc_dropped (heap) SELECT id FROM gone`
	sqlGet = `SELECT e.value, e.version, e.call, e.at FROM dc_heaps h LEFT JOIN dc_entries e ON e.heap = h.id AND e.key = $4
		WHERE h.namespace = $1 AND h.name = $2 AND h.record = $3`
	sqlRecorded = `SELECT c.record FROM dc_heaps h LEFT JOIN dc_calls c ON c.heap = h.id AND c.id = $4
		WHERE h.namespace = $1 AND h.name = $2 AND h.record = $3`
	// One row with a null key stands for a heap without such keys.
	sqlList = `SELECT e.key FROM dc_heaps h LEFT JOIN LATERAL (
			SELECT key FROM dc_entries WHERE heap = h.id AND key >= $4 AND ($5::bytea IS NULL OR key < $5) ORDER BY key LIMIT $6
		) e ON true WHERE h.namespace = $1 AND h.name = $2 AND h.record = $3 ORDER BY e.key`
	// The last one is the one with which the values have more than $7 bytes.
	sqlEntriesFrom = `SELECT e.key, e.value, e.version, e.call, e.at FROM dc_heaps h LEFT JOIN LATERAL (
			SELECT * FROM (
				SELECT *, sum(octet_length(value)) OVER (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM (
					SELECT * FROM dc_entries WHERE heap = h.id AND key >= $4 AND ($5::bytea IS NULL OR key < $5) ORDER BY key LIMIT $6
				) AS page
			) AS summed WHERE before IS NULL OR before <= $7
		) e ON true WHERE h.namespace = $1 AND h.name = $2 AND h.record = $3 ORDER BY e.key`
	sqlUsage = `SELECT h.bytes, (SELECT count(*) FROM dc_entries WHERE heap = h.id)
		FROM dc_heaps h WHERE h.namespace = $1 AND h.name = $2 AND h.record = $3`
)

// Create is heapstore.Store's.
func (s *Store) Create(ctx context.Context, h heapstore.Heap) error {
	if err := driver.CheckHeap(h); err != nil {
		return err
	}
	err := s.retry(ctx, func(ctx context.Context) error {
		// A reconciler repeats this at every turn; a look writes nothing and takes no number from the sequence.
		var there bool
		if err := s.pool.QueryRow(ctx, sqlExists, h.Namespace, h.Name, h.ID).Scan(&there); err != nil || there {
			return err
		}
		_, err := s.pool.Exec(ctx, sqlCreate, h.Namespace, h.Name, h.ID)
		return err
	})
	return driver.Wrap("create heap of", h, err)
}

// Drop is heapstore.Store's. The heap is gone at once, and what was in it is deleted in the background.
func (s *Store) Drop(ctx context.Context, h heapstore.Heap) error {
	err := s.retry(ctx, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, sqlDrop, h.Namespace, h.Name, h.ID); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, sqlDropQueue, h.Namespace, h.Name, h.ID)
			return err
		})
	})
	if err == nil {
		s.sweepSoon()
	}
	return driver.Wrap("drop heap of", h, err)
}

// Get is heapstore.Store's.
func (s *Store) Get(ctx context.Context, h heapstore.Heap, key string) (heapstore.Entry, error) {
	var r entryRow
	err := s.retry(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, sqlGet, h.Namespace, h.Name, h.ID, []byte(key)).Scan(&r.value, &r.version, &r.call, &r.at)
	})
	r.key = []byte(key)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		err = heapstore.ErrNoHeap
	case err == nil && r.value == nil:
		err = heapstore.ErrNoKey
	case err == nil:
		return r.entry(), nil
	}
	return heapstore.Entry{}, driver.Wrap("read heap of", h, err)
}

// entryRow is a row of dc_entries, or one of NULLs.
type entryRow struct {
	key, value, call []byte
	version          *int64
	at               *time.Time
}

func (r entryRow) entry() heapstore.Entry {
	e := heapstore.Entry{Key: string(r.key), Value: r.value, Version: uint64(*r.version), CallID: string(r.call)}
	if r.at != nil {
		e.At = *r.at
	}
	return e
}

// Recorded is heapstore.Store's.
func (s *Store) Recorded(ctx context.Context, h heapstore.Heap, callID string) (r heapstore.Record, found bool, err error) {
	var encoded []byte
	err = s.retry(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, sqlRecorded, h.Namespace, h.Name, h.ID, []byte(callID)).Scan(&encoded)
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		err = heapstore.ErrNoHeap
	case err == nil && encoded != nil:
		r, err = driver.DecodeRecord(encoded)
		found = err == nil
	}
	return r, found, driver.Wrap("look up a call of", h, err)
}

// List is heapstore.Store's.
func (s *Store) List(ctx context.Context, h heapstore.Heap, prefix, after string, limit int) (keys []string, next string, err error) {
	limit = driver.ListLimit(limit)
	var found [][]byte
	err = s.retry(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, sqlList, h.Namespace, h.Name, h.ID, from(prefix, after), behind(prefix), limit+1)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, pgx.RowTo[[]byte])
		return err
	})
	if err == nil && len(found) == 0 {
		err = heapstore.ErrNoHeap
	}
	if err != nil {
		return nil, "", driver.Wrap("list heap of", h, err)
	}
	keys = []string{}
	for _, key := range found {
		switch {
		case key == nil:
		case len(keys) == limit:
			next = keys[limit-1]
		default:
			keys = append(keys, string(key))
		}
	}
	return keys, next, nil
}

// Entries is heapstore.Store's.
func (s *Store) Entries(
	ctx context.Context, h heapstore.Heap, prefix, after string, limit int,
) (entries []heapstore.Entry, next string, err error) {
	limit = driver.ListLimit(limit)
	var found []entryRow
	err = s.retry(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, sqlEntriesFrom, h.Namespace, h.Name, h.ID, from(prefix, after), behind(prefix), limit,
			heapstore.MaxEntriesBytes)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r entryRow, err error) {
			return r, row.Scan(&r.key, &r.value, &r.version, &r.call, &r.at)
		})
		return err
	})
	if err == nil && len(found) == 0 {
		err = heapstore.ErrNoHeap
	}
	if err != nil {
		return nil, "", driver.Wrap("read heap of", h, err)
	}
	entries = []heapstore.Entry{}
	bytes := 0
	for _, r := range found {
		if r.key != nil {
			entries, bytes = append(entries, r.entry()), bytes+len(r.value)
		}
	}
	if len(entries) == limit || bytes > heapstore.MaxEntriesBytes {
		last := entries[len(entries)-1].Key
		more, _, err := s.List(ctx, h, prefix, last, 1)
		if err != nil {
			return nil, "", err
		}
		if len(more) > 0 {
			next = last
		}
	}
	return entries, next, nil
}

// Usage is heapstore.Store's.
func (s *Store) Usage(ctx context.Context, h heapstore.Heap) (usage heapstore.Usage, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, sqlUsage, h.Namespace, h.Name, h.ID).Scan(&usage.Bytes, &usage.Keys)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = heapstore.ErrNoHeap
	}
	return usage, driver.Wrap("read heap of", h, err)
}

// from returns the first key that List may return: the first that can come after another is that with a NUL appended.
func from(prefix, after string) []byte {
	if after == "" {
		return []byte(prefix)
	}
	return []byte(max(prefix, after+"\x00"))
}

// behind returns the first key that is behind all those with a prefix, or nil if there is none.
func behind(prefix string) []byte {
	// Of 0xff there is no next byte, so the one before it counts on.
	b := bytes.TrimRight([]byte(prefix), "\xff")
	if len(b) == 0 {
		return nil
	}
	b[len(b)-1]++
	return b
}
