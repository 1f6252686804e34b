package heapstoretest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// queueTests are what every driver's queue passes.
var queueTests = map[string]func(*testing.T, Driver){
	"queue: what is accepted is leased once and leaves": testQueue,
	"queue: bounds hold":                                 testQueueBounds,
	"queue: messages take room":                          testQueueMessageBytes,
	"queue: a call id waits once":                        testQueueCalls,
	"queue: what failed comes again when it is due":      testQueueAgain,
	"queue: dead letters are listed, replayed, dropped":  testDeadLetters,
	"queue: a commit leaves and sends, or does neither":  testQueueCommit,
	"queue: a serial line keeps its order":               testQueueSerial,
	"queue: callers and items stand in one line":         testQueueLine,
	"queue: a caller who leaves holds nobody up":         testQueueLineLeft,
	"queue: a tick is had once":                          testTicks,
	"queue: a function's items go with it":               testQueueDropped,
	"queue: no function keeps the others waiting":        testQueueFair,
	"queue: many at once are each done once":             testQueueConcurrent,
	"queue: the queue is there on reopen":                testQueueReopen,
	"queue: memory is not shared with callers":           testQueueMemory,
	"queue: a kill loses nothing and does nothing twice": testQueueKill,
	"queue: a death is counted":                          testQueueLost,
	"queue: one serial line is followed by all who work": testQueueSerialConcurrent,
}

// invocation is an item that is due.
func invocation(h function.Heap, call string) function.Item {
	now := time.Now().Truncate(time.Microsecond) // as exact as any driver keeps it
	return function.Item{Function: h, CallID: call, Accepted: now, Due: now, Payload: []byte("of " + call)}
}

func serial(i function.Item) function.Item {
	i.Serial = true
	return i
}

func enqueue(t *testing.T, s heapstore.Store, items ...function.Item) {
	t.Helper()
	for _, i := range items {
		if err := s.Enqueue(t.Context(), i, function.QueueBounds{}); err != nil {
			t.Fatal(err)
		}
	}
}

// lease takes what is due, by call id.
func lease(t *testing.T, s heapstore.Store, kind function.ItemKind, limit int) map[string]function.Leased {
	t.Helper()
	leased, err := s.Lease(t.Context(), kind, limit, nil)
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]function.Leased{}
	for _, l := range leased {
		of[l.CallID] = l
	}
	return of
}

// wantLeased takes what is due and checks which it is.
func wantLeased(t *testing.T, s heapstore.Store, kind function.ItemKind, want ...string) map[string]function.Leased {
	t.Helper()
	leased := lease(t, s, kind, 100)
	if got := slices.Sorted(maps.Keys(leased)); !slices.Equal(got, want) {
		t.Fatalf("due are %q, want %q", got, want)
	}
	return leased
}

func settle(t *testing.T, s heapstore.Store, l function.Leased, settlement function.Settlement) {
	t.Helper()
	if err := s.Settle(t.Context(), l.Function, l.Lease, settlement); err != nil {
		t.Fatal(err)
	}
}

func wantDepth(t *testing.T, s heapstore.Store, h function.Heap, want function.Depth) {
	t.Helper()
	depths, err := s.Depths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, listed := depths[h]; got != want || listed != (want != function.Depth{}) {
		t.Errorf("%s has %+v in the queue (listed: %t), want %+v", h.Name, got, listed, want)
	}
}

