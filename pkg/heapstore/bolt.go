package heapstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const defaultLockTimeout = 5 * time.Second

// Options are the knobs of a Bolt; the zero value works.
type Options struct {
	// LockTimeout is how long OpenBolt waits for another process to let go of the file. 0 means 5 s, which covers the
	// end of a predecessor; negative means not at all.
	LockTimeout time.Duration
	// QuotaBytes bounds a heap whose commits name no quota. 0 means DefaultQuotaBytes; negative is refused.
	QuotaBytes int64
}

// Bolt is a store in one bbolt file, open in one process.
type Bolt struct {
	db         *bbolt.DB
	quotaBytes int64
	changes    *batcher
}

// OpenBolt opens the store in the file at path, and makes the file if it is absent; its folder must exist. The error
// wraps ErrLocked if another process keeps the file open, and ErrSchema if the file holds anything else than a store of
// this version's layout, in which case the file is left as it was.
func OpenBolt(path string, options Options) (*Bolt, error) {
	if options.QuotaBytes < 0 {
		return nil, fmt.Errorf("open heap store %q: a quota of %d bytes", path, options.QuotaBytes)
	}
	if options.QuotaBytes == 0 {
		options.QuotaBytes = DefaultQuotaBytes
	}
	db, err := openFile(path, options.LockTimeout)
	if err != nil {
		return nil, fmt.Errorf("open heap store %q: %w", path, err)
	}
	return &Bolt{db: db, quotaBytes: options.QuotaBytes, changes: newBatcher(db.Update)}, nil
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
			return fmt.Errorf("%w: %w", ErrSchema, err)
		}
	}
	if errors.Is(err, bolterrors.ErrTimeout) {
		return ErrLocked
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

// Close ends the store when the transactions under way have ended. What is called later gets ErrClosed.
func (b *Bolt) Close() error {
	return b.db.Close()
}

// Create makes an empty heap. It does nothing to a heap that is there, so it may be repeated.
func (b *Bolt) Create(ctx context.Context, h Heap) error {
	if err := checkHeap(h); err != nil {
		return err
	}
	// A reconciler repeats this at every turn; a look costs no sync.
	if there, err := b.exists(h); err != nil || there {
		return wrap("create heap of", h, err)
	}
	err := b.changes.do(ctx, size{}, func(tx *bbolt.Tx) error {
		_, err := heapsOf(tx).CreateBucketIfNotExists(bucketName(h))
		return err
	})
	return wrap("create heap of", h, err)
}

// Drop deletes a heap and all that is in it. It does nothing if the heap is not there, so it may be repeated.
func (b *Bolt) Drop(ctx context.Context, h Heap) error {
	if there, err := b.exists(h); err != nil || !there {
		return wrap("drop heap of", h, err)
	}
	err := b.changes.do(ctx, size{}, func(tx *bbolt.Tx) error {
		err := heapsOf(tx).DeleteBucket(bucketName(h))
		if errors.Is(err, bolterrors.ErrBucketNotFound) {
			return nil
		}
		return err
	})
	return wrap("drop heap of", h, err)
}

// Commit makes the writes permanent, all or none, and returns when they are on the disk. If a key occurs more than once,
// the last write counts. quotaBytes bounds the heap's keys and values together; 0 means the store's own quota. An error
// may wrap ErrNoHeap, ErrBadKey, ErrKeyTooLarge, ErrValueTooLarge, ErrQuota, ErrClosed or ctx's error; see the package's
// guarantees for what is written then. Commit keeps nothing of writes.
func (b *Bolt) Commit(ctx context.Context, h Heap, writes []Write, quotaBytes int64) error {
	if err := checkWrites(writes); err != nil {
		return wrap("commit to heap of", h, err)
	}
	if quotaBytes == 0 {
		quotaBytes = b.quotaBytes
	}
	last, bytes := lastWrites(writes)
	err := b.changes.do(ctx, size{writes: len(last), bytes: bytes}, func(tx *bbolt.Tx) error {
		return commit(tx, h, last, quotaBytes)
	})
	return wrap("commit to heap of", h, err)
}

// lastWrites sorts a copy of writes by key, drops those that a later one replaces, and sums up the rest. The order keeps a
// large commit linear in time: bbolt splits pages only at the end of the transaction, so that keys in any other order are
// each inserted in the middle of one long slice.
func lastWrites(writes []Write) (last []Write, bytes int) {
	last = slices.Clone(writes)
	slices.SortStableFunc(last, func(a, b Write) int { return strings.Compare(a.Key, b.Key) })
	n := 0
	for i, w := range last {
		if i+1 < len(last) && last[i+1].Key == w.Key {
			continue
		}
		last[n] = w
		n++
		bytes += len(w.Key) + len(w.Value)
	}
	return last[:n], bytes
}

// commit is the change that one Commit makes. It refuses before it writes.
func commit(tx *bbolt.Tx, h Heap, writes []Write, quotaBytes int64) error {
	heap := heapsOf(tx).Bucket(bucketName(h))
	if heap == nil {
		return ErrNoHeap
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
	if after > quotaBytes && after > before {
		return fmt.Errorf("%w: the heap would have %d bytes; at most %d are allowed", ErrQuota, after, quotaBytes)
	}
	for _, w := range writes {
		if w.Value == nil {
			// bbolt gives a nil value back as nil while its page is dirty, which would look like an absent key.
			w.Value = []byte{}
		}
		if err := heap.Put([]byte(w.Key), w.Value); err != nil {
			// checkWrites lets nothing pass that bbolt refuses, and h is a bucket of a writable transaction.
			panic(fmt.Sprintf("heapstore: bbolt refuses a checked key: %v", err))
		}
	}
	return heap.SetSequence(uint64(after))
}

// Get returns a copy of the value of a key. The error wraps ErrNoHeap or ErrNoKey if there is none.
func (b *Bolt) Get(ctx context.Context, h Heap, key string) (value []byte, err error) {
	err = b.view(ctx, h, func(heap *bbolt.Bucket) error {
		found := heap.Get([]byte(key))
		if found == nil {
			return ErrNoKey
		}
		value = append([]byte{}, found...)
		return nil
	})
	return value, wrap("read heap of", h, err)
}

// List returns, in byte order, the keys that begin with prefix and come after the key after, at most limit of them: 0
// means DefaultListLimit, and more than MaxListLimit are never returned. If there are more, next is what to give as after
// to go on; otherwise it is empty.
func (b *Bolt) List(ctx context.Context, h Heap, prefix, after string, limit int) (keys []string, next string, err error) {
	limit = listLimit(limit)
	keys = []string{}
	err = b.view(ctx, h, func(heap *bbolt.Bucket) error {
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

func (b *Bolt) view(ctx context.Context, h Heap, read func(heap *bbolt.Bucket) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.db.View(func(tx *bbolt.Tx) error {
		heap := heapsOf(tx).Bucket(bucketName(h))
		if heap == nil {
			return ErrNoHeap
		}
		return read(heap)
	})
}

func (b *Bolt) exists(h Heap) (there bool, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		there = heapsOf(tx).Bucket(bucketName(h)) != nil
		return nil
	})
	return there, err
}

// checkHeap refuses a heap whose bucket's name could be read in two ways.
func checkHeap(h Heap) error {
	for _, part := range []string{h.Namespace, h.Name, h.ID} {
		if part == "" || strings.Contains(part, "/") {
			return function.Invalidf("heap %q of record %q: namespace, name and record are needed and contain no slash", h.Ref, h.ID)
		}
	}
	return nil
}

func bucketName(h Heap) []byte {
	return []byte(h.Namespace + "/" + h.Name + "/" + h.ID)
}

// wrap says what was being done to which heap, and turns bbolt's word for a closed store into ours.
func wrap(doing string, h Heap, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		err = ErrClosed
	}
	return fmt.Errorf("%s %q: %w", doing, h.Ref, err)
}
