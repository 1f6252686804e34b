package postgres

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/driver"
)

const (
	// renewals is how often in the time of a lease a provider says that it has it still.
	renewals = 4
	// turnPause is how long a caller in line waits before he looks again whether another provider has ended what was before him.
	turnPause = 20 * time.Millisecond
)

const (
	// Whoever adds to a line of serial invocations holds this lock until he has committed, so that ids become visible in their
	// order: nothing can come before what was seen as the first.
	sqlLineLock = `SELECT pg_advisory_xact_lock(hashtextextended(line, 0)) FROM unnest($1::text[]) AS line`
	sqlCount    = `SELECT n.i, count(q.id) FILTER (WHERE q.kind = 0), coalesce(sum(q.bytes), 0)
		FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS n (namespace, name, record, i)
		LEFT JOIN dc_queue q ON q.namespace = n.namespace AND q.name = n.name AND q.record = n.record AND q.kind IN (0, 1) AND NOT q.dead
		GROUP BY n.i`
	sqlTotal   = `SELECT count(*) FILTER (WHERE kind = 0), coalesce(sum(bytes), 0) FROM dc_queue WHERE kind IN (0, 1) AND NOT dead`
	sqlEnqueue = `INSERT INTO dc_queue (namespace, name, record, kind, call_id, accepted, due, serial, payload, bytes)
		SELECT namespace, name, record, kind, call_id, accepted, due, serial, payload, octet_length(payload)
		FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::bytea[], $6::timestamptz[], $7::timestamptz[], $8::boolean[], $9::bytea[])
			WITH ORDINALITY AS n (namespace, name, record, kind, call_id, accepted, due, serial, payload, i) ORDER BY i
		ON CONFLICT DO NOTHING`
	sqlTickClock = `SELECT t.at, EXISTS (SELECT FROM dc_queue q WHERE q.id = t.item AND NOT q.dead) FROM dc_ticks t
		WHERE t.namespace = $1 AND t.name = $2 AND t.record = $3`
	sqlTick = `INSERT INTO dc_ticks (namespace, name, record, at, item) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (namespace, name, record) DO UPDATE SET at = excluded.at, item = CASE excluded.item WHEN 0 THEN dc_ticks.item ELSE excluded.item END`
	sqlLastTick = `SELECT at FROM dc_ticks WHERE namespace = $1 AND name = $2 AND record = $3`

	// A caller whose provider is gone; nobody waits for what he asked.
	sqlGoneCallers = `DELETE FROM dc_queue WHERE kind = 2 AND until < now()`
	sqlLease       = `WITH due AS (
			SELECT q.id, row_number() OVER (PARTITION BY q.namespace, q.name, q.record ORDER BY q.id) AS n FROM dc_queue q
			WHERE q.kind = $1 AND NOT q.dead AND q.due <= $2 AND q.until < now()
				AND NOT EXISTS (SELECT FROM unnest($4::text[], $5::text[], $6::text[]) AS s (namespace, name, record)
					WHERE q.namespace = s.namespace AND q.name = s.name AND q.record = s.record)
				AND NOT (q.serial AND EXISTS (SELECT FROM dc_queue b WHERE b.namespace = q.namespace AND b.name = q.name AND b.record = q.record
					AND b.id < q.id AND NOT b.dead AND b.kind = ANY(CASE q.kind WHEN 0 THEN '{0,2}'::smallint[] ELSE '{1}' END)))
		), chosen AS (
			SELECT id FROM dc_queue WHERE id IN (SELECT id FROM due ORDER BY n, id LIMIT $3) AND NOT dead AND until < now()
			FOR UPDATE SKIP LOCKED
		)
		UPDATE dc_queue q SET owner = $7::uuid, token = q.token + 1, until = now() + $8::interval,
			lost = q.lost + (q.owner IS NOT NULL)::integer FROM chosen WHERE q.id = chosen.id
		RETURNING q.id, q.token, q.namespace, q.name, q.record, q.kind, q.call_id, q.accepted, q.due, q.attempts, q.serial, q.reason, q.payload, q.lost`
	sqlRenew = `UPDATE dc_queue SET until = now() + $2::interval WHERE owner = $1::uuid AND id IN (
			SELECT q.id FROM dc_queue q JOIN unnest($3::bigint[], $4::bigint[]) AS n (id, token) ON q.id = n.id AND q.token = n.token
			WHERE q.owner = $1::uuid FOR UPDATE SKIP LOCKED)`
	sqlHeld = `SELECT q.id FROM dc_queue q JOIN unnest($1::bigint[], $2::bigint[]) AS n (id, token) ON q.id = n.id AND q.token = n.token
		WHERE q.owner = $3::uuid ORDER BY q.id FOR UPDATE OF q`
	sqlLeave  = `DELETE FROM dc_queue WHERE id = ANY($1::bigint[])`
	sqlSettle = `UPDATE dc_queue q SET due = n.due, dead = n.dead, attempts = n.attempts, reason = n.reason, owner = NULL, until = '-infinity'
		FROM unnest($1::bigint[], $2::timestamptz[], $3::boolean[], $4::integer[], $5::bytea[]) AS n (id, due, dead, attempts, reason) WHERE q.id = n.id`
	sqlTrimDead = `DELETE FROM dc_queue WHERE id IN (
			SELECT id FROM dc_queue q WHERE (namespace, name, record) IN (SELECT namespace, name, record FROM dc_queue WHERE id = ANY($1::bigint[]))
			AND dead ORDER BY id DESC OFFSET $2)`

	sqlEnter = `INSERT INTO dc_queue (namespace, name, record, kind, call_id, accepted, due, serial, payload, bytes, owner, until)
		VALUES ($1, $2, $3, 2, '', now(), now(), true, '', 0, $4::uuid, now() + $5::interval) RETURNING id`
	sqlTurn = `SELECT EXISTS (SELECT FROM dc_queue WHERE id = $4), EXISTS (SELECT FROM dc_queue
		WHERE namespace = $1 AND name = $2 AND record = $3 AND id < $4 AND NOT dead AND kind IN (0, 2))`

	sqlDepths = `SELECT namespace, name, record, count(*) FILTER (WHERE kind = 0 AND NOT dead), count(*) FILTER (WHERE kind = 1 AND NOT dead),
		count(*) FILTER (WHERE dead) FROM dc_queue WHERE kind <> 2 GROUP BY namespace, name, record`
	sqlDead = `SELECT id, 0::bigint, namespace, name, record, kind, call_id, accepted, due, attempts, serial, reason, ''::bytea, lost FROM dc_queue
		WHERE namespace = $1 AND name = $2 AND record = $3 AND dead AND id > $4 ORDER BY id LIMIT $5`
	sqlDeadLetter = `SELECT id, 0::bigint, namespace, name, record, kind, call_id, accepted, due, attempts, serial, reason, payload, lost FROM dc_queue
		WHERE namespace = $1 AND name = $2 AND record = $3 AND dead AND id = $4`
	sqlReplay = `WITH old AS (DELETE FROM dc_queue WHERE namespace = $1 AND name = $2 AND record = $3 AND dead AND id = $4
			RETURNING namespace, name, record, kind, call_id, accepted, serial, payload, bytes)
		INSERT INTO dc_queue (namespace, name, record, kind, call_id, accepted, due, serial, payload, bytes)
		SELECT namespace, name, record, kind, call_id, accepted, $5, serial, payload, bytes FROM old`
	sqlDiscard   = `DELETE FROM dc_queue WHERE namespace = $1 AND name = $2 AND record = $3 AND dead AND id = $4`
	sqlDropQueue = `WITH ticks AS (DELETE FROM dc_ticks WHERE namespace = $1 AND name = $2 AND record = $3)
		DELETE FROM dc_queue WHERE namespace = $1 AND name = $2 AND record = $3`
)

