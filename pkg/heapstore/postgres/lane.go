package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/driver"
)

// laneCount is how many transactions of commits a Store makes at once. All commits to one heap take the same lane, for they
// wait for each other in any case; several keep a heap whose row another provider holds from stopping all the rest.
const laneCount = 4

// lane makes the commits to some of the heaps, one transaction after the other, each for all that wait.
type lane struct {
	store   *Store
	number  int
	changes *driver.Batcher[*change]
	// seq is the number of the last transaction that was attempted. It belongs to whoever leads.
	seq int64
}

// change is one commit.
type change struct {
	heap       heapstore.Heap
	writes     []heapstore.Write
	conditions []heapstore.Condition
	quotaBytes int64
	// writer is the call id that is kept with the keys.
	writer string
	// callID is empty where nothing is recorded.
	callID string
	record []byte
	queue  queueChange
}

var laneSeed = maphash.MakeSeed()

func (s *Store) laneOf(h heapstore.Heap) *lane {
	return s.lanes[maphash.Comparable(laneSeed, h)%laneCount]
}

// Commit is heapstore.Store's.
func (s *Store) Commit(ctx context.Context, h heapstore.Heap, c heapstore.Commit) error {
	if err := driver.CheckWrites(c.Writes); err != nil {
		return driver.Wrap("commit to heap of", h, err)
	}
	if c.QuotaBytes == 0 {
		c.QuotaBytes = s.quotaBytes
	}
	writes, bytes := driver.LastWrites(c.Writes)
	change := &change{
		heap: h, writes: writes, conditions: c.Conditions, quotaBytes: c.QuotaBytes, writer: driver.Writer(c), callID: c.CallID,
		queue: queueChange{leave: c.Leave, send: c.Send},
	}
	if c.CallID != "" {
		change.record = driver.EncodeRecord(c.Record)
	}
	err := s.laneOf(h).changes.Do(ctx, driver.Size{Writes: len(writes) + len(c.Conditions), Bytes: bytes + len(change.record)}, change)
	if err == nil {
		s.leaseEnded(h, c.Leave)
	}
	return driver.Wrap("commit to heap of", h, err)
}

// run makes one transaction of a batch, and makes it again as long as it surely was not committed and may yet be. The
// contexts of those who wait do not end it: it is everybody's.
func (l *lane) run(batch []*change, refused []error) error {
	ctx := context.Background()
	for pauses := l.store.newPauses(); ; {
		if l.store.closed() {
			return heapstore.ErrClosed
		}
		clear(refused)
		err := attempt(ctx, func(ctx context.Context) error { return l.commit(ctx, batch, refused) })
		if errors.Is(err, errBroken) {
			var committed bool
			if committed, err = l.resolve(ctx, pauses, err); committed {
				return nil
			}
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, heapstore.ErrUnknown), !retryable(err):
			return err
		}
		if err := pauses.wait(ctx, err); err != nil {
			return err
		}
	}
}

// errBroken is the end of a session that was asked to commit.
var errBroken = errors.New("connection broke during the commit")

// commit is one attempt. After any error but errBroken nothing was committed.
func (l *lane) commit(ctx context.Context, batch []*change, refused []error) error {
	conn, err := l.store.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	// A session with a transaction under way is ended instead of being used again.
	defer conn.Release()
	l.seq++
	heaps, err := l.lock(ctx, conn, batch)
	if err != nil {
		return err
	}
	written := false
	for i, c := range batch {
		if refused[i] = c.queue.check(); refused[i] == nil && !c.queue.only {
			refused[i] = heaps.apply(c)
		}
		if refused[i] == nil {
			written = true
		}
	}
	if !written {
		_, err := conn.Exec(ctx, "rollback")
		return err
	}
	if err := heaps.write(ctx, conn, batch, refused); err != nil {
		if broken(err) {
			return fmt.Errorf("%w: %w", errBroken, err)
		}
		return err
	}
	return nil
}

