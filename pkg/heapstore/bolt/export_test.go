package bolt

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/driver"
)

// Limit has stores that are opened from now on make checkpoints when their log has so many bytes, and map so much of their file.
func Limit(walBytes int64, mapped int) { walMaxBytes, mapBytes = walBytes, mapped }

// LimitIn is Limit until a test ends.
func LimitIn(t testing.TB, walBytes int64, mapped int) {
	wal, all := walMaxBytes, mapBytes
	Limit(walBytes, mapped)
	t.Cleanup(func() { Limit(wal, all) })
}

// LimitPending has stores flush when so many keys are pending, or when nothing was committed for so long.
func LimitPending(keys int, after time.Duration) { pendingKeys, flushAfter = keys, after }

// LimitPendingIn is LimitPending until a test ends.
func LimitPendingIn(t testing.TB, keys int, after time.Duration) {
	all, idle := pendingKeys, flushAfter
	LimitPending(keys, after)
	t.Cleanup(func() { LimitPending(all, idle) })
}

// Pending is how many groups wait for bbolt's commit.
func Pending(s *Store) int { return locked(s, func() int { return len(s.file.pending.records) }) }

// Flush has bbolt commit them.
func Flush(s *Store) error { return locked(s, s.file.flush) }

// Spoil puts a key into a heap that is there, and goes on as end does.
func Spoil(ctx context.Context, s *Store, h heapstore.Heap, key string, end func() error) error {
	return s.changes.Do(ctx, driver.Size{}, func(c *change) error {
		if err := c.heaps().Bucket(bucketName(h)).Put([]byte(key), []byte("{}")); err != nil {
			return err
		}
		return end()
	})
}

// ReserveNothing has flushes for which a larger map is needed find out too late that the disk has no room, until the test ends.
func ReserveNothing(t testing.TB) {
	before := reserve
	reserve = func(*file) error { return nil }
	t.Cleanup(func() { reserve = before })
}

// HoldLogSyncs has every sync of a log wait until release is called. begun is closed when one does.
func HoldLogSyncs(t testing.TB) (begun <-chan struct{}, release func()) {
	before, begins, ends := syncData, make(chan struct{}), make(chan struct{})
	begin, end := sync.OnceFunc(func() { close(begins) }), sync.OnceFunc(func() { close(ends) })
	syncData = func(fd int) error {
		begin()
		<-ends
		return before(fd)
	}
	t.Cleanup(func() {
		end()
		syncData = before
	})
	return begins, end
}

// FailSyncs has every sync of logs, or of stores' files, fail with the errors that failing was called with last, until the test ends.
func FailSyncs(t testing.TB) (failing func(ofLogs, ofFiles error)) {
	data, all := syncData, syncAll
	var ofLogs, ofFiles error
	syncData = func(fd int) error {
		if ofLogs != nil {
			return ofLogs
		}
		return data(fd)
	}
	syncAll = func(file *os.File) error {
		if ofFiles != nil {
			return ofFiles
		}
		return all(file)
	}
	t.Cleanup(func() { syncData, syncAll = data, all })
	return func(logs, files error) { ofLogs, ofFiles = logs, files }
}

// HoldSyncs has every sync of a store's file wait until release is called. begun is closed when one does.
func HoldSyncs(t testing.TB) (begun <-chan struct{}, release func()) {
	before, begins, ends := syncAll, make(chan struct{}), make(chan struct{})
	begin, end := sync.OnceFunc(func() { close(begins) }), sync.OnceFunc(func() { close(ends) })
	syncAll = func(file *os.File) error {
		begin()
		<-ends
		return before(file)
	}
	t.Cleanup(func() {
		end()
		syncAll = before
	})
	return begins, end
}

// Abandon closes a store's files as a process leaves them that dies.
func Abandon(s *Store) error {
	defer s.file.ahead.Wait()
	s.file.mu.Lock()
	defer s.file.mu.Unlock()
	return s.file.abandon()
}

// Await waits for a checkpoint that is being made. Nobody commits meanwhile.
func Await(s *Store) { s.file.ahead.Wait() }

// Epoch and End say where a store's log is.
func Epoch(s *Store) uint64 { return locked(s, func() uint64 { return s.file.wal.head.epoch }) }
func End(s *Store) int64    { return locked(s, func() int64 { return s.file.wal.end }) }

func locked[T any](s *Store, read func() T) T {
	s.file.mu.Lock()
	defer s.file.mu.Unlock()
	return read()
}

// Dump is all that is in a store's file, its counters too.
func Dump(s *Store) (string, error) {
	var b strings.Builder
	err := s.file.view(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, top *bbolt.Bucket) error { return dump(&b, string(name), top) })
	})
	return b.String(), err
}

func dump(b *strings.Builder, name string, of *bbolt.Bucket) error {
	fmt.Fprintf(b, "%q %d\n", name, of.Sequence())
	return of.ForEach(func(key, value []byte) error {
		if value == nil {
			return dump(b, name+"/"+string(key), of.Bucket(key))
		}
		_, err := fmt.Fprintf(b, "%q %x %x\n", name, key, value)
		return err
	})
}

// Redo makes a transaction of a record's operations.
func Redo(db *bbolt.DB, ops []byte) error {
	return db.Update(func(tx *bbolt.Tx) error { return redo(tx, ops) })
}

// Prepare makes an empty bbolt file a store's.
func Prepare(db *bbolt.DB) error { return prepare(db) }

// EntryValue is the value in what a key of the file holds.
func EntryValue(held []byte) ([]byte, error) {
	e, err := decodeEntry("", held)
	return e.Value, err
}

// FailCheckpoints has checkpoints fail as on a disk without room, until failing is called with false or the test ends.
func FailCheckpoints(t testing.TB) (failing func(bool)) {
	write := writeFreeList
	t.Cleanup(func() { writeFreeList = write })
	return func(on bool) {
		writeFreeList = write
		if on {
			writeFreeList = func(*bbolt.DB, bool, func()) error { return syscall.ENOSPC }
		}
	}
}
