package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/driver"
)

const defaultLockTimeout = 5 * time.Second

// Options are the knobs of a Store; the zero value works.
type Options struct {
	// LockTimeout is how long Open waits for another process to let go of the file. 0 means 5 s, which covers the end of a
	// predecessor; negative means not at all.
	LockTimeout time.Duration
	// QuotaBytes bounds a heap whose commits name no quota. 0 means heapstore.DefaultQuotaBytes; negative is refused.
	QuotaBytes int64
	// RecordAge is how long recorded answers are kept, as far as the bounds of package heapstore allow. 0 means
	// heapstore.DefaultRecordAge; negative is refused.
	RecordAge time.Duration
}

// Store is a store in one bbolt file, open in one process. It is a heapstore.Store.
type Store struct {
	db         *bbolt.DB
	quotaBytes int64
	recordAge  time.Duration
	changes    *driver.Batcher[apply]
}

// apply is a change's part of a transaction. It must have written nothing if it returns an error.
type apply func(*bbolt.Tx) error

// Open opens the store in the file at path, and makes the file if it is absent; its folder must exist. The error wraps
// heapstore.ErrLocked if another process keeps the file open, and heapstore.ErrSchema if the file holds anything else than
// a store of a layout that this version knows, in which case the file is left as it was.
func Open(path string, options Options) (*Store, error) {
	if options.QuotaBytes < 0 || options.RecordAge < 0 {
		return nil, fmt.Errorf("open heap store %q: a quota of %d bytes, and answers kept for %v", path, options.QuotaBytes, options.RecordAge)
	}
	if options.RecordAge == 0 {
		options.RecordAge = heapstore.DefaultRecordAge
	}
	if options.QuotaBytes == 0 {
		options.QuotaBytes = heapstore.DefaultQuotaBytes
	}
	db, err := openFile(path, options.LockTimeout)
	if err != nil {
		return nil, fmt.Errorf("open heap store %q: %w", path, err)
	}
	s := &Store{db: db, quotaBytes: options.QuotaBytes, recordAge: options.RecordAge}
	s.changes = driver.NewBatcher(s.run)
	return s, nil
}

func openFile(path string, lockTimeout time.Duration) (*bbolt.DB, error) {
	switch {
	case lockTimeout == 0:
		lockTimeout = defaultLockTimeout
	case lockTimeout < 0:
		// To bbolt 0 means to wait for ever.
		lockTimeout = 1
	}
	// The hash map finds free pages in constant time; the default, a sorted array, gets slow in a large fragmented file.
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, openError(err)
	}
	if err := errors.Join(prepare(db), syncFolder(path)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func openError(err error) error {
	for _, damage := range []error{bolterrors.ErrInvalid, bolterrors.ErrVersionMismatch, bolterrors.ErrChecksum} {
		if errors.Is(err, damage) {
			return fmt.Errorf("%w: %w", heapstore.ErrSchema, err)
		}
	}
	if errors.Is(err, bolterrors.ErrTimeout) {
		return heapstore.ErrLocked
	}
	return err
}

// syncFolder makes the file's name durable: bbolt syncs the file it creates, but not the folder that lists it.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Close is heapstore.Store's.
func (s *Store) Close() error {
	return s.db.Close()
}

// run makes one transaction of a batch.
func (s *Store) run(batch []apply, refused []error) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		written := 0
		for i, apply := range batch {
			if refused[i] = apply(tx); refused[i] == nil {
				written++
			}
		}
		if written == 0 {
			return errNothingWritten
		}
		return nil
	})
}

// errNothingWritten rolls back a transaction in which every change was refused, to save the sync. No change gets it as
// its outcome: each has its own error.
var errNothingWritten = errors.New("nothing written")

// Create is heapstore.Store's.
func (s *Store) Create(ctx context.Context, h heapstore.Heap) error {
	if err := driver.CheckHeap(h); err != nil {
		return err
	}
	// A reconciler repeats this at every turn; a look costs no sync.
	if there, err := s.exists(h); err != nil || there {
		return wrap("create heap of", h, err)
	}
	err := s.changes.Do(ctx, driver.Size{}, func(tx *bbolt.Tx) error {
		_, err := heapsOf(tx).CreateBucketIfNotExists(bucketName(h))
		return err
	})
	return wrap("create heap of", h, err)
}

// Drop is heapstore.Store's.
func (s *Store) Drop(ctx context.Context, h heapstore.Heap) error {
	if there, err := s.exists(h); err != nil || !there {
		return wrap("drop heap of", h, err)
	}
	err := s.changes.Do(ctx, driver.Size{}, func(tx *bbolt.Tx) error {
		for _, all := range []*bbolt.Bucket{heapsOf(tx), callsOf(tx)} {
			if err := all.DeleteBucket(bucketName(h)); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
				return err
			}
		}
		return nil
	})
	return wrap("drop heap of", h, err)
}

