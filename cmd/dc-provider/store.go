package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
	"github.com/dragonchain/dc-provider/pkg/heapstore/postgres"
)

// lockPatience is how long one try to get the store's file from another provider lasts. bbolt looks every 50 ms meanwhile.
const lockPatience = time.Second

// store is the heap store. One in a file belongs to one provider at a time, and a provider that takes another's place is up
// before the other has let go of it; one in a database may not be there yet. Whoever needs the store waits, and everything
// else is served meanwhile. It is the Store of package invoke and the Heaps of package handlers.
type store struct {
	// openOnce tries once to open it; ErrLocked says that another provider has it, and ErrUnavailable that its database is not to be
	// reached.
	openOnce func(ctx context.Context) (heapstore.Store, error)
	// patience is how long a call waits for the store.
	patience time.Duration

	opened chan struct{} // closed when inner is set
	inner  heapstore.Store

	mu sync.Mutex
	// missing is why it is not open yet.
	missing error
	// calls are those of contracts that are under way; ended says that no other may begin.
	calls int
	ended bool
	idle  chan struct{} // closed when the last call has ended after ended was set
}

// newStore returns the store that c names, with c's bounds. Zero bounds are the store's own.
func newStore(c config, log *slog.Logger) *store {
	s := &store{patience: c.wakeTimeout, opened: make(chan struct{}), idle: make(chan struct{}), missing: heapstore.ErrLocked}
	s.openOnce = func(context.Context) (heapstore.Store, error) {
		return bolt.Open(c.store.boltFile, bolt.Options{LockTimeout: lockPatience, QuotaBytes: c.heapQuotaBytes, RecordAge: c.callRetention})
	}
	if c.store.postgresDSN != "" {
		s.openOnce = func(ctx context.Context) (heapstore.Store, error) {
			return postgres.Open(ctx, c.store.postgresDSN, postgres.Options{QuotaBytes: c.heapQuotaBytes, RecordAge: c.callRetention, Log: log})
		}
	}
	return s
}

// open waits until no other provider has the store and its database is there, and opens it: a provider that starts in an outage of the
// database still calls functions that are no contracts and have replicas. It returns false if ctx ended before.
func (s *store) open(ctx context.Context, log *slog.Logger) (bool, error) {
	for told := false; ctx.Err() == nil; {
		inner, err := s.openOnce(ctx)
		switch {
		case err == nil:
			s.inner = inner
			close(s.opened)
			return true, nil
		case ctx.Err() != nil:
			return false, nil
		case errors.Is(err, heapstore.ErrUnavailable):
			// The driver has tried for half a minute.
			s.lacks(heapstore.ErrUnavailable)
			log.Warn("the heap store's database cannot be reached, contracts wait for it", "err", err)
		case !errors.Is(err, heapstore.ErrLocked):
			return false, err
		case !told:
			log.Info("another provider still has the heap store, contracts wait for it")
			told = true
		}
	}
	return false, nil
}

// lacks notes why the store is not open yet.
func (s *store) lacks(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missing = why
}

// wait returns when the store is open.
func (s *store) wait(ctx context.Context) (heapstore.Store, error) {
	select {
	case <-s.opened:
		return s.inner, nil
	default:
	}
	patience := time.NewTimer(s.patience)
	defer patience.Stop()
	select {
	case <-s.opened:
		return s.inner, nil
	case <-patience.C:
		s.mu.Lock()
		defer s.mu.Unlock()
		return nil, s.missing
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin waits for the store and keeps it from being closed until end is called, for one call of a contract.
func (s *store) begin(ctx context.Context) (end func(), err error) {
	if _, err := s.wait(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, heapstore.ErrClosed
	}
	s.calls++
	return s.endCall, nil
}

func (s *store) endCall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls--; s.ended && s.calls == 0 {
		close(s.idle)
	}
}

// drain lets no other call of a contract begin, and returns when none is under way or ctx has ended. It may be called once.
func (s *store) drain(ctx context.Context) {
	s.mu.Lock()
	s.ended = true
	if s.calls == 0 {
		close(s.idle)
	}
	s.mu.Unlock()
	select {
	case <-s.idle:
	case <-ctx.Done():
	}
}

// close lets go of the store, if it was ever had. open must have returned.
func (s *store) close() error {
	if s.inner == nil {
		return nil
	}
	return s.inner.Close()
}

func (s *store) Create(ctx context.Context, h heapstore.Heap) error {
	b, err := s.wait(ctx)
	if err != nil {
		return err
	}
	return b.Create(ctx, h)
}

func (s *store) Drop(ctx context.Context, h heapstore.Heap) error {
	b, err := s.wait(ctx)
	if err != nil {
		return err
	}
	return b.Drop(ctx, h)
}

func (s *store) Commit(ctx context.Context, h heapstore.Heap, c heapstore.Commit) error {
	b, err := s.wait(ctx)
	if err != nil {
		return err
	}
	return b.Commit(ctx, h, c)
}

func (s *store) Recorded(ctx context.Context, h heapstore.Heap, callID string) (r heapstore.Record, found bool, err error) {
	b, err := s.wait(ctx)
	if err != nil {
		return r, false, err
	}
	return b.Recorded(ctx, h, callID)
}

func (s *store) Get(ctx context.Context, h heapstore.Heap, key string) (heapstore.Entry, error) {
	b, err := s.wait(ctx)
	if err != nil {
		return heapstore.Entry{}, err
	}
	return b.Get(ctx, h, key)
}

func (s *store) Entries(
	ctx context.Context, h heapstore.Heap, prefix, after string, limit int,
) (entries []heapstore.Entry, next string, err error) {
	b, err := s.wait(ctx)
	if err != nil {
		return nil, "", err
	}
	return b.Entries(ctx, h, prefix, after, limit)
}

func (s *store) Usage(ctx context.Context, h heapstore.Heap) (heapstore.Usage, error) {
	b, err := s.wait(ctx)
	if err != nil {
		return heapstore.Usage{}, err
	}
	return b.Usage(ctx, h)
}

func (s *store) List(ctx context.Context, h heapstore.Heap, prefix, after string, limit int) (keys []string, next string, err error) {
	b, err := s.wait(ctx)
	if err != nil {
		return nil, "", err
	}
	return b.List(ctx, h, prefix, after, limit)
}

// Snapshot is a copy of the store's file, if the store is one.
func (s *store) Snapshot(ctx context.Context) (*os.File, error) {
	b, err := s.wait(ctx)
	if err != nil {
		return nil, err
	}
	file, ok := b.(interface {
		Snapshot(ctx context.Context) (*os.File, error)
	})
	if !ok {
		return nil, heapstore.ErrNoSnapshot
	}
	return file.Snapshot(ctx)
}
