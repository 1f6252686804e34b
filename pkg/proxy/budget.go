package proxy

import "sync/atomic"

// budget is memory that calls take from and give back. It may be used from any goroutine.
type budget struct {
	size  int64
	taken atomic.Int64
}

// take takes n bytes if there are so many.
func (b *budget) take(n int64) bool {
	for {
		taken := b.taken.Load()
		if taken+n > b.size {
			return false
		}
		if b.taken.CompareAndSwap(taken, taken+n) {
			return true
		}
	}
}

func (b *budget) give(n int64) { b.taken.Add(-n) }