// Commit is heapstore.Store's.
func (s *Store) Commit(ctx context.Context, h heapstore.Heap, c heapstore.Commit) error {
	if err := driver.CheckWrites(c.Writes); err != nil {
		return wrap("commit to heap of", h, err)
	}
	if c.QuotaBytes == 0 {
		c.QuotaBytes = s.quotaBytes
	}
	// Sorted, a large commit takes time linear in its writes: bbolt splits pages only at the end of the transaction, so that
	// keys in any other order are each inserted in the middle of one long slice.
	writes, bytes := driver.LastWrites(c.Writes)
	var record []byte
	if c.CallID != "" {
		record = driver.EncodeRecord(c.Record)
	}
	err := s.changes.Do(ctx, driver.Size{Writes: len(writes), Bytes: bytes + len(record)}, func(tx *bbolt.Tx) error {
		if c.CallID != "" && isRecorded(tx, h, c.CallID) {
			return heapstore.ErrRecorded
		}
		if err := commit(tx, h, writes, c.QuotaBytes); err != nil || c.CallID == "" {
			return err
		}
		if err := s.record(tx, h, c.CallID, record, time.Now()); err != nil {
			panic(fmt.Sprintf("bolt: bbolt refuses the record of a call: %v", err)) // see commit
		}
		return nil
	})
	return wrap("commit to heap of", h, err)
}

// commit is the change that one Commit makes. It refuses before it writes.
func commit(tx *bbolt.Tx, h heapstore.Heap, writes []heapstore.Write, quotaBytes int64) error {
	heap := heapsOf(tx).Bucket(bucketName(h))
	if heap == nil {
		return heapstore.ErrNoHeap
	}
	before := int64(heap.Sequence())
	after := before
	for _, w := range writes {
		after += int64(len(w.Value))
		if old := heap.Get([]byte(w.Key)); old != nil {
			after -= int64(len(old))
		} else {
			after += int64(len(w.Key))
		}
	}
	if err := driver.CheckQuota(before, after, quotaBytes); err != nil {
		return err
	}
	for _, w := range writes {
		if w.Value == nil {
			// bbolt gives a nil value back as nil while its page is dirty, which would look like an absent key.
			w.Value = []byte{}
		}
		if err := heap.Put([]byte(w.Key), w.Value); err != nil {
			// driver.CheckWrites lets nothing pass that bbolt refuses, and h is a bucket of a writable transaction.
			panic(fmt.Sprintf("bolt: bbolt refuses a checked key: %v", err))
		}
	}
	return heap.SetSequence(uint64(after))
}

// Get is heapstore.Store's.
func (s *Store) Get(ctx context.Context, h heapstore.Heap, key string) (value []byte, err error) {
	err = s.view(ctx, h, func(heap *bbolt.Bucket) error {
		found := heap.Get([]byte(key))
		if found == nil {
			return heapstore.ErrNoKey
		}
		value = append([]byte{}, found...)
		return nil
	})
	return value, wrap("read heap of", h, err)
}

// List is heapstore.Store's.
func (s *Store) List(ctx context.Context, h heapstore.Heap, prefix, after string, limit int) (keys []string, next string, err error) {
	limit = driver.ListLimit(limit)
	keys = []string{}
	err = s.view(ctx, h, func(heap *bbolt.Bucket) error {
		cursor := heap.Cursor()
		key, _ := cursor.Seek([]byte(max(prefix, after)))
		if after != "" && string(key) == after {
			key, _ = cursor.Next()
		}
		for ; key != nil && bytes.HasPrefix(key, []byte(prefix)); key, _ = cursor.Next() {
			if len(keys) == limit {
				next = keys[limit-1]
				return nil
			}
			keys = append(keys, string(key))
		}
		return nil
	})
	if err != nil {
		return nil, "", wrap("list heap of", h, err)
	}
	return keys, next, nil
}

func (s *Store) view(ctx context.Context, h heapstore.Heap, read func(heap *bbolt.Bucket) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.db.View(func(tx *bbolt.Tx) error {
		heap := heapsOf(tx).Bucket(bucketName(h))
		if heap == nil {
			return heapstore.ErrNoHeap
		}
		return read(heap)
	})
}

func (s *Store) exists(h heapstore.Heap) (there bool, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		there = heapsOf(tx).Bucket(bucketName(h)) != nil
		return nil
	})
	return there, err
}

func bucketName(h heapstore.Heap) []byte {
	return []byte(h.Namespace + "/" + h.Name + "/" + h.ID)
}

// wrap says what was being done to which heap, and turns bbolt's word for a closed store into ours.
func wrap(doing string, h heapstore.Heap, err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		err = heapstore.ErrClosed
	}
	return driver.Wrap(doing, h, err)
}
