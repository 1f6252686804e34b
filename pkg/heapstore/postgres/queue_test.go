package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/postgres"
)

func item(h heapstore.Heap, call string) heapstore.Item {
	return heapstore.Item{Function: h, CallID: call, Accepted: time.Now(), Due: time.Now(), Payload: []byte(call), Serial: true}
}

// lapse ends all leases as time does when a provider hangs.
func lapse(dsn string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("lapse: %w", err)
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "UPDATE dc_queue SET until = now() - interval '1 second'")
	return err
}

// TestLease_EndsByItself waits for the time of a lease, which the other tests do not.
func TestLease_EndsByItself(t *testing.T) {
	dsn := newDatabase(t)
	dies, err := postgres.Open(t.Context(), dsn, postgres.Options{LeaseTime: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	lives, h := open(t, dsn, postgres.Options{}), testHeap("ledger")
	if err := dies.Enqueue(t.Context(), item(h, "a"), heapstore.QueueBounds{}); err != nil {
		t.Fatal(err)
	}
	if leased, err := dies.Lease(t.Context(), function.ItemInvocation, 1, nil); err != nil || len(leased) != 1 {
		t.Fatalf("%d leased, %v", len(leased), err)
	}
	if err := dies.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		leased, err := lives.Lease(t.Context(), function.ItemInvocation, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(leased) == 1 {
			if leased[0].Lost != 1 {
				t.Errorf("%d leases lost, want 1", leased[0].Lost)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a dead provider keeps its lease")
		}
	}
}

// TestLease_LostCannotCommit has one provider hang until another has taken what it was doing.
func TestLease_LostCannotCommit(t *testing.T) {
	dsn := newDatabase(t)
	// No renewal comes in between.
	hangs, takes := open(t, dsn, postgres.Options{LeaseTime: time.Hour}), open(t, dsn, postgres.Options{LeaseTime: time.Hour})
	h := testHeap("ledger")
	if err := hangs.Create(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if err := hangs.Enqueue(t.Context(), item(h, "a"), heapstore.QueueBounds{}); err != nil {
		t.Fatal(err)
	}
	lease := func(s *postgres.Store, want int) (l heapstore.Leased) {
		t.Helper()
		leased, err := s.Lease(t.Context(), function.ItemInvocation, 10, nil)
		if err != nil || len(leased) != want {
			t.Fatalf("%d leased, %v, want %d", len(leased), err, want)
		}
		if want > 0 {
			l = leased[0]
		}
		return l
	}
	old := lease(hangs, 1)
	lease(takes, 0)
	if err := lapse(dsn); err != nil {
		t.Fatal(err)
	}
	taken := lease(takes, 1)
	late := writes("k", "late")
	late.Leave, late.Send = &old.Lease, []heapstore.Item{item(h, "late")}
	if err := hangs.Commit(t.Context(), h, late); !errors.Is(err, heapstore.ErrLeaseLost) {
		t.Errorf("the lost lease commits: %v", err)
	}
	if err := hangs.Settle(t.Context(), h, old.Lease, heapstore.Settlement{Bury: true}); !errors.Is(err, heapstore.ErrLeaseLost) {
		t.Errorf("the lost lease settles: %v", err)
	}
	good := writes("k", "good")
	good.Leave = &taken.Lease
	if err := takes.Commit(t.Context(), h, good); err != nil {
		t.Fatal(err)
	}
	if got, err := hangs.Get(t.Context(), h, "k"); err != nil || string(got.Value) != "good" {
		t.Errorf("k is %q, %v", got.Value, err)
	}
	if depths, err := takes.Depths(t.Context()); err != nil || len(depths) != 0 {
		t.Errorf("the queue has %v, %v", depths, err)
	}
}

// TestLine_CallerOfADeadProviderIsPassed has a provider die with a caller whose turn it is.
func TestLine_CallerOfADeadProviderIsPassed(t *testing.T) {
	dsn := newDatabase(t)
	dies, lives := open(t, dsn, postgres.Options{LeaseTime: time.Hour}), open(t, dsn, postgres.Options{LeaseTime: time.Hour})
	h := testHeap("ledger")
	if err := dies.Create(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	turn, err := dies.Line(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	if err := lapse(dsn); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	next, err := lives.Line(ctx, h)
	if err != nil {
		t.Fatalf("behind a dead provider's caller: %v", err)
	}
	late := writes("k", "late")
	late.Leave = &turn
	if err := dies.Commit(t.Context(), h, late); !errors.Is(err, heapstore.ErrLeaseLost) {
		t.Errorf("a turn that has passed commits: %v", err)
	}
	if err := lives.Settle(t.Context(), h, next, heapstore.Settlement{}); err != nil {
		t.Error(err)
	}
}

// TestLine_OfSeveralProviders has callers and items of one serial line on three stores: one at a time, items in their order.
func TestLine_OfSeveralProviders(t *testing.T) {
	dsn := newDatabase(t)
	h := testHeap("ledger")
	const providers, items, callers = 3, 30, 5
	var mu sync.Mutex
	var order []string
	inside := 0
	run := func(name string) {
		mu.Lock()
		if inside++; inside != 1 {
			t.Errorf("%s runs beside another", name)
		}
		order = append(order, name)
		mu.Unlock()
		mu.Lock()
		inside--
		mu.Unlock()
	}
	var stores []*postgres.Store
	for range providers {
		stores = append(stores, open(t, dsn, postgres.Options{}))
	}
	if err := stores[0].Create(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for n := range items {
			if err := stores[n%providers].Enqueue(t.Context(), item(h, fmt.Sprintf("%03d", n)), heapstore.QueueBounds{}); err != nil {
				t.Error(err)
			}
		}
	})
	left := make(chan struct{}, items)
	for range items {
		left <- struct{}{}
	}
	for _, s := range stores {
		for range callers {
			all.Go(func() {
				turn, err := s.Line(t.Context(), h)
				if err != nil {
					t.Error(err)
					return
				}
				run("caller")
				if err := s.Settle(t.Context(), h, turn, heapstore.Settlement{}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			for len(left) > 0 && !t.Failed() {
				leased, err := s.Lease(t.Context(), function.ItemInvocation, 10, nil)
				if err != nil {
					t.Error(err)
					return
				}
				for _, l := range leased {
					run(l.CallID)
					if err := s.Commit(t.Context(), h, heapstore.Commit{Leave: &l.Lease}); err != nil {
						t.Error(err)
					}
					<-left
				}
				if len(leased) == 0 {
					select {
					case <-s.Ready():
					case <-time.After(10 * time.Millisecond): // another store's
					}
				}
			}
		})
	}
	all.Wait()
	order = slices.DeleteFunc(order, func(name string) bool { return name == "caller" })
	if len(order) != items || !slices.IsSorted(order) {
		t.Errorf("%d items ran, in the order %q", len(order), order)
	}
}

// TestTick_OfSeveralProviders has three stores tick at once.
func TestTick_OfSeveralProviders(t *testing.T) {
	dsn := newDatabase(t)
	h, at := testHeap("clock"), time.Unix(1_700_000_000, 0)
	var ticking sync.WaitGroup
	ticked := make(chan struct{}, 3)
	for range 3 {
		s := open(t, dsn, postgres.Options{})
		ticking.Go(func() {
			switch err := s.Tick(t.Context(), item(h, "tick"), at); {
			case err == nil:
				ticked <- struct{}{}
			case !errors.Is(err, function.ErrExists):
				t.Error(err)
			}
		})
	}
	ticking.Wait()
	if len(ticked) != 1 {
		t.Errorf("%d providers ticked, want 1", len(ticked))
	}
}
