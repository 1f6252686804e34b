package proxy

import "sync/atomic"

// budget is memory that calls take from and give back. It may be used from any goroutine.
type budget struct{ left atomic.Int64 }

// take takes n bytes if there are so many.
func (b *budget) take(n int64) bool {
	if b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

func (b *budget) give(n int64) { b.left.Add(n) }
