package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/driver"
)

// settleAgain is when an item is tried again whose end could not be written.
const settleAgain = 5 * time.Second

var (
	queueBucket = []byte("queue")
	ticksBucket = []byte("ticks")
)

func queueOf(tx *bbolt.Tx) *bbolt.Bucket { return tx.Bucket(queueBucket) }

func itemKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// loadQueue reads what is in the file's queue.
func loadQueue(db *bbolt.DB) (*lines, error) {
	l := newLines()
	return l, db.View(func(tx *bbolt.Tx) error {
		return queueOf(tx).ForEachBucket(func(name []byte) error {
			return queueOf(tx).Bucket(name).ForEach(func(key, encoded []byte) error {
				item, dead, err := driver.DecodeItem(encoded)
				if err != nil {
					return fmt.Errorf("queue of %q: %w", name, err)
				}
				if item.ID = binary.BigEndian.Uint64(key); dead {
					l.bury(item.Function, item.ID)
				} else {
					l.add(item)
				}
				return nil
			})
		})
	})
}

// putItem writes a new item and returns its id. A function's items are together in a bucket, which goes with the function.
func putItem(tx *change, i heapstore.Item) (id uint64, err error) {
	if id, err = tx.queue().NextSequence(); err != nil {
		return 0, err
	}
	items, err := tx.queue().CreateBucketIfNotExists(bucketName(i.Function))
	if err != nil {
		return 0, err
	}
	return id, items.Put(itemKey(id), driver.EncodeItem(i, false))
}

// putItems is putItem for what a change sends; the ids are set in items.
func putItems(tx *change, items []heapstore.Item) (err error) {
	for n := range items {
		if items[n].ID, err = putItem(tx, items[n]); err != nil {
			return err
		}
	}
	return nil
}

// readItem returns an item of the file. Its payload is the caller's to keep.
func (s *Store) readItem(h heapstore.Heap, id uint64) (item heapstore.Item, dead bool, err error) {
	key, name := itemKey(id), bucketName(h)
	keep := func(encoded []byte) error {
		if encoded == nil {
			return heapstore.ErrNoItem
		}
		item, dead, err = driver.DecodeItem(slices.Clone(encoded))
		item.ID = id
		return err
	}
	if encoded, held := s.file.over.get(key, queueBucket, name); held {
		return item, dead, keep(encoded)
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		items := queueOf(tx).Bucket(name)
		if items == nil {
			return heapstore.ErrNoItem
		}
		return keep(items.Get(key))
	})
	return item, dead, err
}

// changeItem is an apply that rewrites an item that is there, or deletes it if change returns false. If change refuses, nothing is written.
func changeItem(tx *change, h heapstore.Heap, id uint64, absent error, change func(i *heapstore.Item, dead *bool) (stays bool, err error)) error {
	items := tx.queue().Bucket(bucketName(h))
	if items == nil {
		return absent
	}
	encoded := items.Get(itemKey(id))
	if encoded == nil {
		return absent
	}
	item, dead, err := driver.DecodeItem(slices.Clone(encoded))
	if err != nil {
		return err
	}
	stays, err := change(&item, &dead)
	if err != nil {
		return err
	}
	if !stays {
		return items.Delete(itemKey(id))
	}
	return items.Put(itemKey(id), driver.EncodeItem(item, dead))
}

// Enqueue is heapstore.Queue's.
func (s *Store) Enqueue(ctx context.Context, item heapstore.Item, bounds heapstore.QueueBounds) error {
	err := s.enqueue(ctx, item, bounds, func(tx *change) (id uint64, err error) { return putItem(tx, item) })
	return wrap("queue an invocation of", item.Function, err)
}

