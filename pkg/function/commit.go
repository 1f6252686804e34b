package function

// Commit is all that one invocation of a contract changes. It becomes permanent as a whole or not at all.
type Commit struct {
	// Writes go to the heap. If a key occurs more than once, the last write counts.
	Writes []HeapWrite
	// Conditions must all hold at the moment of the commit, before its own writes.
	Conditions []HeapCondition
	// Writer is the call id that is kept with the keys it writes. Empty means CallID.
	Writer string
	// QuotaBytes bounds the heap's keys and values together. 0 means the store's own quota.
	QuotaBytes int64
	// CallID is the invocation's, and Record what a repeat of it gets. Without a call id nothing is recorded.
	CallID string
	Record Record
	// Leave is the lease of the item that this invocation is, which leaves the queue with the commit. nil means none. A lease that
	// was lost makes the commit void.
	Leave *Lease
	// Send are items that are queued with the commit: what has to be told because of it.
	Send []Item
}

// Record is what is kept of an invocation that has taken effect.
type Record struct {
	// Digest is of what was asked, so that a call id that is used again for something else is told.
	Digest [32]byte
	Answer Answer
}

// Answer is what a contract answered.
type Answer struct {
	Status  int
	Header  map[string][]string
	Body    []byte
	Trailer map[string][]string
	// Bodiless answers cannot have a body, whatever their headers say.
	Bodiless bool
}
