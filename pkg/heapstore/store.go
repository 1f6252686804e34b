package heapstore

import (
	"context"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Heap, Write, Commit and Record are the domain's words under the names that a caller of a store looks for.
type (
	Heap      = function.Heap
	Write     = function.HeapWrite
	Entry     = function.HeapEntry
	Condition = function.HeapCondition
	Usage     = function.HeapUsage
	Commit    = function.Commit
	Record    = function.Record
)

// Store is what every driver gives. It is safe for concurrent use. What each method promises beyond its comment is told by
// the package's guarantees.
type Store interface {
	Queue
	// Create makes an empty heap. It does nothing to a heap that is there, so it may be repeated. It refuses a name with
	// an empty part or a slash with function.ErrInvalid.
	Create(ctx context.Context, h Heap) error
	// Drop deletes a heap, all that is kept of its contract's invocations and all that is in the queue of the function, which need
	// not be a contract. It does nothing if nothing is there, so it may be repeated.
	Drop(ctx context.Context, h Heap) error
	// Commit makes all that one invocation changes permanent, or nothing of it, and returns when it is on the disk. If a
	// key occurs more than once, the last write counts. An error may wrap ErrNoHeap, ErrBadKey, ErrKeyTooLarge,
	// ErrValueTooLarge, ErrQuota, ErrRecorded, ErrCondition, ErrLeaseLost, ErrUnknown, ErrClosed or ctx's error. Commit keeps
	// nothing of c.
	Commit(ctx context.Context, h Heap, c Commit) error
	// Recorded returns what is recorded of a call id, and whether anything is: that its invocation has taken effect. The
	// error wraps ErrNoHeap if there is no heap.
	Recorded(ctx context.Context, h Heap, callID string) (r Record, found bool, err error)
	// Get returns a key's entry, which is the caller's to keep. The error wraps ErrNoHeap or ErrNoKey if there is none.
	Get(ctx context.Context, h Heap, key string) (Entry, error)
	// List returns, in byte order, the keys that begin with prefix and come after the key after, at most limit of them: 0
	// means DefaultListLimit, and more than MaxListLimit are never returned. If there are more, next is what to give as
	// after to go on; otherwise it is empty.
	List(ctx context.Context, h Heap, prefix, after string, limit int) (keys []string, next string, err error)
	// Entries is List with what the keys hold. It stops early, with next set, when the values have more than MaxEntriesBytes.
	Entries(ctx context.Context, h Heap, prefix, after string, limit int) (entries []Entry, next string, err error)
	// Usage tells how much is in a heap. It takes time linear in the number of keys.
	Usage(ctx context.Context, h Heap) (Usage, error)
	// Close ends the store when the transactions under way have ended. What is called later gets ErrClosed. It may be
	// repeated.
	Close() error
}
