package heapstore

import (
	"context"
	"errors"
	"sync"

	"go.etcd.io/bbolt"
)

// Where a batch stops taking more changes in, so that a burst of large commits neither fills the memory with dirty pages
// nor makes a small commit wait for all of them. Writes count too, because inserting keys between those of another change
// takes time by their product.
const (
	maxBatchBytes  = 16 << 20
	maxBatchWrites = 4096
)

// size is about how much a change writes.
type size struct{ writes, bytes int }

func (s size) plus(t size) size { return size{s.writes + t.writes, s.bytes + t.bytes} }

func (s size) tooLarge() bool { return s.writes > maxBatchWrites || s.bytes > maxBatchBytes }

// errAborted is the outcome of changes whose transaction panicked.
var errAborted = errors.New("transaction aborted")

// batcher runs changes in transactions that concurrent callers share. It has no goroutine and no timer: one of those who
// wait leads. bbolt's own Batch makes every lone commit wait for its timer.
type batcher struct {
	// update runs one transaction and returns when it is durable or rolled back.
	update func(func(*bbolt.Tx) error) error
	// lead holds a token while a leader is at work.
	lead chan struct{}

	mu      sync.Mutex
	waiting []*change
}

// change is a part of a transaction that succeeds or is refused on its own.
type change struct {
	// apply must have written nothing if it returns an error.
	apply func(*bbolt.Tx) error
	size  size
	// err is the outcome, to be read after done is closed.
	err  error
	done chan struct{}
}

func newBatcher(update func(func(*bbolt.Tx) error) error) *batcher {
	return &batcher{update: update, lead: make(chan struct{}, 1)}
}

// do applies a change and returns when it is durable or refused. If ctx ends while the change still waits for its
// transaction, do withdraws it and returns ctx's error; from then on the outcome is waited for, since it is near.
func (b *batcher) do(ctx context.Context, size size, apply func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &change{apply: apply, size: size, done: make(chan struct{})}
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
func (b *batcher) leadUntil(c *change) {
	defer func() { <-b.lead }()
	for {
		select {
		case <-c.done:
			return
		default:
			b.run(b.take())
		}
	}
}

// run makes one transaction of the batch and tells each change its outcome, even if bbolt panics over a damaged file:
// otherwise those who wait would wait for ever.
func (b *batcher) run(batch []*change) {
	outcome := errAborted
	defer func() {
		for _, c := range batch {
			if c.err == nil {
				c.err = outcome
			}
			close(c.done)
		}
	}()
	outcome = b.update(func(tx *bbolt.Tx) error {
		written := 0
		for _, c := range batch {
			if c.err = c.apply(tx); c.err == nil {
				written++
			}
		}
		if written == 0 {
			return errNothingWritten
		}
		return nil
	})
}

// errNothingWritten rolls back a transaction in which every change was refused, to save the sync. No change gets it as
// its outcome: each has its own error.
var errNothingWritten = errors.New("nothing written")

func (b *batcher) add(c *change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, c)
}

// take removes the next batch from those that wait: at least one change, in order of arrival.
func (b *batcher) take() []*change {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, total := 0, size{}
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
func (b *batcher) withdraw(c *change) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, w := range b.waiting {
		if w == c {
			// A new slice: the old one's array may be a batch that is under way.
			b.waiting = append(append([]*change(nil), b.waiting[:i]...), b.waiting[i+1:]...)
			return true
		}
	}
	return false
}