// queue is what a Store knows of its own part of the queue.
type queue struct {
	adding *driver.Batcher[*queued]
	ready  chan struct{}

	mu sync.Mutex
	// held are the leases that are renewed, by item.
	held map[uint64]uint64
	// callers are those of this Store in each line, by their numbers in order; moved is closed when something has left a line.
	callers map[heapstore.Heap][]uint64
	moved   chan struct{}
}

func newQueue(s *Store) *queue {
	q := &queue{
		ready: make(chan struct{}, 1), held: map[uint64]uint64{}, callers: map[heapstore.Heap][]uint64{}, moved: make(chan struct{}),
	}
	q.adding = driver.NewBatcher(s.addItems)
	return q
}

func (q *queue) hold(lease heapstore.Lease) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held[lease.ID] = lease.Token
}

// release ends the renewing of a lease, however it ended: what could not be settled is leased again when its time has passed.
func (q *queue) release(lease heapstore.Lease) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held[lease.ID] == lease.Token {
		delete(q.held, lease.ID)
	}
}

// signal says that something was added or has left.
func (q *queue) signal() {
	q.mu.Lock()
	close(q.moved)
	q.moved = make(chan struct{})
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default: // whoever takes the token looks at everything
	}
}

// Enqueue is heapstore.Queue's.
func (s *Store) Enqueue(ctx context.Context, item heapstore.Item, bounds heapstore.QueueBounds) error {
	err := driver.CheckHeap(item.Function)
	if err == nil {
		err = s.queue.adding.Do(ctx, driver.Size{Writes: 1, Bytes: len(item.Payload)}, &queued{Item: item, bounds: driver.Bounds(bounds)})
	}
	if err == nil {
		s.queue.signal()
	}
	return driver.Wrap("queue an invocation of", item.Function, err)
}