// enqueue makes room for an item, has put write it, and takes it in, unless put gives it no id.
func (s *Store) enqueue(
	ctx context.Context, item heapstore.Item, bounds heapstore.QueueBounds, put func(tx *change) (id uint64, err error),
) error {
	if err := driver.CheckHeap(item.Function); err != nil {
		return err
	}
	for {
		e, wait, err := s.lines.reserve(item, driver.Bounds(bounds))
		if err != nil {
			return err
		}
		if wait == nil {
			var id uint64
			err = s.changes.Do(ctx, driver.Size{Writes: 1, Bytes: len(item.Payload)}, func(tx *change) (err error) {
				id, err = put(tx)
				return err
			})
			if err == nil && id == 0 {
				err = function.Existsf("the last one is not done yet")
			}
			s.lines.written(e, id, err)
			return err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Tick is heapstore.Queue's.
func (s *Store) Tick(ctx context.Context, item heapstore.Item, at time.Time) error {
	h, name := item.Function, bucketName(item.Function)
	if item.Payload == nil {
		err := s.changes.Do(ctx, driver.Size{Writes: 1}, func(tx *change) error {
			if ticks := tx.ticks(); ticks.Get(name) == nil {
				return ticks.Put(name, tick(at, 0))
			}
			return function.Existsf("the clock was set before")
		})
		return wrap("set the clock of", h, err)
	}
	err := s.enqueue(ctx, item, heapstore.QueueBounds{}, func(tx *change) (id uint64, err error) {
		ticks := tx.ticks()
		if before := ticks.Get(name); before != nil {
			if int64(binary.BigEndian.Uint64(before)) >= at.UnixNano() {
				return 0, function.Existsf("this tick has been")
			}
			if last := binary.BigEndian.Uint64(before[8:]); waits(tx, h, last) {
				return 0, ticks.Put(name, tick(at, last))
			}
		}
		if id, err = putItem(tx, item); err != nil {
			return 0, err
		}
		return id, ticks.Put(name, tick(at, id))
	})
	return wrap("queue a tick of", h, err)
}

// tick is the value of a clock: the time of the last tick and the item that it became.
func tick(at time.Time, id uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(at.UnixNano())), id)
}

// waits reports whether an item is in the file and no dead letter.
func waits(tx *change, h heapstore.Heap, id uint64) bool {
	items := tx.queue().Bucket(bucketName(h))
	if items == nil {
		return false
	}
	encoded := items.Get(itemKey(id))
	if encoded == nil {
		return false
	}
	_, dead, err := driver.DecodeItem(encoded)
	return err == nil && !dead
}

// LastTick is heapstore.Queue's.
func (s *Store) LastTick(ctx context.Context, h heapstore.Heap) (at time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return at, err
	}
	keep := func(clock []byte) {
		if clock != nil {
			at = time.Unix(0, int64(binary.BigEndian.Uint64(clock)))
		}
	}
	name := bucketName(h)
	if clock, held := s.file.over.get(name, ticksBucket); held {
		keep(clock)
		return at, nil
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		keep(tx.Bucket(ticksBucket).Get(name))
		return nil
	})
	return at, wrap("read the clock of", h, err)
}

// Lease is heapstore.Queue's.
func (s *Store) Lease(ctx context.Context, kind function.ItemKind, limit int, skip map[heapstore.Heap]bool) ([]heapstore.Leased, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var leased []heapstore.Leased
	for _, e := range s.lines.lease(kind, limit, skip, time.Now()) {
		item, _, err := s.readItem(e.key.of, e.id)
		if errors.Is(err, heapstore.ErrNoItem) {
			s.lines.end(e, time.Time{}, 0, false) // dropped meanwhile
			continue
		}
		if err != nil {
			s.lines.end(e, time.Now().Add(settleAgain), e.attempts, false)
			return leased, wrap("read the queue of", e.key.of, err)
		}
		leased = append(leased, heapstore.Leased{Item: item, Lease: heapstore.Lease{ID: e.id, Token: e.token}, Lost: e.lost})
	}
	return leased, nil
}

// Settle is heapstore.Queue's.
func (s *Store) Settle(ctx context.Context, h heapstore.Heap, lease heapstore.Lease, settled heapstore.Settlement) error {
	e := s.lines.leasedEntry(lease)
	if e == nil {
		return wrap("settle an invocation of", h, heapstore.ErrLeaseLost)
	}
	if e.turn != nil && len(settled.Send) == 0 {
		s.lines.end(e, time.Time{}, 0, false)
		return nil
	}
	send := slices.Clone(settled.Send)
	again := !settled.Again.IsZero()
	var gone []uint64
	size := driver.Size{Writes: 1 + len(send), Bytes: int(e.bytes)}
	err := s.changes.Do(ctx, size, func(tx *change) error {
		if e.turn == nil {
			err := changeItem(tx, h, e.id, heapstore.ErrLeaseLost, func(i *heapstore.Item, dead *bool) (stays bool, err error) {
				i.Attempts, i.Reason, *dead = settled.Attempts, settled.Reason, settled.Bury
				if again {
					i.Due = settled.Again
				}
				return again || settled.Bury, nil
			})
			if err != nil {
				return err
			}
		}
		if settled.Bury {
			if dead := s.lines.deadOf(h); len(dead) >= heapstore.MaxDeadLetters {
				gone = dead[:len(dead)+1-heapstore.MaxDeadLetters]
			}
			for _, id := range gone {
				if err := tx.queue().Bucket(bucketName(h)).Delete(itemKey(id)); err != nil {
					return err
				}
			}
		}
		return putItems(tx, send)
	})
	switch {
	case errors.Is(err, heapstore.ErrLeaseLost):
		s.lines.end(e, time.Time{}, 0, false)
	case err != nil && e.turn == nil:
		// The file still has it; it must not be held for ever.
		s.lines.end(e, time.Now().Add(settleAgain), e.attempts, false)
	default:
		s.settled(h, e, settled, send, gone)
	}
	return wrap("settle an invocation of", h, err)
}

// settled takes in what a Settle has written.
func (s *Store) settled(h heapstore.Heap, e *entry, settled heapstore.Settlement, send []heapstore.Item, gone []uint64) {
	for _, id := range gone {
		s.lines.exhume(h, id)
	}
	for _, item := range send {
		s.lines.add(item)
	}
	s.lines.end(e, settled.Again, settled.Attempts, settled.Bury)
}