const (
	sqlBegin = `begin isolation level read committed`
	sqlLane  = `INSERT INTO dc_lanes (owner, lane, seq) VALUES ($1::uuid, $2, $3)
		ON CONFLICT (owner, lane) DO UPDATE SET seq = excluded.seq, at = now()`
	// In one order, so that no two providers wait for each other.
	sqlLock = `SELECT n.i, h.id, h.bytes, h.version
		FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS n (namespace, name, record, i)
		JOIN dc_heaps h ON h.namespace = n.namespace AND h.name = n.name AND h.record = n.record
		ORDER BY h.id FOR UPDATE OF h`
	sqlEntriesNow = `SELECT w.i, e.key, octet_length(e.value), e.version FROM unnest($4::bigint[], $5::bytea[]) AS w (i, key)
		JOIN unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS n (namespace, name, record, i) ON n.i = w.i
		JOIN dc_heaps h ON h.namespace = n.namespace AND h.name = n.name AND h.record = n.record
		JOIN dc_entries e ON e.heap = h.id AND e.key = w.key`
	sqlCalls = `SELECT w.i, c.id FROM unnest($4::bigint[], $5::bytea[]) AS w (i, id)
		JOIN unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS n (namespace, name, record, i) ON n.i = w.i
		JOIN dc_heaps h ON h.namespace = n.namespace AND h.name = n.name AND h.record = n.record
		JOIN dc_calls c ON c.heap = h.id AND c.id = w.id`
	sqlRecords = `INSERT INTO dc_calls (heap, id, record) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[])`
	sqlEntries = `INSERT INTO dc_entries (heap, key, value, version, call, at)
		SELECT *, now() FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bytea[])
		ON CONFLICT (heap, key) DO UPDATE SET value = excluded.value, version = excluded.version, call = excluded.call, at = excluded.at`
	sqlDeletes = `DELETE FROM dc_entries e USING unnest($1::bigint[], $2::bytea[]) AS w (heap, key) WHERE e.heap = w.heap AND e.key = w.key`
	sqlHeaps   = `UPDATE dc_heaps h SET bytes = n.bytes, version = n.version
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS n (id, bytes, version) WHERE h.id = n.id`
)

// lock begins the transaction and returns the batch's heaps, each locked until its end. The lane's own row comes first: as
// long as this transaction may yet be committed, it holds that row, and whoever asks for the outcome waits for it.
func (l *lane) lock(ctx context.Context, conn *pgxpool.Conn, batch []*change) (lockedHeaps, error) {
	heaps := lockedHeaps{}
	var namespaces, names, records []string
	var at, callsAt []int64
	var keys, calls [][]byte
	var numbered []*lockedHeap
	for _, c := range batch {
		if c.queue.only {
			continue
		}
		h := heaps[c.heap]
		if h == nil {
			h = &lockedHeap{keys: map[string]lockedKey{}, writes: map[string]write{}, recorded: map[string]bool{}, records: map[string][]byte{}}
			heaps[c.heap] = h
			numbered = append(numbered, h)
			h.number = int64(len(numbered))
			namespaces, names, records = append(namespaces, c.heap.Namespace), append(names, c.heap.Name), append(records, c.heap.ID)
		}
		for _, w := range c.writes {
			at, keys = append(at, h.number), append(keys, []byte(w.Key))
		}
		for _, condition := range c.conditions {
			at, keys = append(at, h.number), append(keys, []byte(condition.Key))
		}
		if c.callID != "" {
			callsAt, calls = append(callsAt, h.number), append(calls, []byte(c.callID))
		}
	}
	var b pgx.Batch
	b.Queue(sqlBegin)
	b.Queue(sqlLane, l.store.owner, l.number, l.seq)
	b.Queue(sqlLock, namespaces, names, records).Query(func(rows pgx.Rows) error {
		var number, id, bytes, version int64
		_, err := pgx.ForEachRow(rows, []any{&number, &id, &bytes, &version}, func() error {
			h := numbered[number-1]
			h.id, h.bytes, h.version, h.there = id, bytes, version, true
			return nil
		})
		return err
	})
	b.Queue(sqlEntriesNow, namespaces, names, records, at, keys).Query(func(rows pgx.Rows) error {
		var number int64
		var key []byte
		var now lockedKey
		_, err := pgx.ForEachRow(rows, []any{&number, &key, &now.size, &now.version}, func() error {
			numbered[number-1].keys[string(key)] = now
			return nil
		})
		return err
	})
	b.Queue(sqlCalls, namespaces, names, records, callsAt, calls).Query(func(rows pgx.Rows) error {
		var number int64
		var id []byte
		_, err := pgx.ForEachRow(rows, []any{&number, &id}, func() error {
			numbered[number-1].recorded[string(id)] = true
			return nil
		})
		return err
	})
	l.lockLeases(&b, batch)
	return heaps, conn.SendBatch(ctx, &b).Close()
}