// queued is an item that is about to be added.
type queued struct {
	heapstore.Item
	bounds heapstore.QueueBounds
}

// addItems makes one transaction of items. If the connection breaks as it commits it is made again, and what is there already
// is told by its call id.
func (s *Store) addItems(batch []*queued, refused []error) error {
	return s.retry(context.Background(), func(ctx context.Context) error {
		clear(refused)
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return addItems(ctx, tx, batch, refused) })
	})
}

func addItems(ctx context.Context, tx pgx.Tx, batch []*queued, refused []error) error {
	functions := map[heapstore.Heap]int{}
	var keys []heapstore.Heap
	var locks []string
	for _, i := range batch {
		if _, known := functions[i.Function]; !known {
			functions[i.Function] = len(keys)
			keys = append(keys, i.Function)
		}
		if i.Serial {
			locks = append(locks, lineName(i.Function))
		}
	}
	slices.Sort(locks) // in one order, so that no two wait for each other
	if len(locks) > 0 {
		if _, err := tx.Exec(ctx, sqlLineLock, slices.Compact(locks)); err != nil {
			return err
		}
	}
	items, bytes := make([]int, len(keys)), make([]int64, len(keys))
	namespaces, names, records := columns(keys)
	rows, err := tx.Query(ctx, sqlCount, namespaces, names, records)
	if err != nil {
		return err
	}
	var number, count, size int64
	if _, err := pgx.ForEachRow(rows, []any{&number, &count, &size}, func() error {
		items[number-1], bytes[number-1] = int(count), size
		return nil
	}); err != nil {
		return err
	}
	var total int
	var totalBytes int64
	if err := tx.QueryRow(ctx, sqlTotal).Scan(&total, &totalBytes); err != nil {
		return err
	}
	var accepted []heapstore.Item
	var at []int
	for n, i := range batch {
		f, size := functions[i.Function], int64(len(i.Payload))
		if items[f] >= i.bounds.Items || bytes[f]+size > i.bounds.Bytes || total >= i.bounds.TotalItems || totalBytes+size > i.bounds.TotalBytes {
			refused[n] = heapstore.ErrQueueFull
			continue
		}
		items[f], bytes[f], total, totalBytes = items[f]+1, bytes[f]+size, total+1, totalBytes+size
		accepted, at = append(accepted, i.Item), append(at, n)
	}
	if len(accepted) == 0 {
		return nil
	}
	added, err := insertItems(ctx, tx, accepted)
	if err != nil || added == int64(len(accepted)) {
		return err
	}
	return findRefused(ctx, tx, batch, at, refused)
}

