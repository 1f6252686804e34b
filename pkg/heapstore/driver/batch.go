package driver

import (
	"context"
	"errors"
	"sync"
)

// Where a batch stops taking more changes in, so that a burst of large commits neither fills the memory with dirty pages
// nor makes a small commit wait for all of them. Writes count too, because inserting keys between those of another change
// takes time by their product.
const (
	maxBatchBytes  = 16 << 20
	maxBatchWrites = 4096
)

// Size is about how much a change writes.
type Size struct{ Writes, Bytes int }

func (s Size) plus(t Size) Size { return Size{s.Writes + t.Writes, s.Bytes + t.Bytes} }

func (s Size) tooLarge() bool { return s.Writes > maxBatchWrites || s.Bytes > maxBatchBytes }

// errAborted is the outcome of changes whose transaction panicked.
var errAborted = errors.New("transaction aborted")

// Batcher runs changes in transactions that concurrent callers share. It has no goroutine and no timer: one of those who
// wait leads. bbolt's own Batch makes every lone commit wait for its timer. It is safe for concurrent use.
type Batcher[T any] struct {
	run func(batch []T, refused []error) error
	// lead holds a token while a leader is at work.
	lead chan struct{}

	mu      sync.Mutex
	waiting []*change[T]
}

// change is a part of a transaction that succeeds or is refused on its own.
type change[T any] struct {
	what T
	size Size
	// err is the outcome, to be read after done is closed.
	err  error
	done chan struct{}
}

// NewBatcher returns a Batcher whose transactions are made by run, one at a time. run returns when the batch is durable or
// rolled back, with the outcome of all its changes but those for which it set refused, by index: of these nothing was
// written.
func NewBatcher[T any](run func(batch []T, refused []error) error) *Batcher[T] {
	return &Batcher[T]{run: run, lead: make(chan struct{}, 1)}
}

// Do makes a change and returns when it is durable or refused. If ctx ends while the change still waits for its
// transaction, Do withdraws it and returns ctx's error; from then on the outcome is waited for, since it is near.
func (b *Batcher[T]) Do(ctx context.Context, size Size, what T) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &change[T]{what: what, size: size, done: make(chan struct{})}
	b.add(c)
	select {
	case b.lead <- struct{}{}:
		b.leadUntil(c)
	case <-c.done:
	case <-ctx.Done():
		if b.withdraw(c) {
			return ctx.Err()
		}
		<-c.done
	}
	return c.err
}

// leadUntil runs batches until c is in one, which a batch that is full may put off. The former leader may have done c
// already. The caller holds the lead; leadUntil gives it up.
func (b *Batcher[T]) leadUntil(c *change[T]) {
	defer func() { <-b.lead }()
	for {
		select {
		case <-c.done:
			return
		default:
			b.runBatch(b.take())
		}
	}
}

// runBatch makes one transaction of the batch and tells each change its outcome, even if run panics over a damaged file:
// otherwise those who wait would wait for ever.
func (b *Batcher[T]) runBatch(batch []*change[T]) {
	outcome, refused := errAborted, make([]error, len(batch))
	defer func() {
		for i, c := range batch {
			if c.err = refused[i]; c.err == nil {
				c.err = outcome
			}
			close(c.done)
		}
	}()
	changes := make([]T, len(batch))
	for i, c := range batch {
		changes[i] = c.what
	}
	outcome = b.run(changes, refused)
}

func (b *Batcher[T]) add(c *change[T]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, c)
}

// take removes the next batch from those that wait: at least one change, in order of arrival.
func (b *Batcher[T]) take() []*change[T] {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, total := 0, Size{}
	for _, c := range b.waiting {
		if total = total.plus(c.size); n > 0 && total.tooLarge() {
			break
		}
		n++
	}
	batch := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	return batch
}

// withdraw takes c back and reports whether it was still waiting.
func (b *Batcher[T]) withdraw(c *change[T]) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, w := range b.waiting {
		if w == c {
			// A new slice: the old one's array may be a batch that is under way.
			b.waiting = append(append([]*change[T](nil), b.waiting[:i]...), b.waiting[i+1:]...)
			return true
		}
	}
	return false
}