// resolve finds out whether the lane's last transaction was committed. Nothing else can tell when the connection broke, and
// nobody is told anything before it is known. The lane's row is locked by that transaction until it has ended, so that it
// cannot be committed after we saw that it was not.
func (l *lane) resolve(ctx context.Context, pauses *pauses, cause error) (committed bool, err error) {
	for {
		var seq int64
		err := attempt(ctx, func(ctx context.Context) error {
			err := l.store.pool.QueryRow(ctx, `SELECT seq FROM dc_lanes WHERE owner = $1::uuid AND lane = $2 FOR UPDATE`,
				l.store.owner, l.number).Scan(&seq)
			if errors.Is(err, pgx.ErrNoRows) {
				return nil // the first one of this lane, and it was not committed
			}
			return err
		})
		if err == nil {
			return seq == l.seq, cause
		}
		if retryable(err) {
			err = pauses.wait(ctx, err)
		}
		if err != nil {
			return false, fmt.Errorf("%w: %w: %w", heapstore.ErrUnknown, cause, err)
		}
	}
}

// lockedHeaps are the heaps of a batch as they are in the middle of its transaction.
type lockedHeaps map[heapstore.Heap]*lockedHeap

type lockedHeap struct {
	// number is the heap's place in the batch, from 1.
	number int64
	there  bool
	id     int64
	bytes  int64
	// version is that of the heap's last commit.
	version int64
	// keys are those of the batch that are there.
	keys   map[string]lockedKey
	writes map[string]write
	// recorded are those of the batch's call ids that have taken effect.
	recorded map[string]bool
	records  map[string][]byte
}

// lockedKey is a key's version and the size of its value.
type lockedKey struct {
	size    int
	version int64
}

// write is what the batch writes to a key.
type write struct {
	value   []byte
	version int64
	writer  string
	gone    bool
}

// apply adds a change to what is to be written, or refuses it.
func (heaps lockedHeaps) apply(c *change) error {
	h := heaps[c.heap]
	if !h.there {
		return heapstore.ErrNoHeap
	}
	if h.recorded[c.callID] {
		return heapstore.ErrRecorded
	}
	for _, condition := range c.conditions {
		if err := driver.CheckCondition(condition, uint64(h.keys[condition.Key].version)); err != nil {
			return err
		}
	}
	after := h.bytes
	for _, w := range c.writes {
		if !w.Delete {
			after += int64(len(w.Key) + len(w.Value))
		}
		if old, there := h.keys[w.Key]; there {
			after -= int64(len(w.Key) + old.size)
		}
	}
	if err := driver.CheckQuota(h.bytes, after, c.quotaBytes); err != nil {
		return err
	}
	h.bytes = after
	if c.callID != "" {
		h.recorded[c.callID], h.records[c.callID] = true, c.record
	}
	if len(c.writes) > 0 {
		h.version++
	}
	for _, w := range c.writes {
		h.writes[w.Key] = write{
			value:   append([]byte{}, w.Value...), // not nil, which would be NULL
			version: h.version, writer: c.writer, gone: w.Delete,
		}
		if w.Delete {
			delete(h.keys, w.Key)
		} else {
			h.keys[w.Key] = lockedKey{size: len(w.Value), version: h.version}
		}
	}
	return nil
}

// write writes everything of the changes that were not refused, and commits.
func (heaps lockedHeaps) write(ctx context.Context, conn *pgxpool.Conn, batch []*change, refused []error) error {
	var ids, sizes, heapVersions, at, versions, goneAt, callsAt []int64
	var keys, values, writers, gone, calls, records [][]byte
	for _, h := range heaps {
		if !h.there {
			continue
		}
		ids, sizes, heapVersions = append(ids, h.id), append(sizes, h.bytes), append(heapVersions, h.version)
		for _, key := range slices.Sorted(maps.Keys(h.writes)) {
			w := h.writes[key]
			if w.gone {
				goneAt, gone = append(goneAt, h.id), append(gone, []byte(key))
				continue
			}
			at, keys, values = append(at, h.id), append(keys, []byte(key)), append(values, w.value)
			versions, writers = append(versions, w.version), append(writers, []byte(w.writer))
		}
		for id, record := range h.records {
			callsAt, calls, records = append(callsAt, h.id), append(calls, []byte(id)), append(records, record)
		}
	}
	var b pgx.Batch
	b.Queue(sqlEntries, at, keys, values, versions, writers)
	if len(gone) > 0 {
		b.Queue(sqlDeletes, goneAt, gone)
	}
	b.Queue(sqlRecords, callsAt, calls, records)
	b.Queue(sqlHeaps, ids, sizes, heapVersions)
	writeQueue(&b, batch, refused)
	b.Queue("commit")
	return conn.SendBatch(ctx, &b).Close()
}
