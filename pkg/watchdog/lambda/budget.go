package lambda

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"
)

// freeBytes of every body are read without asking the budget: most bodies are no larger, and never wait.
const freeBytes = 64 << 10

// budget is the memory for large bodies, so that many of them at once do not add up. Who asks first gets first.
type budget struct {
	mu      sync.Mutex
	left    int64
	waiting []*share
	holders []*holder // of what was given, the longest first
}

const (
	// reclaimAfter is how long one waits for memory before somebody is made to give some back, and then again.
	reclaimAfter = time.Second
	// holdPatience is how long a peer may always take. 6 MiB in it are a megabyte a second.
	holdPatience = 5 * time.Second
)

// holder has memory for as long as a peer takes to send, or to read, what is in it.
type holder struct {
	since time.Time
	cut   func()
}

// hold lets cut be called once, from another goroutine and with a lock held, if the memory that the caller has got is wanted by
// others. It is not called after release.
func (b *budget) hold(cut func()) (release func()) {
	h := &holder{time.Now(), cut}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holders = append(b.holders, h)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.holders = slices.DeleteFunc(b.holders, func(other *holder) bool { return other == h })
	}
}

// reclaim cuts off the peer that has held memory for longest, if that is long. Without it a few callers that read nothing would keep
// every large answer waiting until its invocation is out of time.
func (b *budget) reclaim() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.holders) > 0 && time.Since(b.holders[0].since) >= holdPatience {
		b.holders[0].cut()
		b.holders = b.holders[1:]
	}
}

type share struct {
	bytes int64
	got   chan struct{}
}

// take waits for n bytes, which must be given back. n may not be more than there are in all.
func (b *budget) take(ctx context.Context, n int64) error {
	b.mu.Lock()
	if len(b.waiting) == 0 && b.left >= n {
		b.left -= n
		b.mu.Unlock()
		return nil
	}
	s := &share{bytes: n, got: make(chan struct{})}
	b.waiting = append(b.waiting, s)
	b.mu.Unlock()
	again := time.NewTicker(reclaimAfter)
	defer again.Stop()
	for {
		select {
		case <-s.got:
			return nil
		case <-again.C:
			b.reclaim()
		case <-ctx.Done():
			b.abandon(s)
			return context.Cause(ctx)
		}
	}
}

// abandon takes s out of the line, or gives back what it has got meanwhile.
func (b *budget) abandon(s *share) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, s); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	} else {
		b.left += s.bytes
	}
	b.serveLocked()
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
	b.serveLocked()
}

func (b *budget) serveLocked() {
	for len(b.waiting) > 0 && b.left >= b.waiting[0].bytes {
		b.left -= b.waiting[0].bytes
		close(b.waiting[0].got)
		b.waiting = b.waiting[1:]
	}
}

// payload is a body in memory.
type payload struct {
	data    []byte
	size    int64  // of the body; more than len(data) if it is above the limit, and then data is empty
	release func() // gives its memory back; never nil
}

// read reads a body of at most limit bytes. Of a larger one it reads no more than most, so that its size can be told and its sender
// gets to the end of it; it is empty then. length is what is announced, or -1. cut, which may be nil, is called to end a read that
// takes long when others wait for the memory.
func (b *budget) read(ctx context.Context, body io.Reader, length, limit, most int64, cut func()) (payload, error) {
	p := payload{release: func() {}}
	if length > limit {
		_, err := discard(body, most)
		p.size = length
		return p, err
	}
	head, ended, err := fill(body, make([]byte, 0, sizeHint(length)), min(freeBytes, limit+1))
	if err != nil || ended {
		p.data, p.size = head, int64(len(head))
		return p, err
	}
	reserved := limit
	if length >= 0 {
		reserved = length
	}
	if err := b.take(ctx, reserved); err != nil {
		return p, err
	}
	if cut != nil {
		defer b.hold(cut)()
	}
	data, _, err := fill(body, head, limit+1)
	p.size = int64(len(data))
	if err == nil && p.size <= limit {
		kept := min(reserved, int64(cap(data)))
		b.give(reserved - kept)
		p.data, p.release = data, sync.OnceFunc(func() { b.give(kept) })
		return p, nil
	}
	b.give(reserved)
	if err == nil {
		var more int64
		more, err = discard(body, most-p.size)
		p.size += more
	}
	return p, err
}

// discard reads what is left of a body, but no more than most.
func discard(body io.Reader, most int64) (int64, error) {
	if most <= 0 {
		return 0, nil
	}
	n, err := io.CopyN(io.Discard, body, most)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// sizeHint is how much room to make for a body of which length is announced, or of one byte more to see its end.
func sizeHint(length int64) int64 {
	if length < 0 {
		return 4 << 10
	}
	return min(length+1, freeBytes)
}

// fill appends to data until it has limit bytes or the body ends.
func fill(body io.Reader, data []byte, limit int64) (_ []byte, ended bool, err error) {
	for int64(len(data)) < limit {
		if len(data) == cap(data) {
			data = slices.Grow(data, int(min(int64(max(len(data), 4<<10)), limit-int64(len(data)))))
		}
		n, err := body.Read(data[len(data):min(int64(cap(data)), limit)])
		data = data[:len(data)+n]
		if err == io.EOF {
			return data, true, nil
		}
		if err != nil {
			return data, false, err
		}
	}
	return data, false, nil
}