// findRefused is for the rare batch of which some call ids waited already: it rolls back, and adds one after the other.
func findRefused(ctx context.Context, tx pgx.Tx, batch []*queued, at []int, refused []error) error {
	if _, err := tx.Exec(ctx, "ROLLBACK AND CHAIN"); err != nil {
		return err
	}
	var locks []string
	for _, n := range at {
		if batch[n].Serial {
			locks = append(locks, lineName(batch[n].Function))
		}
	}
	slices.Sort(locks)
	if _, err := tx.Exec(ctx, sqlLineLock, slices.Compact(locks)); err != nil {
		return err
	}
	for _, n := range at {
		added, err := insertItems(ctx, tx, []heapstore.Item{batch[n].Item})
		if err != nil {
			return err
		}
		if added == 0 {
			refused[n] = function.Existsf("an invocation with this call id waits already")
		}
	}
	return nil
}

// execer is a connection or a transaction.
type execer interface {
	Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error)
}

func insertItems(ctx context.Context, to execer, items []heapstore.Item) (added int64, err error) {
	tag, err := to.Exec(ctx, sqlEnqueue, itemColumns(items)...)
	return tag.RowsAffected(), err
}

// itemColumns are the arguments of sqlEnqueue.
func itemColumns(items []heapstore.Item) []any {
	heaps := make([]heapstore.Heap, len(items))
	kinds, serial := make([]int16, len(items)), make([]bool, len(items))
	accepted, due := make([]time.Time, len(items)), make([]time.Time, len(items))
	calls, payloads := make([][]byte, len(items)), make([][]byte, len(items))
	for n, i := range items {
		heaps[n], kinds[n], serial[n], accepted[n], due[n] = i.Function, int16(i.Kind), i.Serial, i.Accepted, i.Due
		calls[n], payloads[n] = append([]byte{}, i.CallID...), append([]byte{}, i.Payload...) // not nil, which would be NULL
	}
	namespaces, names, records := columns(heaps)
	return []any{namespaces, names, records, kinds, calls, accepted, due, serial, payloads}
}

func columns(heaps []heapstore.Heap) (namespaces, names, records []string) {
	namespaces, names, records = []string{}, []string{}, []string{}
	for _, h := range heaps {
		namespaces, names, records = append(namespaces, h.Namespace), append(names, h.Name), append(records, h.ID)
	}
	return namespaces, names, records
}

// lineName is what the lock of a line is named after.
func lineName(h heapstore.Heap) string { return "dc_line/" + h.Namespace + "/" + h.Name + "/" + h.ID }

// Tick is heapstore.Queue's.
func (s *Store) Tick(ctx context.Context, item heapstore.Item, at time.Time) error {
	h := item.Function
	var outcome error
	err := s.retry(ctx, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			outcome = nil
			// Ticks of one function take place one after the other, and in line with its serial invocations.
			if _, err := tx.Exec(ctx, sqlLineLock, []string{lineName(h)}); err != nil {
				return err
			}
			var before int64
			var waits bool
			err := tx.QueryRow(ctx, sqlTickClock, h.Namespace, h.Name, h.ID).Scan(&before, &waits)
			switch there := !errors.Is(err, pgx.ErrNoRows); {
			case there && err != nil:
				return err
			case there && (item.Payload == nil || before >= at.UnixNano()):
				outcome = function.Existsf("this tick has been")
				return nil
			case there && waits:
				outcome = function.Existsf("the last one is not done yet")
				_, err := tx.Exec(ctx, sqlTick, h.Namespace, h.Name, h.ID, at.UnixNano(), 0)
				return err
			}
			var id int64
			if item.Payload != nil {
				if err := tx.QueryRow(ctx, sqlEnqueue+" RETURNING id", itemColumns([]heapstore.Item{item})...).Scan(&id); err != nil {
					return err
				}
			}
			_, err = tx.Exec(ctx, sqlTick, h.Namespace, h.Name, h.ID, at.UnixNano(), id)
			return err
		})
	})
	if err = errors.Join(err, outcome); err == nil {
		s.queue.signal()
	}
	return driver.Wrap("queue a tick of", h, err)
}

// LastTick is heapstore.Queue's.
func (s *Store) LastTick(ctx context.Context, h heapstore.Heap) (at time.Time, err error) {
	var nanoseconds int64
	err = s.retry(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, sqlLastTick, h.Namespace, h.Name, h.ID).Scan(&nanoseconds)
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		err = nil
	case err == nil:
		at = time.Unix(0, nanoseconds)
	}
	return at, driver.Wrap("read the clock of", h, err)
}

