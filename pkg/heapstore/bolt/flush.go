package bolt

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// How much may be pending. The more there is, the more of it has its page in common, and the longer does a flush hold up everybody. But
// bbolt splits pages only when it commits: keys that are not in order and all come to one page are each put in the middle of a slice that
// gets longer and longer. Where that shows, as keys that are dear, fewer are enough.
const (
	pendingBytes    = 4 << 20
	pendingDearKeys = 8 << 10
	dear            = 20 * time.Microsecond
)

var pendingKeys = 64 << 10

// flushAfter is for how long nothing is committed before what is pending is flushed.
var flushAfter = 50 * time.Millisecond

// pending are the groups that are durable and that bbolt has not committed, by their records. It is the transaction that is open, made
// anew from these when that is lost.
type pending struct {
	records [][]byte
	bytes   int64
	keys    int
	// dear is set when a key of the last group took long.
	dear bool
}

func (p *pending) add(ops []byte, keys int, took time.Duration) {
	p.records = append(p.records, slices.Clone(ops))
	p.bytes, p.keys, p.dear = p.bytes+int64(len(ops)), p.keys+keys, took > time.Duration(keys)*dear
}

// drop forgets the last group. What the sums have too much of it does no harm.
func (p *pending) drop() { p.records = p.records[:max(len(p.records)-1, 0)] }

func (p *pending) full() bool {
	return p.bytes > pendingBytes || p.keys > pendingKeys || p.dear && p.keys > pendingDearKeys
}

// open gives f.tx, which has done what is pending.
func (f *file) open() error {
	if f.tx != nil {
		return nil
	}
	tx, err := f.db.Begin(true)
	if err != nil {
		return err
	}
	f.tx = tx
	whole := false
	defer func() {
		if !whole {
			f.rollback()
		}
	}()
	for _, ops := range f.pending.records {
		if err := redo(tx, ops); err != nil {
			return err
		}
	}
	whole = true
	return nil
}

// rollback ends f.tx. What is pending is still so.
func (f *file) rollback() {
	if f.tx != nil {
		_ = f.tx.Rollback() // which gives an error if it has ended
		f.tx = nil
	}
	f.change.end()
}

// flush has bbolt commit what is pending. If it cannot, that is pending still, and can be read.
func (f *file) flush() (err error) {
	if len(f.pending.records) == 0 {
		f.rollback()
		f.stuck = false
		return nil
	}
	defer func() {
		f.stuck = err != nil
		if err != nil {
			err = fmt.Errorf("write into the store's file what is in its log: %w", err)
		}
	}()
	if err := f.open(); err != nil {
		return err
	}
	f.pages = f.tx.Size() / int64(f.db.Info().PageSize)
	err = f.commitPending()
	if errors.Is(err, bolterrors.ErrMaxSizeReached) {
		return f.flushUnbound()
	}
	if err == nil {
		f.flushed()
	}
	return err
}

// commitPending has bbolt commit f.tx, which ends it.
func (f *file) commitPending() error {
	tx := f.tx
	defer func() {
		if cause := recover(); cause != nil {
			f.broken = fmt.Errorf("nothing is written until the store is opened again: bbolt: %v", cause)
			f.rollback()
			panic(cause)
		}
	}()
	err := tx.Commit()
	f.tx = nil
	f.change.end()
	return err
}

// flushUnbound is flush when bbolt needs a larger map. When the pin has ended there is no way back: the next transaction would write over
// the last checkpoint, which the log goes on from. So there is room on the disk before, or it is not tried.
func (f *file) flushUnbound() error {
	if err := reserve(f); err != nil {
		return err
	}
	if err := f.redo(f.pending.records, f.unbind); err != nil {
		if f.pin == nil {
			f.broken = fmt.Errorf("nothing is written until the store is opened again: %w", err)
		}
		return err
	}
	f.flushed()
	return f.mark(true)
}

// reserve gives the file as much more as what is pending can need, behind all pages that are in use. It is a variable for tests' sake.
var reserve = func(f *file) error {
	pageSize := int64(f.db.Info().PageSize)
	end := 2*f.pending.bytes + pageSize*int64(2*f.pending.keys+8*len(f.pending.records)) + f.pages*pageSize
	zeros := make([]byte, 1<<20)
	for at := f.pages * pageSize; at < end; at += int64(len(zeros)) {
		if _, err := f.raw.WriteAt(zeros[:min(end-at, int64(len(zeros)))], at); err != nil {
			return err
		}
	}
	return nil
}

// flushed lets go of what is pending: bbolt has it.
func (f *file) flushed() {
	f.pending = pending{records: f.pending.records[:0]}
	clear(f.pending.records[:cap(f.pending.records)])
	f.over.clear()
	f.roundUp()
	f.commits++
	f.kept = int64(f.db.Stats().PendingPageN)
}

// flushLater flushes what is pending when nothing has been committed for a while.
func (f *file) flushLater() {
	if f.idle != nil || len(f.pending.records) == 0 || f.stuck {
		return
	}
	seen := f.groups
	f.idling.Add(1)
	f.idle = time.AfterFunc(flushAfter, func() {
		defer f.idling.Done()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.idle = nil
		switch {
		case f.closed || f.broken != nil:
		case f.groups != seen:
			f.flushLater()
		default:
			_ = f.flush() // whoever commits next is told
			f.checkpointIfDue()
		}
	})
}

// view reads all that was acknowledged. Unlike point reads, which have the overlay, it waits for whoever commits, and flushes.
func (f *file) view(read func(tx *bbolt.Tx) error) error {
	if !f.over.any.Load() {
		return f.db.View(read)
	}
	if err := f.flushForView(); err == nil {
		return f.db.View(read)
	}
	// The disk has no room, or is broken: the transaction that is open has all.
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || len(f.pending.records) == 0 {
		return f.db.View(read)
	}
	if err := f.open(); err != nil {
		return err
	}
	return read(f.tx)
}

func (f *file) flushForView() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	if f.broken != nil {
		return f.broken
	}
	return f.flush()
}
