package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	file       *file
	db         *bbolt.DB // file's, for reading what is not in its overlay
	quotaBytes int64
	recordAge  time.Duration
	changes    *driver.Batcher[apply]
	lines      *lines
}

// apply is a change's part of a transaction. It must have written nothing if it returns an error.
type apply func(*change) error

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
	f, err := openFile(path, options.LockTimeout)
	if err != nil {
		return nil, fmt.Errorf("open heap store %q: %w", path, err)
	}
	s := &Store{file: f, db: f.db, quotaBytes: options.QuotaBytes, recordAge: options.RecordAge}
	if s.lines, err = loadQueue(f.db); err != nil {
		return nil, errors.Join(fmt.Errorf("open heap store %q: %w", path, err), f.close())
	}
	s.lines.begun = openBegun(path, s.lines.has)
	s.changes = driver.NewBatcher(s.run)
	return s, nil
}

// Close is heapstore.Store's.
func (s *Store) Close() error {
	// First, while the lock is held that keeps another process from all files.
	return errors.Join(s.lines.close(), s.file.close())
}

// run makes one transaction of a batch.
func (s *Store) run(batch []apply, refused []error) error {
	return s.file.update(func(c *change) error {
		written := 0
		for i, apply := range batch {
			before := len(c.ops)
			if refused[i] = apply(c); refused[i] == nil {
				written++
			} else if len(c.ops) > before {
				return fmt.Errorf("a change was refused when it was made in part: %w", refused[i])
			}
		}
		if written == 0 {
			return errNothingWritten
		}
		return nil
	})
}

// errNothingWritten ends a group in which every change was refused, to save the sync. No change gets it as its outcome: each has
// its own error.
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
	err := s.changes.Do(ctx, driver.Size{}, func(tx *change) error {
		_, err := tx.heaps().CreateBucketIfNotExists(bucketName(h))
		return err
	})
	return wrap("create heap of", h, err)
}

// Drop is heapstore.Store's.
func (s *Store) Drop(ctx context.Context, h heapstore.Heap) error {
	if there, err := s.keeps(h); err != nil || !there {
		return wrap("drop heap of", h, err)
	}
	err := s.changes.Do(ctx, driver.Size{}, func(tx *change) error {
		for _, all := range []*bucket{tx.heaps(), tx.calls(), tx.queue()} {
			if err := all.DeleteBucket(bucketName(h)); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
				return err
			}
		}
		return tx.ticks().Delete(bucketName(h))
	})
	if err == nil {
		s.lines.drop(h)
	}
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
	leaves, send, err := s.leaves(c)
	if err != nil {
		return wrap("commit to heap of", h, err)
	}
	if leaves != nil && leaves.turn != nil && len(writes)+len(c.Conditions)+len(send) == 0 && c.CallID == "" {
		// A caller's turn is in memory alone: its end needs no sync.
		s.left(leaves, nil)
		return nil
	}
	err = s.changes.Do(ctx, driver.Size{Writes: len(writes), Bytes: bytes + len(record)}, func(tx *change) error {
		if leaves != nil && !there(tx, h, leaves) {
			return heapstore.ErrLeaseLost
		}
		if c.CallID != "" && isRecorded(tx, h, c.CallID) {
			return heapstore.ErrRecorded
		}
		now := time.Now()
		if err := commit(tx, h, c, writes, now); err != nil {
			return err
		}
		if err := leave(tx, h, leaves, send); err != nil {
			panic(fmt.Sprintf("bolt: bbolt refuses a change of the queue: %v", err)) // see commit
		}
		if c.CallID == "" {
			return nil
		}
		if err := s.record(tx, h, c.CallID, record, now); err != nil {
			panic(fmt.Sprintf("bolt: bbolt refuses the record of a call: %v", err)) // see commit
		}
		return nil
	})
	if err == nil {
		s.left(leaves, send)
	}
	return wrap("commit to heap of", h, err)
}

// commit is the change that one Commit makes. It refuses before it writes. writes are c's, sorted and each key once.
func commit(tx *change, h heapstore.Heap, c heapstore.Commit, writes []heapstore.Write, now time.Time) error {
	heap := tx.heaps().Bucket(bucketName(h))
	if heap == nil {
		return heapstore.ErrNoHeap
	}
	for _, condition := range c.Conditions {
		version, err := versionOf(heap, condition.Key)
		if err != nil {
			return err
		}
		if err := driver.CheckCondition(condition, version); err != nil {
			return err
		}
	}
	if len(writes) == 0 {
		return nil
	}
	after, err := sizeAfter(heap, writes)
	if err != nil {
		return err
	}
	if err := driver.CheckQuota(int64(heap.Sequence()), after, c.QuotaBytes); err != nil {
		return err
	}
	if err := write(heap, writes, tx.heaps().Sequence()+1, driver.Writer(c), now); err != nil {
		// driver.CheckWrites lets nothing pass that bbolt refuses, and h is a bucket of a writable transaction.
		panic(fmt.Sprintf("bolt: bbolt refuses a checked key: %v", err))
	}
	return errors.Join(heap.SetSequence(uint64(after)), tx.heaps().SetSequence(tx.heaps().Sequence()+1))
}

// versionOf returns the version of a key, 0 if it is absent.
func versionOf(heap *bucket, key string) (uint64, error) {
	found := heap.Get([]byte(key))
	if found == nil {
		return 0, nil
	}
	entry, err := decodeEntry(key, found)
	return entry.Version, err
}

// sizeAfter returns how many bytes a heap has after writes.
func sizeAfter(heap *bucket, writes []heapstore.Write) (int64, error) {
	size := int64(heap.Sequence())
	for _, w := range writes {
		if !w.Delete {
			size += int64(len(w.Key) + len(w.Value))
		}
		if found := heap.Get([]byte(w.Key)); found != nil {
			old, err := decodeEntry(w.Key, found)
			if err != nil {
				return 0, err
			}
			size -= int64(len(w.Key) + len(old.Value))
		}
	}
	return size, nil
}