// Lease is heapstore.Queue's.
func (s *Store) Lease(ctx context.Context, kind function.ItemKind, limit int, skip map[heapstore.Heap]bool) (leased []heapstore.Leased, err error) {
	namespaces, names, records := columns(slices.Collect(maps.Keys(skip)))
	// One attempt: who asks comes again by himself.
	err = attempt(ctx, func(ctx context.Context) error {
		if _, err := s.pool.Exec(ctx, sqlGoneCallers); err != nil {
			return err
		}
		rows, err := s.pool.Query(ctx, sqlLease, int16(kind), time.Now(), limit, namespaces, names, records, s.owner, s.leaseTime)
		if err != nil {
			return err
		}
		leased, err = pgx.CollectRows(rows, scanItem)
		return err
	})
	if s.closed() {
		err = heapstore.ErrClosed
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(leased, func(a, b heapstore.Leased) int { return int(int64(a.ID) - int64(b.ID)) })
	for _, i := range leased {
		s.queue.hold(i.Lease)
	}
	return leased, nil
}

func scanItem(row pgx.CollectableRow) (l heapstore.Leased, err error) {
	var kind int16
	var call, reason []byte
	err = row.Scan(&l.Lease.ID, &l.Lease.Token, &l.Function.Namespace, &l.Function.Name, &l.Function.ID, &kind, &call,
		&l.Accepted, &l.Due, &l.Attempts, &l.Serial, &reason, &l.Payload, &l.Lost)
	l.ID, l.Kind, l.CallID, l.Reason = l.Lease.ID, function.ItemKind(kind), string(call), string(reason)
	return l, err
}

// renew keeps this Store's leases until it is closed.
func (s *Store) renew(ctx context.Context) {
	ticker := time.NewTicker(s.leaseTime / renewals)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		s.queue.mu.Lock()
		ids, tokens := make([]int64, 0, len(s.queue.held)), make([]int64, 0, len(s.queue.held))
		for id, token := range s.queue.held {
			ids, tokens = append(ids, int64(id)), append(tokens, int64(token))
		}
		s.queue.mu.Unlock()
		if len(ids) == 0 {
			continue
		}
		err := attempt(ctx, func(ctx context.Context) error {
			_, err := s.pool.Exec(ctx, sqlRenew, s.owner, s.leaseTime, ids, tokens)
			return err
		})
		if err != nil && ctx.Err() == nil {
			s.log.Warn("leases of invocations not renewed; it will be tried again", "err", err)
		}
	}
}

// Settle is heapstore.Queue's.
func (s *Store) Settle(ctx context.Context, h heapstore.Heap, lease heapstore.Lease, settled heapstore.Settlement) error {
	c := &change{heap: h, queue: queueChange{only: true, leave: &lease, settled: settled, send: settled.Send}}
	err := s.laneOf(h).changes.Do(ctx, driver.Size{Writes: 1 + len(settled.Send)}, c)
	s.leaseEnded(h, &lease)
	return driver.Wrap("settle an invocation of", h, err)
}

// leaseEnded lets go of a lease that was tried to be ended.
func (s *Store) leaseEnded(h heapstore.Heap, lease *heapstore.Lease) {
	if lease == nil {
		return
	}
	s.queue.release(*lease)
	s.queue.leaveLine(h, lease.ID)
	s.queue.signal()
}

// queueChange is what a change does to the queue.
type queueChange struct {
	// only says that it does nothing else, so that no heap is needed.
	only    bool
	leave   *heapstore.Lease
	settled heapstore.Settlement
	send    []heapstore.Item
	// held is set when the lease was found and locked.
	held bool
}

func (c queueChange) stays() bool { return c.settled.Bury || !c.settled.Again.IsZero() }

