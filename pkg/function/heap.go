package function

// Heap names the heap of one contract. Its ID is that of the contract's record, so a contract that was deleted and
// deployed again under the same name has another heap, and a late invocation of the first cannot write in the second's.
type Heap struct {
	Ref
	ID string
}

// Heap names f's heap. Whether f has one is told by Policy.Heap.
func (f *Function) Heap() Heap { return Heap{Ref: f.Ref, ID: f.ID} }

// HeapWrite sets one key of a heap.
type HeapWrite struct {
	Key   string
	Value []byte
}
