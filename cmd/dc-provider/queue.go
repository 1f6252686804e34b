package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// The queue of the store, for whoever waits for it too.

func (s *store) Enqueue(ctx context.Context, item heapstore.Item, bounds heapstore.QueueBounds) error {
	b, err := s.wait(ctx)
	if err != nil {
		return err
	}
	return b.Enqueue(ctx, item, bounds)
}

func (s *store) Tick(ctx context.Context, item heapstore.Item, at time.Time) error {
	b, err := s.wait(ctx)
	if err != nil {
		return err
	}
	return b.Tick(ctx, item, at)
}

func (s *store) LastTick(ctx context.Context, h heapstore.Heap) (time.Time, error) {
	b, err := s.wait(ctx)
	if err != nil {
		return time.Time{}, err
	}
	return b.LastTick(ctx, h)
}

func (s *store) Lease(ctx context.Context, kind function.ItemKind, limit int, skip map[heapstore.Heap]bool) ([]heapstore.Leased, error) {
	b, err := s.wait(ctx)
	if err != nil {
		return nil, err
	}
	return b.Lease(ctx, kind, limit, skip)
}

func (s *store) Settle(ctx context.Context, h heapstore.Heap, lease heapstore.Lease, settled heapstore.Settlement) error {
	b, err := s.wait(ctx)
	if err != nil {
		return err
	}
	return b.Settle(ctx, h, lease, settled)
}

func (s *store) Line(ctx context.Context, h heapstore.Heap) (heapstore.Lease, error) {
	b, err := s.wait(ctx)
	if err != nil {
		return heapstore.Lease{}, err
	}
	return b.Line(ctx, h)
}

// Ready is that of a store that is open; before that nothing is ready.
func (s *store) Ready() <-chan struct{} {
	select {
	case <-s.opened:
		return s.inner.Ready()
	default:
		return nil
	}
}

func (s *store) Depths(ctx context.Context) (map[heapstore.Heap]heapstore.Depth, error) {
	b, err := s.wait(ctx)
	if err != nil {
		return nil, err
	}
	return b.Depths(ctx)
}

func (s *store) DeadLetters(ctx context.Context, h heapstore.Heap, after uint64, limit int) (items []heapstore.Item, next uint64, err error) {
	b, err := s.wait(ctx)
	if err != nil {
		return nil, 0, err
	}
	return b.DeadLetters(ctx, h, after, limit)
}

func (s *store) DeadLetter(ctx context.Context, h heapstore.Heap, id uint64) (heapstore.Item, error) {
	b, err := s.wait(ctx)
	if err != nil {
		return heapstore.Item{}, err
	}
	return b.DeadLetter(ctx, h, id)
}

func (s *store) Replay(ctx context.Context, h heapstore.Heap, id uint64) error {
	b, err := s.wait(ctx)
	if err != nil {
		return err
	}
	return b.Replay(ctx, h, id)
}

func (s *store) Discard(ctx context.Context, h heapstore.Heap, id uint64) error {
	b, err := s.wait(ctx)
	if err != nil {
		return err
	}
	return b.Discard(ctx, h, id)
}

// runQueue makes what is queued, and ticks, when the store is open and functions are known. Nothing new is begun when taking has
// ended, so that the store's next owner finds it; what is under way goes on until ctx ends.
func (p *provider) runQueue(ctx, taking context.Context) error {
	taking, stop := context.WithCancel(taking)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	for _, ready := range []<-chan struct{}{p.store.opened, p.cluster.Synced()} {
		select {
		case <-ready:
		case <-taking.Done():
			return nil
		}
	}
	var parts errgroup.Group
	parts.Go(func() error { return p.contracts.Schedule(taking) })
	parts.Go(func() error { return p.contracts.Run(ctx, taking) })
	return named("queue", parts.Wait())
}