// lockLeases adds to the batch that begins a transaction what locks the items of the leases that end in it.
func (l *lane) lockLeases(b *pgx.Batch, batch []*change) {
	var ids, tokens []int64
	of := map[int64]*change{}
	for _, c := range batch {
		c.queue.held = false
		if c.queue.leave != nil {
			ids, tokens = append(ids, int64(c.queue.leave.ID)), append(tokens, int64(c.queue.leave.Token))
			of[int64(c.queue.leave.ID)] = c
		}
	}
	if len(ids) == 0 {
		return
	}
	b.Queue(sqlHeld, ids, tokens, l.store.owner).Query(func(rows pgx.Rows) error {
		var id int64
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
			of[id].queue.held = true
			return nil
		})
		return err
	})
}

// check refuses a change whose lease was lost.
func (c *queueChange) check() error {
	if c.leave != nil && !c.held {
		return heapstore.ErrLeaseLost
	}
	return nil
}

// writeQueue adds to the batch that ends a transaction what its changes do to the queue.
func writeQueue(b *pgx.Batch, batch []*change, refused []error) {
	var leave, stay []int64
	var due []time.Time
	var dead []bool
	var attempts []int32
	var reasons [][]byte
	var buried []int64
	var send []heapstore.Item
	for i, c := range batch {
		if refused[i] != nil {
			continue
		}
		q := c.queue
		send = append(send, q.send...)
		switch {
		case q.leave == nil:
		case q.stays():
			stay, due, dead = append(stay, int64(q.leave.ID)), append(due, q.settled.Again), append(dead, q.settled.Bury)
			attempts, reasons = append(attempts, int32(q.settled.Attempts)), append(reasons, append([]byte{}, q.settled.Reason...))
			if q.settled.Bury {
				buried = append(buried, int64(q.leave.ID))
			}
		default:
			leave = append(leave, int64(q.leave.ID))
		}
	}
	if len(leave) > 0 {
		b.Queue(sqlLeave, leave)
	}
	if len(stay) > 0 {
		b.Queue(sqlSettle, stay, due, dead, attempts, reasons)
	}
	for _, id := range buried {
		b.Queue(sqlTrimDead, []int64{id}, heapstore.MaxDeadLetters)
	}
	if len(send) > 0 {
		b.Queue(sqlEnqueue, itemColumns(send)...)
	}
}

// Line is heapstore.Queue's.
func (s *Store) Line(ctx context.Context, h heapstore.Heap) (heapstore.Lease, error) {
	lease, err := s.line(ctx, h)
	return lease, driver.Wrap("stand in line for", h, err)
}

func (s *Store) line(ctx context.Context, h heapstore.Heap) (lease heapstore.Lease, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, sqlLineLock, []string{lineName(h)}); err != nil {
				return err
			}
			return tx.QueryRow(ctx, sqlEnter, h.Namespace, h.Name, h.ID, s.owner, s.leaseTime).Scan(&lease.ID)
		})
	})
	if err != nil {
		return lease, err
	}
	s.queue.hold(lease)
	s.queue.enterLine(h, lease.ID)
	for {
		first, moved := s.queue.first(h, lease.ID)
		if first {
			there, before := true, true
			err := s.retry(ctx, func(ctx context.Context) error {
				if _, err := s.pool.Exec(ctx, sqlGoneCallers); err != nil {
					return err
				}
				return s.pool.QueryRow(ctx, sqlTurn, h.Namespace, h.Name, h.ID, int64(lease.ID)).Scan(&there, &before)
			})
			switch {
			case err == nil && !there:
				s.leaseEnded(h, &lease)
				return lease, heapstore.ErrLeaseLost
			case err == nil && !before:
				return lease, nil
			case err != nil:
				return lease, errors.Join(err, s.leaveLine(h, lease))
			}
		}
		pause := time.NewTimer(turnPause)
		select {
		case <-pause.C:
		case <-moved:
		case <-ctx.Done():
			pause.Stop()
			return lease, errors.Join(ctx.Err(), s.leaveLine(h, lease))
		}
		pause.Stop()
	}
}

// leaveLine takes a caller who has gone out of the line. If that cannot be done his place is free when his lease has ended.
func (s *Store) leaveLine(h heapstore.Heap, lease heapstore.Lease) error {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	_, err := s.pool.Exec(ctx, sqlLeave, []int64{int64(lease.ID)})
	s.leaseEnded(h, &lease)
	return err
}

