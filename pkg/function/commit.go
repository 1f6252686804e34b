package function

// Commit is all that one invocation of a contract changes. It becomes permanent as a whole or not at all.
type Commit struct {
	// Writes go to the heap. If a key occurs more than once, the last write counts.
	Writes []HeapWrite
	// QuotaBytes bounds the heap's keys and values together. 0 means the store's own quota.
	QuotaBytes int64
}
