package function

import "time"

// Heap names the heap of one contract. Its ID is that of the contract's record, so a contract that was deleted and
// deployed again under the same name has another heap, and a late invocation of the first cannot write in the second's.
type Heap struct {
	Ref
	ID string
}

// Heap names f's heap. Whether f has one is told by Policy.Heap.
func (f *Function) Heap() Heap { return Heap{Ref: f.Ref, ID: f.ID} }

// HeapWrite sets one key of a heap, or deletes it.
type HeapWrite struct {
	Key   string
	Value []byte
	// Delete takes the key away, if it is there; Value means nothing then.
	Delete bool
}

// HeapEntry is a key as it stands in a heap.
type HeapEntry struct {
	Key   string
	Value []byte
	// Version is another one after every write of the key, also if it was deleted between, and never 0.
	Version uint64
	// CallID is that of the call that wrote the key last, and At when. Both are zero for a key that was written before they
	// were kept.
	CallID string
	At     time.Time
}

// HeapCondition says which version a key must have for a commit to take place.
type HeapCondition struct {
	Key string
	// Version is 0 for a key that must be absent, and AnyVersion for one that must be there.
	Version uint64
}

// AnyVersion stands for every version in a HeapCondition.
const AnyVersion = ^uint64(0)

// Holds reports whether a key that has this version, 0 if it is absent, is as the condition wants it.
func (c HeapCondition) Holds(version uint64) bool {
	if c.Version == AnyVersion {
		return version != 0
	}
	return version == c.Version
}

// HeapUsage is how much is in a heap. Bytes are those of keys and values, which the quota is held against.
type HeapUsage struct {
	Keys, Bytes int64
}