func (q *queue) enterLine(h heapstore.Heap, id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at, _ := slices.BinarySearch(q.callers[h], id)
	q.callers[h] = slices.Insert(q.callers[h], at, id)
}

func (q *queue) leaveLine(h heapstore.Heap, id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if at, found := slices.BinarySearch(q.callers[h], id); found {
		if q.callers[h] = slices.Delete(q.callers[h], at, at+1); len(q.callers[h]) == 0 {
			delete(q.callers, h)
		}
	}
}

// first reports whether a caller is the first of this Store's in his line, who alone asks the database; moved is closed when
// that may have changed.
func (q *queue) first(h heapstore.Heap, id uint64) (first bool, moved <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.callers[h]) > 0 && q.callers[h][0] == id, q.moved
}

// Ready is heapstore.Queue's.
func (s *Store) Ready() <-chan struct{} { return s.queue.ready }

// Depths is heapstore.Queue's.
func (s *Store) Depths(ctx context.Context) (depths map[heapstore.Heap]heapstore.Depth, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		depths = map[heapstore.Heap]heapstore.Depth{}
		rows, err := s.pool.Query(ctx, sqlDepths)
		if err != nil {
			return err
		}
		var h heapstore.Heap
		var d heapstore.Depth
		_, err = pgx.ForEachRow(rows, []any{&h.Namespace, &h.Name, &h.ID, &d.Waiting, &d.Messages, &d.Dead}, func() error {
			depths[h] = d
			return nil
		})
		return err
	})
	return depths, err
}

// DeadLetters is heapstore.Queue's.
func (s *Store) DeadLetters(ctx context.Context, h heapstore.Heap, after uint64, limit int) (items []heapstore.Item, next uint64, err error) {
	limit = driver.ListLimit(limit)
	var found []heapstore.Leased
	err = s.retry(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, sqlDead, h.Namespace, h.Name, h.ID, int64(after), limit+1)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, scanItem)
		return err
	})
	items = []heapstore.Item{}
	for _, i := range found {
		if len(items) == limit {
			next = items[limit-1].ID
			break
		}
		i.Payload = nil
		items = append(items, i.Item)
	}
	return items, next, driver.Wrap("list dead letters of", h, err)
}

// DeadLetter is heapstore.Queue's.
func (s *Store) DeadLetter(ctx context.Context, h heapstore.Heap, id uint64) (item heapstore.Item, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, sqlDeadLetter, h.Namespace, h.Name, h.ID, int64(id))
		if err != nil {
			return err
		}
		found, err := pgx.CollectExactlyOneRow(rows, scanItem)
		item = found.Item
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = heapstore.ErrNoItem
	}
	return item, driver.Wrap("read a dead letter of", h, err)
}

// Replay is heapstore.Queue's.
func (s *Store) Replay(ctx context.Context, h heapstore.Heap, id uint64) error {
	var replayed int64
	err := s.retry(ctx, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, sqlLineLock, []string{lineName(h)}); err != nil {
				return err
			}
			tag, err := tx.Exec(ctx, sqlReplay, h.Namespace, h.Name, h.ID, int64(id), time.Now())
			replayed = tag.RowsAffected()
			return err
		})
	})
	var answer *pgconn.PgError
	switch {
	case errors.As(err, &answer) && answer.Code == uniqueViolation:
		err = function.Existsf("an invocation with this call id waits already")
	case err == nil && replayed == 0:
		err = heapstore.ErrNoItem
	case err == nil:
		s.queue.signal()
	}
	return driver.Wrap("replay a dead letter of", h, err)
}

// uniqueViolation is an SQLSTATE.
const uniqueViolation = "23505"

// Discard is heapstore.Queue's.
func (s *Store) Discard(ctx context.Context, h heapstore.Heap, id uint64) error {
	var discarded int64
	err := s.retry(ctx, func(ctx context.Context) error {
		tag, err := s.pool.Exec(ctx, sqlDiscard, h.Namespace, h.Name, h.ID, int64(id))
		discarded = tag.RowsAffected()
		return err
	})
	if err == nil && discarded == 0 {
		err = heapstore.ErrNoItem
	}
	return driver.Wrap("discard a dead letter of", h, err)
}