func write(heap *bucket, writes []heapstore.Write, version uint64, callID string, now time.Time) (err error) {
	for _, w := range writes {
		if w.Delete {
			err = heap.Delete([]byte(w.Key))
		} else {
			err = heap.Put([]byte(w.Key), encodeEntry(w.Value, version, callID, now))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Get is heapstore.Store's.
func (s *Store) Get(ctx context.Context, h heapstore.Heap, key string) (entry heapstore.Entry, err error) {
	if err := ctx.Err(); err != nil {
		return entry, wrap("read heap of", h, err)
	}
	p := place{h, key}
	entry, since, found := s.file.cache.get(p)
	if found {
		return entry, nil
	}
	keep := func(found []byte) error {
		if found == nil {
			return heapstore.ErrNoKey
		}
		entry, err = keepEntry(key, found)
		return err
	}
	name := bucketName(h)
	if found, held := s.file.over.get([]byte(key), heapsBucket, name); held {
		err = keep(found)
	} else {
		err = s.db.View(func(tx *bbolt.Tx) error {
			heap := heapsOf(tx).Bucket(name)
			if heap == nil {
				return heapstore.ErrNoHeap
			}
			return keep(heap.Get([]byte(key)))
		})
	}
	if err == nil {
		s.file.cache.put(p, entry, since)
	}
	return entry, wrap("read heap of", h, err)
}

// keepEntry decodes what a key holds, in memory of its own: bbolt's ends with the transaction.
func keepEntry(key string, found []byte) (heapstore.Entry, error) {
	return decodeEntry(key, append([]byte{}, found...))
}

// List is heapstore.Store's.
func (s *Store) List(ctx context.Context, h heapstore.Heap, prefix, after string, limit int) (keys []string, next string, err error) {
	keys = []string{}
	next, err = s.walk(ctx, h, prefix, after, limit, func(key string, _ []byte) (more bool, err error) {
		keys = append(keys, key)
		return true, nil
	})
	if err != nil {
		return nil, "", wrap("list heap of", h, err)
	}
	return keys, next, nil
}

// Entries is heapstore.Store's.
func (s *Store) Entries(
	ctx context.Context, h heapstore.Heap, prefix, after string, limit int,
) (entries []heapstore.Entry, next string, err error) {
	entries = []heapstore.Entry{}
	bytes := 0
	next, err = s.walk(ctx, h, prefix, after, limit, func(key string, value []byte) (more bool, err error) {
		entry, err := keepEntry(key, value)
		entries, bytes = append(entries, entry), bytes+len(entry.Value)
		return bytes <= heapstore.MaxEntriesBytes, err
	})
	if err != nil {
		return nil, "", wrap("read heap of", h, err)
	}
	return entries, next, nil
}

// walk calls visit for the keys that List is to return, until visit wants no more. next is as List returns it.
func (s *Store) walk(
	ctx context.Context, h heapstore.Heap, prefix, after string, limit int, visit func(key string, value []byte) (more bool, err error),
) (next string, err error) {
	limit = driver.ListLimit(limit)
	err = s.view(ctx, h, func(heap *bbolt.Bucket) error {
		cursor := heap.Cursor()
		key, value := cursor.Seek([]byte(max(prefix, after)))
		if after != "" && string(key) == after {
			key, value = cursor.Next()
		}
		last, more := "", true
		for visited := 0; key != nil && bytes.HasPrefix(key, []byte(prefix)); key, value = cursor.Next() {
			if !more || visited == limit {
				next = last
				return nil
			}
			last = string(key)
			visited++
			if more, err = visit(last, value); err != nil {
				return err
			}
		}
		return nil
	})
	return next, err
}

// Usage is heapstore.Store's.
func (s *Store) Usage(ctx context.Context, h heapstore.Heap) (usage heapstore.Usage, err error) {
	err = s.view(ctx, h, func(heap *bbolt.Bucket) error {
		usage = heapstore.Usage{Keys: keysOf(heap), Bytes: int64(heap.Sequence())}
		return nil
	})
	return usage, wrap("read heap of", h, err)
}

func keysOf(heap *bbolt.Bucket) (keys int64) {
	if !heap.Writable() {
		return int64(heap.Stats().KeyN)
	}
	// bbolt counts what it has committed.
	for cursor, key := heap.Cursor(), []byte(nil); ; keys++ {
		if key == nil {
			key, _ = cursor.First()
		} else {
			key, _ = cursor.Next()
		}
		if key == nil {
			return keys
		}
	}
}

func (s *Store) view(ctx context.Context, h heapstore.Heap, read func(heap *bbolt.Bucket) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.file.view(func(tx *bbolt.Tx) error {
		heap := heapsOf(tx).Bucket(bucketName(h))
		if heap == nil {
			return heapstore.ErrNoHeap
		}
		return read(heap)
	})
}

// exists needs no overlay: a group that makes or deletes a bucket is flushed.
func (s *Store) exists(h heapstore.Heap) (there bool, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		there = heapsOf(tx).Bucket(bucketName(h)) != nil
		return nil
	})
	return there, err
}

// keeps reports whether there is anything of a function's record.
func (s *Store) keeps(h heapstore.Heap) (anything bool, err error) {
	name := bucketName(h)
	if clock, _ := s.file.over.get(name, ticksBucket); clock != nil {
		return true, nil
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		anything = heapsOf(tx).Bucket(name) != nil || queueOf(tx).Bucket(name) != nil || tx.Bucket(ticksBucket).Get(name) != nil
		return nil
	})
	return anything, err
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
