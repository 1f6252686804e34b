package heapstoretest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

const (
	// victimQueue is the folder of a process that works on a queue until it is killed.
	victimQueue = "HEAPSTORETEST_VICTIM_QUEUE"
	// roundsVariable is how many processes are killed; see the Makefile's test-soak.
	roundsVariable = "HEAPSTORETEST_QUEUE_ROUNDS"
	queueRounds    = 4
	// queueLines are serial functions, each with one who adds to it.
	queueLines = 4
)

// testQueueKill lets a process add to serial lines and work on them, kills it at a random moment, and goes on itself. At the
// end everything that was acknowledged has its effect once, and the effects of a line came in its order.
func testQueueKill(t *testing.T, d Driver) {
	folder, rounds := t.TempDir(), queueRounds
	if text := os.Getenv(roundsVariable); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	first, err := d.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	for line := range queueLines {
		create(t, first, queueHeap(line))
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	acknowledged := make([]int, queueLines)
	for round := range rounds {
		runUntilKilled(t, victimQueue, folder, rand.IntN(300), acknowledged)
		d.lapse(t, folder)
		if err := d.Check(folder); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	s := open(t, d, folder)
	for deadline := time.Now().Add(heapstore.DefaultLeaseTime + time.Minute); ; {
		leased, err := s.Lease(t.Context(), function.ItemInvocation, 100, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range leased {
			if err := workOn(t.Context(), s, l); err != nil {
				t.Error(err)
			}
		}
		depths, err := s.Depths(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		waiting := 0
		for _, depth := range depths {
			waiting += depth.Waiting
		}
		if waiting == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d items are never done: %v", waiting, depths)
		}
		if len(leased) == 0 {
			<-time.After(50 * time.Millisecond) // of a lease that ended below all the same: see workOn
		}
	}
	for line, want := range acknowledged {
		h, version := queueHeap(line), uint64(0)
		for n := 1; n <= want; n++ {
			entry, err := s.Get(t.Context(), h, effectKey(n))
			if err != nil {
				t.Errorf("line %d: item %d was acknowledged: %v", line, n, err)
				continue
			}
			if entry.Version <= version {
				t.Errorf("line %d: item %d took effect before the one before it", line, n)
			}
			version = entry.Version
		}
		messages, err := s.Depths(t.Context())
		if keys := walk(t, s, h, "", heapstore.MaxListLimit); err != nil || len(keys) < want || messages[h].Messages != len(keys) {
			t.Errorf("line %d: %d effects and %d messages of %d acknowledged, %v", line, len(keys), messages[h].Messages, want, err)
		}
	}
	t.Logf("acknowledged: %v", acknowledged)
}

// workOn does an item. One that was done and added again, since nobody knew, is answered by its record: it leaves without an
// effect. One whose lease ended, as it does in a shared store when this process gets no processor for that long, is another's, and
// nothing has happened.
func workOn(ctx context.Context, s heapstore.Store, l function.Leased) error {
	done := func() (bool, error) {
		_, found, err := s.Recorded(ctx, l.Function, l.CallID)
		return found, err
	}
	found, err := done()
	if err == nil && !found {
		err = effectOnce(ctx, s, l)
		if errors.Is(err, heapstore.ErrRecorded) || errors.Is(err, errDone) {
			// By who has the lease now: then its record came with it.
			if recorded, lookup := done(); lookup == nil {
				found = recorded
			}
		}
	}
	if found {
		err = s.Settle(ctx, l.Function, l.Lease, function.Settlement{})
	}
	if errors.Is(err, heapstore.ErrLeaseLost) {
		return nil
	}
	return err
}

var errDone = errors.New("was done before")

// effectOnce commits what an item is to do, and what it sends, and fails if that was done before.
func effectOnce(ctx context.Context, s heapstore.Store, l function.Leased) error {
	key := string(l.Payload)
	switch _, err := s.Get(ctx, l.Function, key); {
	case err == nil:
		return fmt.Errorf("item %s of %s %w", key, l.Function.Name, errDone)
	case !errors.Is(err, heapstore.ErrNoKey):
		return err
	}
	message := l.Item
	message.Kind = function.ItemMessage
	return s.Commit(ctx, l.Function, function.Commit{Writes: writes(key, "1"), CallID: l.CallID, Leave: &l.Lease, Send: []function.Item{message}})
}

// runQueueVictim adds to the lines and works on them until it is killed, and says what was acknowledged.
func runQueueVictim(t *testing.T, d Driver, folder string) {
	s, err := d.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	for line := range queueLines {
		go func() { failed <- addForEver(t.Context(), s, line) }()
	}
	for range 3 {
		go func() { failed <- workForEver(t.Context(), s) }()
	}
	t.Fatal(<-failed)
}

// addForEver goes on behind the last item that was added, which is done, waits, or was never acknowledged.
func addForEver(ctx context.Context, s heapstore.Store, line int) error {
	h := queueHeap(line)
	for n := 1; ; {
		_, err := s.Get(ctx, h, effectKey(n))
		if err == nil {
			n++
			continue
		}
		if !errors.Is(err, heapstore.ErrNoKey) {
			return err
		}
		item := serial(invocation(h, effectKey(n)))
		item.Payload = []byte(effectKey(n))
		switch err := s.Enqueue(ctx, item, function.QueueBounds{}); {
		case errors.Is(err, function.ErrExists):
		case err != nil:
			return err
		}
		if _, err := fmt.Fprintf(os.Stdout, "%d %d\n", line, n); err != nil {
			return err
		}
		n++
	}
}

func workForEver(ctx context.Context, s heapstore.Store) error {
	for {
		leased, err := s.Lease(ctx, function.ItemInvocation, 3, nil)
		if err != nil {
			return err
		}
		for _, l := range leased {
			if err := workOn(ctx, s, l); err != nil {
				return err
			}
		}
		if len(leased) == 0 {
			select {
			case <-s.Ready():
			case <-time.After(5 * time.Millisecond): // another took the token
			}
		}
	}
}

func queueHeap(line int) function.Heap { return heap(fmt.Sprint("line-", line), "1") }

// effectKey sorts as its number does.
func effectKey(n int) string { return fmt.Sprintf("%06d", n) }
