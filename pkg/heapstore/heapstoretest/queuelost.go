package heapstoretest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// victimLease is the folder of a process that is killed while it has an item.
const victimLease = "HEAPSTORETEST_VICTIM_LEASE"

// testQueueLost kills processes while they have an item. How many shows, until the item is no more; an end in order is no death.
func testQueueLost(t *testing.T, d Driver) {
	folder, h := t.TempDir(), heap("poison", "1")
	first, err := d.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	create(t, first, h)
	enqueue(t, first, invocation(h, "poison"), invocation(h, "other"))
	for range 2 {
		if l := awaitLease(t, first, "poison"); l.Lost != 0 {
			t.Errorf("%d deaths before the first", l.Lost)
		} else if err := first.Settle(t.Context(), h, l.Lease, function.Settlement{Again: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	const deaths = 2
	for range deaths {
		runUntilKilled(t, victimLease, folder, 0, make([]int, 1))
		d.lapse(t, folder)
	}
	s := open(t, d, folder)
	for attempts := range 2 {
		l := awaitLease(t, s, "poison")
		if l.Lost != deaths || l.Attempts != attempts {
			t.Errorf("%d deaths and %d attempts, want %d and %d", l.Lost, l.Attempts, deaths, attempts)
		}
		if err := s.Settle(t.Context(), h, l.Lease, function.Settlement{Again: time.Now(), Attempts: attempts + 1}); err != nil {
			t.Fatal(err)
		}
	}
	l := awaitLease(t, s, "poison")
	if err := s.Settle(t.Context(), h, l.Lease, function.Settlement{Bury: true}); err != nil {
		t.Fatal(err)
	}
	dead, _, err := s.DeadLetters(t.Context(), h, 0, 0)
	if err != nil || len(dead) != 1 {
		t.Fatalf("dead letters %v, %v", dead, err)
	}
	if err := s.Replay(t.Context(), h, dead[0].ID); err != nil {
		t.Fatal(err)
	}
	if l := awaitLease(t, s, "poison"); l.Lost != 0 {
		t.Errorf("%d deaths of one that was replayed, which is as if it had never been tried", l.Lost)
	}
}

// awaitLease returns the item with a call id when it can be had, and gives others back.
func awaitLease(t *testing.T, s heapstore.Store, call string) heapstore.Leased {
	t.Helper()
	for deadline := time.Now().Add(heapstore.DefaultLeaseTime + time.Minute); ; <-time.After(5 * time.Millisecond) {
		leased, err := s.Lease(t.Context(), function.ItemInvocation, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range leased {
			if l.CallID == call {
				return l
			}
			if err := s.Settle(t.Context(), l.Function, l.Lease, function.Settlement{Again: time.Now().Add(50 * time.Millisecond)}); err != nil {
				t.Fatal(err)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("call %s is never to be had", call)
		}
	}
}

// runLeaseVictim takes the item and waits to be killed.
func runLeaseVictim(t *testing.T, d Driver, folder string) {
	s, err := d.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	awaitLease(t, s, "poison")
	fmt.Fprintln(os.Stdout, "0 1")
	<-time.After(time.Hour)
}
