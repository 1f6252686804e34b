package function

import "time"

// ItemKind says what a queue holds.
type ItemKind uint8

// The kinds of items.
const (
	// ItemInvocation is a call of the function that was accepted to be made later.
	ItemInvocation ItemKind = iota
	// ItemMessage is what has to be told to somebody outside: a callback, or a chain's transaction.
	ItemMessage
)

// Item is an entry of a queue: something to be done for a function that was promised to its caller.
type Item struct {
	// ID is the store's. Of two items of one function and kind the one that was accepted first has the lower.
	ID uint64
	// Function is the record that the item belongs to and goes with.
	Function Heap
	Kind     ItemKind
	// CallID is the invocation's, or that of the invocation that a message comes from.
	CallID string
	// Accepted is when it came, and Due when it may be tried.
	Accepted, Due time.Time
	// Attempts is how many attempts have failed.
	Attempts int
	// Serial items of one function and kind are done one at a time, in the order of their ids; none overtakes one that waits to
	// be tried again.
	Serial bool
	// Reason is why the last attempt failed.
	Reason string
	// Payload is what is to be done, in the owner's encoding.
	Payload []byte
}

// Lease is the right to do an item, which one provider has at a time. What is committed under a lease that was lost is refused.
type Lease struct {
	ID, Token uint64
}

// Leased is an item with the right to do it.
type Leased struct {
	Item
	Lease Lease
	// Lost is how often it was begun by a provider that never told how it ended: one that died, as a rule.
	Lost int
}

// Settlement says what becomes of an item that was tried. The zero Again and Bury let it leave the queue.
type Settlement struct {
	// Again puts it back, to be tried when that time has come.
	Again time.Time
	// Bury makes a dead letter of it: it is kept, and tried no more.
	Bury bool
	// Attempts and Reason are those of the item from now on, if it stays.
	Attempts int
	Reason   string
	// Send are items that are queued in the same transaction.
	Send []Item
}

// QueueBounds bound what waits when another invocation comes. Dead letters do not count. A message counts by its bytes alone: it is as
// large as an answer, and a receiver that takes none would otherwise have the disk fill up.
type QueueBounds struct {
	// Items bound the invocations of one function, and Bytes their payloads with those of its messages; TotalItems and TotalBytes
	// those of all. 0 means the store's own bound.
	Items, TotalItems int
	Bytes, TotalBytes int64
}

// Depth is how much of a function is in the queue.
type Depth struct {
	// Waiting are the invocations that are accepted and not done, running ones among them; Messages those not delivered; Dead
	// the dead letters.
	Waiting, Messages, Dead int
}