func testQueue(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	plain := heap("plain", "7") // no contract: it has no heap
	wantDepth(t, s, plain, function.Depth{})
	first := invocation(plain, "a")
	first.Payload = []byte("\x00\xff{}")
	enqueue(t, s, first, invocation(h, "b"), invocation(plain, "c"))
	wantDepth(t, s, plain, function.Depth{Waiting: 2})
	wantLeased(t, s, function.ItemMessage)
	leased := wantLeased(t, s, function.ItemInvocation, "a", "b", "c")
	wantLeased(t, s, function.ItemInvocation)
	got := leased["a"].Item
	if got.ID == 0 || got.ID >= leased["c"].ID || got.ID != leased["a"].Lease.ID {
		t.Errorf("ids are %d and %d, the lease's is %d", got.ID, leased["c"].ID, leased["a"].Lease.ID)
	}
	if !got.Accepted.Equal(first.Accepted) || !got.Due.Equal(first.Due) {
		t.Errorf("accepted %v and due %v, want %v and %v", got.Accepted, got.Due, first.Accepted, first.Due)
	}
	first.ID, got.Accepted, got.Due = got.ID, first.Accepted, first.Due
	if !reflect.DeepEqual(got, first) {
		t.Errorf("leased is %+v, want %+v", got, first)
	}
	wantDepth(t, s, plain, function.Depth{Waiting: 2})
	for _, l := range leased {
		settle(t, s, l, function.Settlement{})
		if err := s.Settle(t.Context(), l.Function, l.Lease, function.Settlement{}); !errors.Is(err, heapstore.ErrLeaseLost) || !errors.Is(err, function.ErrConflict) {
			t.Errorf("settled twice: %v, want ErrLeaseLost", err)
		}
	}
	wantLeased(t, s, function.ItemInvocation)
	wantDepth(t, s, plain, function.Depth{})
	for _, bad := range []function.Heap{heap("", "1"), heap("a/b", "1"), heap("a", "")} {
		if err := s.Enqueue(t.Context(), invocation(bad, "x"), function.QueueBounds{}); !errors.Is(err, function.ErrInvalid) {
			t.Errorf("an item of %+v: %v, want ErrInvalid", bad, err)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := s.Enqueue(ended, invocation(h, "late"), function.QueueBounds{}); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	wantDepth(t, s, h, function.Depth{})
}

func testQueueBounds(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	a, b, c := heap("a", "1"), heap("b", "1"), heap("c", "1")
	bounds := function.QueueBounds{Items: 2, Bytes: 1000, TotalItems: 4, TotalBytes: 1500}
	of := func(h function.Heap, call string, bytes int) function.Item {
		i := invocation(h, call)
		i.Payload = []byte(strings.Repeat("x", bytes))
		return i
	}
	add := func(i function.Item, want error) {
		t.Helper()
		if err := s.Enqueue(t.Context(), i, bounds); !errors.Is(err, want) {
			t.Errorf("%s of %s: %v, want %v", i.CallID, i.Function.Name, err, want)
		}
	}
	add(of(a, "1", 1001), heapstore.ErrQueueFull)
	add(of(a, "1", 10), nil)
	add(of(a, "2", 990), nil)
	add(of(a, "3", 0), heapstore.ErrQueueFull)
	add(of(b, "1", 501), heapstore.ErrQueueFull) // of all
	add(of(b, "1", 400), nil)
	add(of(b, "2", 100), nil)
	add(of(c, "1", 0), heapstore.ErrQueueFull) // of all
	// What runs still counts, what has left does not.
	leased := wantLeased(t, s, function.ItemInvocation, "1", "2")
	add(of(a, "3", 0), heapstore.ErrQueueFull)
	settle(t, s, leased["1"], function.Settlement{})
	settle(t, s, leased["2"], function.Settlement{Bury: true})
	wantDepths(t, s, 2)
}

// A message takes the room of its bytes, and no invocation's place.
func testQueueMessageBytes(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	a, b := heap("a", "1"), heap("b", "1")
	bounds := function.QueueBounds{Items: 2, Bytes: 1000, TotalItems: 3, TotalBytes: 1200}
	of := func(h function.Heap, call string, bytes int) function.Item {
		i := invocation(h, call)
		i.Payload = []byte(strings.Repeat("x", bytes))
		return i
	}
	add := func(i function.Item, want error) {
		t.Helper()
		if err := s.Enqueue(t.Context(), i, bounds); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", i.CallID, err, want)
		}
	}
	add(of(a, "a1", 0), nil)
	message := of(a, "a1", 990)
	message.Kind = function.ItemMessage
	settle(t, s, wantLeased(t, s, function.ItemInvocation, "a1")["a1"], function.Settlement{Send: []function.Item{message}})
	add(of(a, "a2", 11), heapstore.ErrQueueFull)
	add(of(a, "a2", 10), nil)
	add(of(b, "b1", 201), heapstore.ErrQueueFull) // of all
	add(of(b, "b1", 200), nil)
	settle(t, s, wantLeased(t, s, function.ItemMessage, "a1")["a1"], function.Settlement{})
	add(of(a, "a3", 990), nil)
	wantDepths(t, s, 3)
}

// wantDepths checks how many invocations wait in all.
func wantDepths(t *testing.T, s heapstore.Store, want int) {
	t.Helper()
	depths, err := s.Depths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for _, d := range depths {
		got += d.Waiting
	}
	if got != want {
		t.Errorf("%d invocations wait, want %d: %v", got, want, depths)
	}
}

func testQueueCalls(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	var added, refused atomic.Int64
	var adding sync.WaitGroup
	for range 8 {
		adding.Go(func() {
			switch err := s.Enqueue(t.Context(), invocation(h, "same"), function.QueueBounds{}); {
			case err == nil:
				added.Add(1)
			case errors.Is(err, function.ErrExists):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	adding.Wait()
	if added.Load() != 1 || refused.Load() != 7 {
		t.Errorf("%d added and %d refused, want 1 and 7", added.Load(), refused.Load())
	}
	other := heap("other", "1")
	enqueue(t, s, invocation(other, "same"), invocation(h, ""), invocation(h, ""))
	leased, err := s.Lease(t.Context(), function.ItemInvocation, 100, nil)
	if err != nil || len(leased) != 4 {
		t.Fatalf("%d leased, %v", len(leased), err)
	}
	for _, l := range leased {
		settle(t, s, l, function.Settlement{})
	}
	enqueue(t, s, invocation(h, "same"))
	wantLeased(t, s, function.ItemInvocation, "same")
}

func testQueueAgain(t *testing.T, d Driver) {
	folder := t.TempDir()
	s, err := d.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	h := heap("a", "1")
	enqueue(t, s, invocation(h, "now"), invocation(h, "later"))
	leased := wantLeased(t, s, function.ItemInvocation, "later", "now")
	settle(t, s, leased["later"], function.Settlement{Again: time.Now().Add(time.Hour), Attempts: 1, Reason: "502 \xff"})
	settle(t, s, leased["now"], function.Settlement{Again: time.Now().Add(-time.Second), Attempts: 3, Reason: "429"})
	for round := range 2 {
		again := wantLeased(t, s, function.ItemInvocation, "now")["now"]
		if again.Attempts != 3 || again.Reason != "429" || string(again.Payload) != "of now" {
			t.Errorf("came again as %+v", again)
		}
		wantDepth(t, s, h, function.Depth{Waiting: 2})
		settle(t, s, again, function.Settlement{Again: time.Now().Add(-time.Second), Attempts: 3, Reason: "429"})
		if round == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, d, folder)
		}
	}
}

func testDeadLetters(t *testing.T, d Driver) {
	folder := t.TempDir()
	s, err := d.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	h := heap("a", "1")
	for i := range 5 {
		enqueue(t, s, invocation(h, fmt.Sprint(i)))
	}
	for _, l := range lease(t, s, function.ItemInvocation, 100) {
		settle(t, s, l, function.Settlement{Bury: true, Attempts: 10, Reason: "500 of " + l.CallID})
	}
	wantDepth(t, s, h, function.Depth{Dead: 5})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, d, folder)
	wantDepth(t, s, h, function.Depth{Dead: 5})
	wantLeased(t, s, function.ItemInvocation)
	var all []function.Item
	for after := uint64(0); ; {
		page, next, err := s.DeadLetters(t.Context(), h, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
		if after = next; next == 0 {
			break
		}
	}
	for n, i := range all {
		if i.CallID != fmt.Sprint(n) || i.Attempts != 10 || i.Reason != "500 of "+i.CallID || i.Payload != nil || i.Function != h {
			t.Errorf("dead letter %d is %+v", n, i)
		}
	}
	if len(all) != 5 {
		t.Fatalf("%d dead letters, want 5", len(all))
	}
	if one, err := s.DeadLetter(t.Context(), h, all[1].ID); err != nil || string(one.Payload) != "of 1" || one.ID != all[1].ID {
		t.Errorf("dead letter 1 is %+v, %v", one, err)
	}
	if err := errors.Join(s.Replay(t.Context(), h, all[1].ID), s.Discard(t.Context(), h, all[2].ID)); err != nil {
		t.Fatal(err)
	}
	wantDepth(t, s, h, function.Depth{Waiting: 1, Dead: 3})
	replayed := wantLeased(t, s, function.ItemInvocation, "1")["1"]
	if replayed.Attempts != 0 || replayed.Reason != "" || string(replayed.Payload) != "of 1" || replayed.ID <= all[4].ID {
		t.Errorf("replayed as %+v", replayed)
	}
	for _, id := range []uint64{all[1].ID, all[2].ID, replayed.ID, 999999} {
		_, show := s.DeadLetter(t.Context(), h, id)
		for _, err := range []error{show, s.Replay(t.Context(), h, id), s.Discard(t.Context(), h, id)} {
			if !errors.Is(err, heapstore.ErrNoItem) {
				t.Errorf("item %d: %v, want ErrNoItem", id, err)
			}
		}
	}
	// Nobody reaches another function's.
	if err := s.Discard(t.Context(), heap("a", "2"), all[0].ID); !errors.Is(err, heapstore.ErrNoItem) {
		t.Errorf("by another record: %v", err)
	}
	// One whose call id waits already stays dead.
	enqueue(t, s, invocation(h, "0"))
	if err := s.Replay(t.Context(), h, all[0].ID); !errors.Is(err, function.ErrExists) {
		t.Errorf("replayed beside itself: %v, want ErrExists", err)
	}
	wantDepth(t, s, h, function.Depth{Waiting: 2, Dead: 3})
}

func testQueueCommit(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	enqueue(t, s, invocation(h, "a"))
	l := wantLeased(t, s, function.ItemInvocation, "a")["a"]
	message := function.Item{Function: h, Kind: function.ItemMessage, CallID: "a", Accepted: time.Now(), Due: time.Now(), Payload: []byte("done")}
	c := function.Commit{
		Writes: writes("k", strings.Repeat("v", 100)), QuotaBytes: 10, CallID: "a", Leave: &l.Lease, Send: []function.Item{message},
	}
	if err := s.Commit(t.Context(), h, c); !errors.Is(err, heapstore.ErrQuota) {
		t.Fatalf("above quota: %v", err)
	}
	wantDepth(t, s, h, function.Depth{Waiting: 1})
	// Another lease's token is none.
	stolen := l.Lease
	stolen.Token++
	c.QuotaBytes, c.Leave = 0, &stolen
	if err := s.Commit(t.Context(), h, c); !errors.Is(err, heapstore.ErrLeaseLost) {
		t.Errorf("by another's lease: %v, want ErrLeaseLost", err)
	}
	wantKeys(t, s, h)
	c.Leave = &l.Lease
	if err := s.Commit(t.Context(), h, c); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, s, h, "k")
	wantDepth(t, s, h, function.Depth{Messages: 1})
	if _, found, err := s.Recorded(t.Context(), h, "a"); err != nil || !found {
		t.Errorf("recorded: %t, %v", found, err)
	}
	// What was left is left: neither the commit nor its message comes again.
	c.CallID, c.Writes = "b", writes("again", "1")
	if err := s.Commit(t.Context(), h, c); !errors.Is(err, heapstore.ErrLeaseLost) {
		t.Errorf("committed twice: %v, want ErrLeaseLost", err)
	}
	wantKeys(t, s, h, "k")
	sent := wantLeased(t, s, function.ItemMessage, "a")["a"]
	if string(sent.Payload) != "done" || sent.Kind != function.ItemMessage {
		t.Errorf("sent is %+v", sent)
	}
	settle(t, s, sent, function.Settlement{Send: []function.Item{message, message}})
	wantDepth(t, s, h, function.Depth{Messages: 2})
}

func testQueueSerial(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	h, other := heap("a", "1"), heap("b", "1")
	enqueue(t, s, serial(invocation(h, "1")), serial(invocation(h, "2")), serial(invocation(other, "x")), serial(invocation(h, "3")))
	leased := wantLeased(t, s, function.ItemInvocation, "1", "x")
	wantLeased(t, s, function.ItemInvocation)
	// One that is to come again holds its place.
	settle(t, s, leased["1"], function.Settlement{Again: time.Now().Add(time.Hour), Attempts: 1})
	wantLeased(t, s, function.ItemInvocation)
	wantDepth(t, s, h, function.Depth{Waiting: 3})
	// A line does not hold up what is not in it.
	enqueue(t, s, serial(function.Item{Function: h, Kind: function.ItemMessage, CallID: "m", Accepted: time.Now(), Due: time.Now(), Payload: []byte("m")}))
	wantLeased(t, s, function.ItemMessage, "m")
	if err := s.Drop(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	enqueue(t, s, serial(invocation(h, "1")), serial(invocation(h, "2")), serial(invocation(h, "3")))
	for _, want := range []string{"1", "2", "3"} {
		l := wantLeased(t, s, function.ItemInvocation, want)[want]
		if want == "1" {
			settle(t, s, l, function.Settlement{Again: time.Now().Add(-time.Second), Attempts: 1})
			l = wantLeased(t, s, function.ItemInvocation, want)[want]
		}
		settle(t, s, l, function.Settlement{Bury: want == "2"})
	}
	wantDepth(t, s, h, function.Depth{Dead: 1})
}

// inLine is a caller who waits for his turn.
type inLine struct {
	lease chan function.Lease
	err   chan error
}

func standInLine(ctx context.Context, s heapstore.Store, h function.Heap) inLine {
	l := inLine{make(chan function.Lease, 1), make(chan error, 1)}
	go func() {
		lease, err := s.Line(ctx, h)
		if err != nil {
			l.err <- err
			return
		}
		l.lease <- lease
	}()
	return l
}

// turn waits for it.
func (l inLine) turn(t *testing.T) function.Lease {
	t.Helper()
	select {
	case lease := <-l.lease:
		return lease
	case err := <-l.err:
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("the turn did not come")
	}
	return function.Lease{}
}

// wantWaiting checks, for as long as it takes to do something else with the store, that nobody has his turn.
func wantWaiting(t *testing.T, s heapstore.Store, callers ...inLine) {
	t.Helper()
	if _, err := s.Depths(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n, l := range callers {
		if len(l.lease)+len(l.err) > 0 {
			t.Fatalf("caller %d does not wait", n)
		}
	}
}

func testQueueLine(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	// The first has his turn at once, so that the others are surely behind him.
	first := standInLine(t.Context(), s, h).turn(t)
	enqueue(t, s, serial(invocation(h, "1")))
	second := standInLine(t.Context(), s, h)
	wantLeased(t, s, function.ItemInvocation)
	wantWaiting(t, s, second)
	if err := s.Commit(t.Context(), h, function.Commit{Writes: writes("k", "1"), Leave: &first}); err != nil {
		t.Fatal(err)
	}
	one := wantLeased(t, s, function.ItemInvocation, "1")["1"]
	wantWaiting(t, s, second)
	settle(t, s, one, function.Settlement{Again: time.Now().Add(-time.Second)})
	wantWaiting(t, s, second)
	one = wantLeased(t, s, function.ItemInvocation, "1")["1"]
	settle(t, s, one, function.Settlement{})
	turn := second.turn(t)
	enqueue(t, s, serial(invocation(h, "2")))
	wantLeased(t, s, function.ItemInvocation)
	if err := s.Settle(t.Context(), h, turn, function.Settlement{}); err != nil {
		t.Fatal(err)
	}
	wantLeased(t, s, function.ItemInvocation, "2")
	if err := s.Commit(t.Context(), h, function.Commit{Writes: writes("k", "2"), Leave: &turn}); !errors.Is(err, heapstore.ErrLeaseLost) {
		t.Errorf("a turn that has ended commits: %v", err)
	}
	wantValue(t, s, h, "k", "1")
	wantDepth(t, s, h, function.Depth{Waiting: 1})
}

func testQueueLineLeft(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	first := standInLine(t.Context(), s, h).turn(t)
	ctx, leave := context.WithCancel(t.Context())
	second := standInLine(ctx, s, h)
	leave()
	if err := <-second.err; !errors.Is(err, context.Canceled) {
		t.Errorf("who leaves gets %v", err)
	}
	third := standInLine(t.Context(), s, h)
	// A commit that writes nothing ends a turn as well as any other.
	if err := s.Commit(t.Context(), h, function.Commit{Leave: &first}); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), h, function.Commit{Leave: &first}); !errors.Is(err, heapstore.ErrLeaseLost) {
		t.Errorf("a turn ends twice: %v", err)
	}
	if err := s.Settle(t.Context(), h, third.turn(t), function.Settlement{}); err != nil {
		t.Fatal(err)
	}
	enqueue(t, s, serial(invocation(h, "1")))
	wantLeased(t, s, function.ItemInvocation, "1")
}

func testTicks(t *testing.T, d Driver) {
	folder := t.TempDir()
	s, err := d.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	h, at := heap("clock", "1"), time.Unix(1_700_000_000, 0)
	tick := func(seconds int, want error) {
		t.Helper()
		at := at.Add(time.Duration(seconds) * time.Second)
		if err := s.Tick(t.Context(), invocation(h, fmt.Sprint("tick-", at.Unix())), at); !errors.Is(err, want) {
			t.Errorf("tick %d: %v, want %v", seconds, err, want)
		}
	}
	wantLast := func(seconds int) {
		t.Helper()
		if got, err := s.LastTick(t.Context(), h); err != nil || !got.Equal(at.Add(time.Duration(seconds)*time.Second)) {
			t.Errorf("the last tick was %v, %v, want %d", got, err, seconds)
		}
	}
	if got, err := s.LastTick(t.Context(), h); err != nil || !got.IsZero() {
		t.Errorf("a clock that was not set: %v, %v", got, err)
	}
	set := function.Item{Function: h}
	if err := s.Tick(t.Context(), set, at); err != nil {
		t.Fatal(err)
	}
	if err := s.Tick(t.Context(), set, at.Add(time.Hour)); !errors.Is(err, function.ErrExists) {
		t.Errorf("set again: %v", err)
	}
	wantLast(0)
	wantDepth(t, s, h, function.Depth{})
	tick(0, function.ErrExists)
	tick(1, nil)
	tick(1, function.ErrExists)
	tick(2, function.ErrExists) // the first is not done yet
	wantLast(2)
	tick(2, function.ErrExists)
	leased := lease(t, s, function.ItemInvocation, 10)
	if len(leased) != 1 {
		t.Fatalf("leased are %v", leased)
	}
	for _, l := range leased {
		if l.CallID != fmt.Sprint("tick-", at.Unix()+1) {
			t.Errorf("the tick is %q", l.CallID)
		}
		settle(t, s, l, function.Settlement{Bury: true})
	}
	tick(2, function.ErrExists)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, d, folder)
	wantLast(2)
	tick(2, function.ErrExists)
	tick(3, nil)
	wantDepth(t, s, h, function.Depth{Waiting: 1, Dead: 1})
	if err := s.Drop(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if got, err := s.LastTick(t.Context(), h); err != nil || !got.IsZero() {
		t.Errorf("the clock of what was dropped: %v, %v", got, err)
	}
}

func testQueueDropped(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	next := h
	next.ID = "2"
	create(t, s, next)
	enqueue(t, s, invocation(h, "runs"), invocation(next, "stays"))
	leased := wantLeased(t, s, function.ItemInvocation, "runs", "stays")
	enqueue(t, s, invocation(h, "waits"), serial(invocation(h, "serial")), invocation(h, "dead"))
	settle(t, s, leased["stays"], function.Settlement{Again: time.Now().Add(-time.Second)})
	turnOf := standInLine(t.Context(), s, h) // behind the others
	if err := s.Drop(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	wantDepth(t, s, h, function.Depth{})
	l := leased["runs"]
	if err := s.Settle(t.Context(), h, l.Lease, function.Settlement{Again: time.Now()}); !errors.Is(err, heapstore.ErrLeaseLost) {
		t.Errorf("settled after the drop: %v, want ErrLeaseLost", err)
	}
	if err := s.Commit(t.Context(), h, function.Commit{Leave: &l.Lease}); !errors.Is(err, heapstore.ErrLeaseLost) && !errors.Is(err, heapstore.ErrNoHeap) {
		t.Errorf("committed after the drop: %v", err)
	}
	wantLeased(t, s, function.ItemInvocation, "stays")
	// Who stood in line learns of it, then or as he commits.
	select {
	case err := <-turnOf.err:
		if !errors.Is(err, heapstore.ErrLeaseLost) {
			t.Errorf("in line: %v", err)
		}
	case turn := <-turnOf.lease:
		// It writes, since he may have stood in line after the drop: to leave it is not to commit then.
		writes := []function.HeapWrite{{Key: "k", Value: []byte("1")}}
		if err := s.Commit(t.Context(), h, function.Commit{Leave: &turn, Writes: writes}); err == nil {
			t.Error("a commit to a heap that was dropped")
		}
	case <-time.After(time.Minute):
		t.Error("who stood in line still does")
	}
	wantDepth(t, s, h, function.Depth{})
	if err := s.Drop(t.Context(), h); err != nil {
		t.Errorf("dropped again: %v", err)
	}
}

func testQueueFair(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	greedy, modest := heap("greedy", "1"), heap("modest", "1")
	for i := range 20 {
		enqueue(t, s, invocation(greedy, fmt.Sprint("g", i)))
	}
	enqueue(t, s, invocation(modest, "m1"), invocation(modest, "m2"))
	leased := lease(t, s, function.ItemInvocation, 4)
	if _, found := leased["m1"]; len(leased) != 4 || !found {
		t.Errorf("of two functions leased are %v", slices.Sorted(maps.Keys(leased)))
	}
	skipped, err := s.Lease(t.Context(), function.ItemInvocation, 100, map[function.Heap]bool{greedy: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range skipped {
		if l.Function == greedy {
			t.Errorf("%q is of a function that was to be left out", l.CallID)
		}
	}
}

// testQueueConcurrent has many enqueue and many work, with failures, and finds the effect of each once.
func testQueueConcurrent(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	const adders, each = 8, 25
	var adding, working sync.WaitGroup
	for a := range adders {
		adding.Go(func() {
			for n := range each {
				if err := s.Enqueue(t.Context(), invocation(h, fmt.Sprintf("%d-%02d", a, n)), function.QueueBounds{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var done atomic.Int64
	for range 4 {
		working.Go(func() { workUntil(t, s, h, &done, adders*each) })
	}
	adding.Wait()
	working.Wait()
	keys := walk(t, s, h, "", heapstore.MaxListLimit)
	if len(keys) != adders*each {
		t.Errorf("%d effects, want %d", len(keys), adders*each)
	}
	wantDepth(t, s, h, function.Depth{Messages: adders * each})
}

// workUntil works on invocations until so many are done. Each is tried twice, and commits a key of its own that is not there.
func workUntil(t *testing.T, s heapstore.Store, h function.Heap, done *atomic.Int64, want int64) {
	for done.Load() < want && !t.Failed() {
		leased, err := s.Lease(t.Context(), function.ItemInvocation, 10, nil)
		if err != nil {
			t.Error(err)
			return
		}
		for _, l := range leased {
			if l.Attempts == 0 {
				if err := s.Settle(t.Context(), h, l.Lease, function.Settlement{Again: time.Now(), Attempts: 1}); err != nil {
					t.Error(err)
				}
				continue
			}
			if _, err := s.Get(t.Context(), h, l.CallID); !errors.Is(err, heapstore.ErrNoKey) {
				t.Errorf("%s was done before: %v", l.CallID, err)
			}
			message := l.Item
			message.Kind = function.ItemMessage
			err := s.Commit(t.Context(), h, function.Commit{Writes: writes(l.CallID, "1"), Leave: &l.Lease, Send: []function.Item{message}})
			if err != nil {
				t.Error(err)
			}
			done.Add(1)
		}
		if len(leased) == 0 {
			select {
			case <-s.Ready():
			case <-time.After(5 * time.Millisecond): // another took the token
			}
		}
	}
}

// testQueueSerialConcurrent has many work on one line, callers among them, and finds nobody beside another and the items in
// their order.
func testQueueSerialConcurrent(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	const items, callers = 40, 20
	var inside atomic.Int64
	var mu sync.Mutex
	var order []string
	run := func(name string) {
		if inside.Add(1) != 1 {
			t.Errorf("%s runs beside another", name)
		}
		mu.Lock()
		order = append(order, name)
		mu.Unlock()
		inside.Add(-1)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for n := range items {
			enqueue(t, s, serial(invocation(h, fmt.Sprintf("%03d", n))))
		}
	})
	for range callers {
		all.Go(func() {
			turn, err := s.Line(t.Context(), h)
			if err != nil {
				t.Error(err)
				return
			}
			run("caller")
			if err := s.Commit(t.Context(), h, function.Commit{Leave: &turn}); err != nil {
				t.Error(err)
			}
		})
	}
	var done atomic.Int64
	for range 4 {
		all.Go(func() {
			for done.Load() < items && !t.Failed() {
				leased, err := s.Lease(t.Context(), function.ItemInvocation, 10, nil)
				if err != nil {
					t.Error(err)
					return
				}
				for _, l := range leased {
					run(l.CallID)
					if err := s.Commit(t.Context(), h, function.Commit{Leave: &l.Lease}); err != nil {
						t.Error(err)
					}
					done.Add(1)
				}
				if len(leased) == 0 {
					select {
					case <-s.Ready():
					case <-time.After(5 * time.Millisecond): // another took the token
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

func testQueueReopen(t *testing.T, d Driver) {
	folder := t.TempDir()
	s, err := d.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	h := heap("a", "1")
	for n := range 5 {
		enqueue(t, s, serial(invocation(h, fmt.Sprint(n))))
	}
	l := wantLeased(t, s, function.ItemInvocation, "0")["0"]
	settle(t, s, l, function.Settlement{})
	wantLeased(t, s, function.ItemInvocation, "1") // and not settled
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(t.Context(), h, l.Lease, function.Settlement{}); err == nil {
		t.Error("a closed store settles")
	}
	d.lapse(t, folder)
	s = open(t, d, folder)
	enqueue(t, s, serial(invocation(h, "5")))
	wantDepth(t, s, h, function.Depth{Waiting: 5})
	deadline := time.Now().Add(heapstore.DefaultLeaseTime + time.Minute)
	for want := 1; want <= 5; {
		leased := lease(t, s, function.ItemInvocation, 10)
		for call, l := range leased {
			if call != fmt.Sprint(want) {
				t.Fatalf("%q is leased, want %d", call, want)
			}
			settle(t, s, l, function.Settlement{})
			want++
		}
		if time.Now().After(deadline) {
			t.Fatalf("item %d was not leased", want)
		}
		if len(leased) == 0 {
			<-time.After(50 * time.Millisecond) // the lease of the closed store has to end
		}
	}
}

func testQueueMemory(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	item := invocation(h, "a")
	enqueue(t, s, item)
	copy(item.Payload, "XXXX")
	l := wantLeased(t, s, function.ItemInvocation, "a")["a"]
	if string(l.Payload) != "of a" {
		t.Errorf("payload %q", l.Payload)
	}
	message := function.Item{Function: h, Kind: function.ItemMessage, CallID: "m", Accepted: time.Now(), Due: time.Now(), Payload: []byte("first")}
	send := []function.Item{message}
	settle(t, s, l, function.Settlement{Send: send})
	if send[0].ID != 0 {
		t.Error("what was sent was changed")
	}
	copy(message.Payload, "XXXXX")
	if m := wantLeased(t, s, function.ItemMessage, "m")["m"]; string(m.Payload) != "first" {
		t.Errorf("payload %q", m.Payload)
	}
}