// Line is heapstore.Queue's.
func (s *Store) Line(ctx context.Context, h heapstore.Heap) (heapstore.Lease, error) {
	e := s.lines.enter(h)
	select {
	case <-e.turn:
	case <-ctx.Done():
		if s.lines.leave(e) {
			return heapstore.Lease{}, ctx.Err()
		}
	}
	return heapstore.Lease{ID: e.id, Token: e.token}, nil
}

// Ready is heapstore.Queue's.
func (s *Store) Ready() <-chan struct{} { return s.lines.ready }

// Depths is heapstore.Queue's.
func (s *Store) Depths(ctx context.Context) (map[heapstore.Heap]heapstore.Depth, error) {
	return s.lines.depths(), ctx.Err()
}

// DeadLetters is heapstore.Queue's.
func (s *Store) DeadLetters(ctx context.Context, h heapstore.Heap, after uint64, limit int) (items []heapstore.Item, next uint64, err error) {
	limit, items = driver.ListLimit(limit), []heapstore.Item{}
	for _, id := range s.lines.deadOf(h) {
		switch {
		case ctx.Err() != nil:
			return nil, 0, ctx.Err()
		case id <= after:
			continue
		case len(items) == limit:
			return items, items[limit-1].ID, nil
		}
		item, dead, err := s.readItem(h, id)
		if errors.Is(err, heapstore.ErrNoItem) || err == nil && !dead {
			continue // gone meanwhile
		}
		if err != nil {
			return nil, 0, wrap("list dead letters of", h, err)
		}
		item.Payload = nil
		items = append(items, item)
	}
	return items, 0, nil
}

// DeadLetter is heapstore.Queue's.
func (s *Store) DeadLetter(ctx context.Context, h heapstore.Heap, id uint64) (heapstore.Item, error) {
	item, dead, err := s.readItem(h, id)
	if err == nil && !dead {
		err = heapstore.ErrNoItem
	}
	return item, wrap("read a dead letter of", h, errors.Join(err, ctx.Err()))
}

// Replay is heapstore.Queue's.
func (s *Store) Replay(ctx context.Context, h heapstore.Heap, id uint64) error {
	var item heapstore.Item
	err := s.changes.Do(ctx, driver.Size{Writes: 2}, func(tx *change) error {
		err := unbury(tx, h, id, func(i heapstore.Item) error {
			if item = i; i.Kind == function.ItemInvocation && s.lines.waits(h, i.CallID) {
				return function.Existsf("an invocation with this call id waits already")
			}
			return nil
		})
		if err != nil {
			return err
		}
		item.Due, item.Attempts, item.Reason = time.Now(), 0, ""
		item.ID, err = putItem(tx, item)
		return err
	})
	if err == nil {
		s.lines.exhume(h, id)
		s.lines.add(item)
	}
	return wrap("replay a dead letter of", h, err)
}

// Discard is heapstore.Queue's.
func (s *Store) Discard(ctx context.Context, h heapstore.Heap, id uint64) error {
	err := s.changes.Do(ctx, driver.Size{Writes: 1}, func(tx *change) error {
		return unbury(tx, h, id, func(heapstore.Item) error { return nil })
	})
	if err == nil {
		s.lines.exhume(h, id)
	}
	return wrap("discard a dead letter of", h, err)
}

// unbury deletes a dead letter from the file, if may allows it.
func unbury(tx *change, h heapstore.Heap, id uint64, may func(i heapstore.Item) error) error {
	return changeItem(tx, h, id, heapstore.ErrNoItem, func(i *heapstore.Item, dead *bool) (stays bool, err error) {
		if !*dead {
			return true, heapstore.ErrNoItem
		}
		return false, may(*i)
	})
}

// leaves returns the entry that a commit ends, nil if there is none, and what it sends, to be changed by putItems.
func (s *Store) leaves(c heapstore.Commit) (e *entry, send []heapstore.Item, err error) {
	if c.Leave != nil {
		if e = s.lines.leasedEntry(*c.Leave); e == nil {
			return nil, nil, heapstore.ErrLeaseLost
		}
	}
	return e, slices.Clone(c.Send), nil
}

// there reports whether an entry is still in the queue.
func there(tx *change, h heapstore.Heap, e *entry) bool {
	if e.turn != nil {
		return true
	}
	items := tx.queue().Bucket(bucketName(h))
	return items != nil && items.Get(itemKey(e.id)) != nil
}

// leave takes an entry that is there out of the file's queue, and puts in what is sent.
func leave(tx *change, h heapstore.Heap, e *entry, send []heapstore.Item) error {
	if e != nil && e.turn == nil {
		if err := tx.queue().Bucket(bucketName(h)).Delete(itemKey(e.id)); err != nil {
			return err
		}
	}
	return putItems(tx, send)
}

// left takes in what leave has written.
func (s *Store) left(e *entry, send []heapstore.Item) {
	for _, item := range send {
		s.lines.add(item)
	}
	if e != nil {
		s.lines.end(e, time.Time{}, 0, false)
	}
}
