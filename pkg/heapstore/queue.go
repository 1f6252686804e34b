package heapstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// The domain's words for queues.
type (
	Item        = function.Item
	Lease       = function.Lease
	Leased      = function.Leased
	Settlement  = function.Settlement
	QueueBounds = function.QueueBounds
	Depth       = function.Depth
)

// Bounds of queues.
const (
	// DefaultQueueItems and DefaultQueueBytes bound what waits of one function, DefaultTotalItems and DefaultTotalBytes all of it.
	DefaultQueueItems = 10_000
	DefaultQueueBytes = 256 << 20
	DefaultTotalItems = 100_000
	DefaultTotalBytes = 1 << 30
	// MaxDeadLetters is how many dead letters a function has at most; the oldest go first.
	MaxDeadLetters = 1000
	// DefaultLeaseTime is how long an item stays with a provider that tells nothing more of itself, where several share a store.
	DefaultLeaseTime = 20 * time.Second
)

var (
	// ErrQueueFull: as much waits as may.
	ErrQueueFull = errors.New("the queue is full")
	// ErrLeaseLost: the item was done, dropped or given to another provider meanwhile.
	ErrLeaseLost = fmt.Errorf("the invocation is no longer this provider's: %w", function.ErrConflict)
	// ErrNoItem: no such item among the dead letters.
	ErrNoItem = function.NotFoundf("no such dead letter")
)

// Queue keeps items until they are done, for any function, contract or not. What its methods say they have done is on the
// disk. An item goes with its function's record, by Store.Drop, and no lease outlives that.
//
// A lease ends by Settle, by a Commit that leaves it, by Drop, or because its provider died: at once where the store has one
// provider, after the driver's lease time where it is shared. The item may then be leased again, and Leased.Lost counts one more if
// its provider died.
type Queue interface {
	// Enqueue adds an item and returns when it is on the disk; ID, Attempts and Reason are not the caller's to give. The error
	// wraps ErrQueueFull, or function.ErrExists if an invocation with the same call id waits already. It keeps nothing of item.
	Enqueue(ctx context.Context, item Item, bounds QueueBounds) error
	// Tick is Enqueue for an invocation that is due by the clock at a time. It is refused with function.ErrExists if the function
	// has had a tick at that time or later, whichever provider made it, and if the last one is not done yet: then this one is
	// counted as had. A zero item only sets the clock, where it was never set.
	Tick(ctx context.Context, item Item, at time.Time) error
	// LastTick is the time of a function's last tick, zero if it never had one.
	LastTick(ctx context.Context, h Heap) (time.Time, error)
	// Lease returns items of a kind that are due, at most limit of them, and as few as one of each function where many have some;
	// none of the functions in skip. It does not wait.
	Lease(ctx context.Context, kind function.ItemKind, limit int, skip map[Heap]bool) ([]Leased, error)
	// Settle ends a lease. The error wraps ErrLeaseLost if it had ended before; then nothing has happened.
	Settle(ctx context.Context, h Heap, lease Lease, s Settlement) error
	// Line waits until a caller that is there has his turn among the serial invocations of a function: behind those that were
	// accepted before he came, and before all others. The lease is ended as that of an item is. If ctx ends he leaves the line.
	Line(ctx context.Context, h Heap) (Lease, error)
	// Ready has a token when Lease may have more to give than before because of this store. Other reasons, such as time, it does
	// not know.
	Ready() <-chan struct{}
	// Depths tells what is in the queue, of every function that has something there.
	Depths(ctx context.Context) (map[Heap]Depth, error)
	// DeadLetters lists the dead letters of a function by id, from the one behind after, without their payloads. limit and next
	// are as with Store.List.
	DeadLetters(ctx context.Context, h Heap, after uint64, limit int) (items []Item, next uint64, err error)
	// DeadLetter returns one, whole; Replay puts it back in the queue, as the last that was accepted and as if it had never been
	// tried; Discard deletes it. The error wraps ErrNoItem.
	DeadLetter(ctx context.Context, h Heap, id uint64) (Item, error)
	Replay(ctx context.Context, h Heap, id uint64) error
	Discard(ctx context.Context, h Heap, id uint64) error
}
