package dc1

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// remember is as long as a timestamp is good: from the first moment that it is accepted to the last.
	remember = 2 * Skew
	// maxSeen bounds the memory of each of the two generations, some 64 MB.
	maxSeen = 1 << 20
)

// replays remembers requests that were let in, for remember at least and twice that at most.
type replays struct {
	limit int

	mu sync.Mutex
	// now is what was seen since begun, and before what was in the time of the same length that ended then.
	now, before map[[sha256.Size]byte]struct{}
	begun       time.Time
}

// add remembers a request, unless it is remembered already.
func (r *replays) add(id string, mac []byte, now time.Time) error {
	// An id has no slash.
	request := sha256.Sum256(append([]byte(id+"/"), mac...))
	r.mu.Lock()
	defer r.mu.Unlock()
	if age := now.Sub(r.begun); age >= remember || r.now == nil {
		r.before = r.now
		if age >= 2*remember {
			r.before = nil
		}
		r.now, r.begun = map[[sha256.Size]byte]struct{}{}, now
	}
	_, seen := r.now[request]
	_, seenBefore := r.before[request]
	switch {
	case seen || seenBefore:
		return errReplay
	case len(r.now) >= r.limit:
		return ErrTooMany
	}
	r.now[request] = struct{}{}
	return nil
}
