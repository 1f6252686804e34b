package invoke

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// HeaderHeapURL tells a contract, with each call, where it reads and writes its heap in the course of that call.
const HeaderHeapURL = "X-Heap-Url"

const (
	// maxViewWrites and maxViewBytes bound what one invocation may write before its answer, for it is kept in memory.
	maxViewWrites = 1 << 14
	maxViewBytes  = 8 << 20
	// ownVersions are those of keys that the invocation has written itself, which no store's are as large as.
	ownVersions = 1 << 63
)

// Why a request for the heap of a call under way was refused.
var (
	// ErrViewEnded: the call has ended, or there never was one.
	ErrViewEnded = fmt.Errorf("the call whose heap this is has ended: %w", function.ErrNotFound)
	// ErrViewFull: the call has written too much.
	ErrViewFull = fmt.Errorf("one call may write %d keys and %d bytes to its heap before it answers", maxViewWrites, maxViewBytes)
	// ErrContended: another call has changed a key that this one had compared, in every one of several attempts.
	ErrContended = errors.New("other calls changed what this one had compared before it could commit; nothing is written, call again")
)

// View is a contract's heap as one of its invocations sees it: what is committed, and over it what the invocation has written
// itself, which is committed with its answer or never. It is safe for concurrent use, and ends with the call.
type View struct {
	function *function.Function
	store    Store

	mu sync.Mutex
	// ended says that the call has: nothing that comes now would be committed.
	ended      bool
	writes     map[string]ownWrite
	bytes      int
	conditions map[string]uint64
	version    uint64
}

// ownWrite is the last thing that the invocation did to a key.
type ownWrite struct {
	value   []byte
	deleted bool
	version uint64
}

// views are those of the calls under way, by the random number that each has.
type views struct {
	mu sync.Mutex
	of map[string]*View
}

func (v *views) open(f *function.Function, store Store) (id string, view *View) {
	var number [16]byte
	rand.Read(number[:]) // never returns an error
	id = hex.EncodeToString(number[:])
	view = &View{function: f, store: store, writes: map[string]ownWrite{}, conditions: map[string]uint64{}, version: ownVersions}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of == nil {
		v.of = map[string]*View{}
	}
	v.of[id] = view
	return id, view
}

func (v *views) close(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.of, id)
}

// View returns the view of a call under way. Whoever asks must have proved to be of the view's function.
func (i *Invoker) View(id string) (*View, bool) {
	i.views.mu.Lock()
	defer i.views.mu.Unlock()
	view, found := i.views.of[id]
	return view, found
}

// Function is the contract.
func (v *View) Function() *function.Function { return v.function }

// Get returns a key as the invocation sees it. The errors are the store's, or ErrViewEnded.
func (v *View) Get(ctx context.Context, key string) (function.HeapEntry, error) {
	own, written, err := v.own(key)
	switch {
	case err != nil:
		return function.HeapEntry{}, err
	case written && own.deleted:
		return function.HeapEntry{}, errNoOwnKey
	case written:
		return function.HeapEntry{Key: key, Value: own.value, Version: own.version}, nil
	}
	return v.store.Get(ctx, v.function.Heap(), key)
}

var errNoOwnKey = function.NotFoundf("no such key in the heap: this call has deleted it")

// own is what the invocation did to a key.
func (v *View) own(key string) (own ownWrite, written bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended {
		return ownWrite{}, false, ErrViewEnded
	}
	own, written = v.writes[key]
	return own, written, nil
}

// List returns keys as the store does. One page may have fewer than limit though there are more, which next tells, but never none; and
// without a limit it may have more than the store gives at a time, by what the invocation has written.
func (v *View) List(ctx context.Context, prefix, after string, limit int) (keys []string, next string, err error) {
	keys, next, err = v.page(ctx, prefix, after, limit)
	for err == nil && len(keys) == 0 && next != "" {
		// All of a page are deleted, which may be so of many small ones.
		if keys, next, err = v.page(ctx, prefix, next, 0); limit > 0 && len(keys) > limit {
			keys = keys[:limit]
			next = keys[limit-1]
		}
	}
	return keys, next, err
}

// page is what the invocation sees of one page of the store's.
func (v *View) page(ctx context.Context, prefix, after string, limit int) (keys []string, next string, err error) {
	keys, next, err = v.store.List(ctx, v.function.Heap(), prefix, after, limit)
	if err != nil && !errors.Is(err, function.ErrNotFound) {
		return nil, "", err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended {
		return nil, "", ErrViewEnded
	}
	most := limit
	if next != "" {
		most = len(keys)
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return v.writes[key].deleted })
	for _, key := range slices.Sorted(maps.Keys(v.writes)) {
		own := v.writes[key]
		if !own.deleted && strings.HasPrefix(key, prefix) && key > after && (next == "" || key <= next) {
			if at, there := slices.BinarySearch(keys, key); !there {
				keys = slices.Insert(keys, at, key)
			}
		}
	}
	if most > 0 && len(keys) > most {
		keys = keys[:most]
		next = keys[most-1]
	}
	return keys, next, nil
}

// Write sets or deletes a key, as far as this invocation sees it, and returns the version that the key has for it. If a condition
// is given, it must hold now, and for a key that the invocation had not written before, still when it commits. An error wraps
// function.ErrCondition, ErrViewFull, ErrViewEnded or the store's.
func (v *View) Write(ctx context.Context, write function.HeapWrite, condition *function.HeapCondition) (version uint64, err error) {
	_, written, err := v.own(write.Key)
	if err != nil {
		return 0, err
	}
	var committed uint64
	if condition != nil && !written {
		entry, err := v.store.Get(ctx, v.function.Heap(), write.Key)
		if err != nil && !errors.Is(err, function.ErrNotFound) {
			return 0, err
		}
		committed = entry.Version
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended {
		return 0, ErrViewEnded
	}
	// Another request of the same invocation may have written the key meanwhile.
	own, written := v.writes[write.Key]
	if condition != nil {
		if written {
			committed = own.version
			if own.deleted {
				committed = 0
			}
		}
		if !condition.Holds(committed) {
			return 0, fmt.Errorf("%w: %.40q", function.ErrCondition, write.Key)
		}
	}
	bytes := v.bytes + len(write.Key) + len(write.Value)
	if written {
		bytes -= len(write.Key) + len(own.value)
	}
	if bytes > maxViewBytes || !written && len(v.writes) == maxViewWrites {
		return 0, ErrViewFull
	}
	if condition != nil && !written {
		v.conditions[write.Key] = committed
	}
	v.bytes = bytes
	v.version++
	v.writes[write.Key] = ownWrite{value: write.Value, deleted: write.Delete, version: v.version}
	return v.version, nil
}

// end ends the view, and returns what it leaves to commit.
func (v *View) end() (writes []function.HeapWrite, conditions []function.HeapCondition) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = true
	for _, key := range slices.Sorted(maps.Keys(v.writes)) {
		own := v.writes[key]
		writes = append(writes, function.HeapWrite{Key: key, Value: own.value, Delete: own.deleted})
	}
	for _, key := range slices.Sorted(maps.Keys(v.conditions)) {
		conditions = append(conditions, function.HeapCondition{Key: key, Version: v.conditions[key]})
	}
	return writes, conditions
}
