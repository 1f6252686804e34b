package bolt_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
)

// never is when a test wants to say itself when there is a flush.
const never = time.Hour

// wantHeap wants exactly these keys and values, by all ways to read them.
func wantHeap(t *testing.T, s *bolt.Store, want map[string]string) {
	t.Helper()
	keys, _, err := s.List(t.Context(), testHeap(), "", "", heapstore.MaxListLimit)
	if sorted := slices.Sorted(maps.Keys(want)); err != nil || !slices.Equal(keys, sorted) {
		t.Errorf("the heap lists %.200q, %v, want %.200q", keys, err, sorted)
	}
	bytes := 0
	for key, value := range want {
		wantKey(t, s, key, value)
		bytes += len(key) + len(value)
	}
	entries, _, err := s.Entries(t.Context(), testHeap(), "", "", heapstore.MaxListLimit)
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if string(e.Value) != want[e.Key] {
			t.Errorf("%q is %.40q among all, want %.40q", e.Key, e.Value, want[e.Key])
		}
	}
	usage, err := s.Usage(t.Context(), testHeap())
	if err != nil || usage.Keys != int64(len(want)) || usage.Bytes != int64(bytes) {
		t.Errorf("the heap has %+v, %v, want %d keys, %d bytes", usage, err, len(want), bytes)
	}
}

// TestFlush_ReadWhilePending reads everything that one looks for by its name while it is pending, which flushes nothing, and the rest,
// which does.
func TestFlush_ReadWhilePending(t *testing.T) {
	bolt.LimitPendingIn(t, 1<<20, never)
	ctx, h := t.Context(), testHeap()
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	item := heapstore.Item{Function: h, CallID: "item", Due: time.Now(), Payload: []byte("payload")}
	// What makes buckets is flushed: first of everything one.
	must(t, s.Enqueue(ctx, item, heapstore.QueueBounds{}), s.Commit(ctx, h, heapstore.Commit{CallID: "first"}))
	put(t, s, "deleted", `"old"`)
	must(t, bolt.Flush(s))
	at := time.Unix(1, 2)
	item.CallID = "other"
	must(t,
		s.Commit(ctx, h, heapstore.Commit{
			CallID: "call", Record: heapstore.Record{Answer: function.Answer{Body: []byte("answer")}},
			Writes: []heapstore.Write{{Key: "k", Value: []byte("1")}, {Key: "deleted", Delete: true}},
		}),
		s.Enqueue(ctx, item, heapstore.QueueBounds{}),
		s.Tick(ctx, heapstore.Item{Function: h}, at))
	pending := bolt.Pending(s)
	if pending != 3 {
		t.Fatalf("%d groups are pending", pending)
	}
	wantPoints := func() {
		t.Helper()
		wantKey(t, s, "k", "1")
		wantKey(t, s, "deleted", "")
		wantKey(t, s, "absent", "")
		if r, found, err := s.Recorded(ctx, h, "call"); err != nil || !found || string(r.Answer.Body) != "answer" {
			t.Errorf("recorded is %q, %t, %v", r.Answer.Body, found, err)
		}
		if _, found, err := s.Recorded(ctx, h, "none"); err != nil || found {
			t.Errorf("recorded is %t, %v", found, err)
		}
		if got, err := s.LastTick(ctx, h); err != nil || !got.Equal(at) {
			t.Errorf("the last tick was at %v, %v", got, err)
		}
	}
	wantPoints()
	if err := s.Commit(ctx, h, heapstore.Commit{CallID: "call"}); !errors.Is(err, heapstore.ErrRecorded) {
		t.Errorf("%v, want ErrRecorded", err)
	}
	leased, err := s.Lease(ctx, function.ItemInvocation, 2, nil)
	if err != nil || len(leased) != 2 || string(leased[1].Item.Payload) != "payload" || leased[1].Item.CallID != "other" {
		t.Fatalf("leased %+v, %v", leased, err)
	}
	must(t, s.Settle(ctx, h, leased[1].Lease, heapstore.Settlement{Bury: true, Reason: "why"}))
	if dead, err := s.DeadLetter(ctx, h, leased[1].Lease.ID); err != nil || dead.Reason != "why" {
		t.Errorf("the dead letter is %+v, %v", dead, err)
	}
	if now := bolt.Pending(s); now != pending+1 {
		t.Errorf("%d groups are pending, want %d", now, pending+1)
	}
	wantHeap(t, s, map[string]string{"k": "1"})
	if now := bolt.Pending(s); now != 0 {
		t.Errorf("%d groups are pending when all was read", now)
	}
	wantPoints()
	must(t, bolt.Abandon(s))
	s = openStore(t, path, bolt.Options{})
	wantPoints()
	if dead, err := s.DeadLetter(ctx, h, leased[1].Lease.ID); err != nil || dead.Reason != "why" {
		t.Errorf("the dead letter is %+v, %v", dead, err)
	}
}

// TestFlush_OldRecordsGo deletes answers that are pending, and such as are not, while later ones are.
func TestFlush_OldRecordsGo(t *testing.T) {
	bolt.LimitPendingIn(t, 1<<20, never)
	ctx, h := t.Context(), testHeap()
	s := openStore(t, filepath.Join(t.TempDir(), "heap.db"), bolt.Options{RecordAge: time.Nanosecond})
	must(t, s.Create(ctx, h))
	for n := range 20 {
		must(t, s.Commit(ctx, h, heapstore.Commit{CallID: fmt.Sprint(n)}))
		if n == 10 {
			must(t, bolt.Flush(s))
		}
		for call := range n + 2 {
			// Only the newest is as young.
			if _, found, err := s.Recorded(ctx, h, fmt.Sprint(call)); err != nil || found != (call == n) {
				t.Errorf("after %d calls %d is recorded: %t, %v", n+1, call, found, err)
			}
		}
	}
}

// TestFlush_PointReadsWaitForNobody reads while a commit's sync takes for ever: what it wrote cannot be seen before.
func TestFlush_PointReadsWaitForNobody(t *testing.T) {
	bolt.LimitPendingIn(t, 1<<20, never)
	s := openPath(t, filepath.Join(t.TempDir(), "heap.db"))
	put(t, s, "k", "1")
	begun, release := bolt.HoldLogSyncs(t)
	written := make(chan error)
	go func() {
		written <- s.Commit(t.Context(), testHeap(), heapstore.Commit{CallID: "call", Writes: []heapstore.Write{{Key: "k", Value: []byte("2")}}})
	}()
	<-begun
	wantKey(t, s, "k", "1")
	if _, found, err := s.Recorded(t.Context(), testHeap(), "call"); err != nil || found {
		t.Errorf("the call that is being committed is recorded: %t, %v", found, err)
	}
	release()
	must(t, <-written)
	wantKey(t, s, "k", "2")
	must(t, s.Close())
}

// TestFlush_LogRefuses has no room in the log for a commit in the middle of others: it is not there, and they are.
func TestFlush_LogRefuses(t *testing.T) {
	bolt.LimitPendingIn(t, 1<<20, never)
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	must(t, bolt.Flush(s))
	put(t, s, "a", "1")
	put(t, s, "b", "1")
	lift := limitFileSize(t, 256<<10)
	for range 2 {
		err := s.Commit(t.Context(), testHeap(), heapstore.Commit{Writes: []heapstore.Write{
			{Key: "a", Value: []byte("2")}, {Key: "b", Delete: true}, {Key: "large", Value: make([]byte, 400<<10)},
		}})
		if !errors.Is(err, syscall.EFBIG) {
			t.Errorf("%v, want EFBIG", err)
		}
		wantKey(t, s, "a", "1")
	}
	put(t, s, "c", "1")
	if pending := bolt.Pending(s); pending != 1 {
		t.Errorf("%d groups are pending, and would have to be done again each time", pending)
	}
	lift()
	want := map[string]string{"a": "1", "b": "1", "c": "1"}
	wantHeap(t, s, want)
	must(t, bolt.Abandon(s))
	s = openStore(t, path, bolt.Options{})
	wantHeap(t, s, want)
}

// TestFlush_HalfAChange has changes that break off when they have written something: nothing of them is there, and all of the others.
func TestFlush_HalfAChange(t *testing.T) {
	bolt.LimitPendingIn(t, 1<<20, never)
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	put(t, s, "a", "1")
	breaks := errors.New("it breaks")
	if err := bolt.Spoil(t.Context(), s, testHeap(), "half", func() error { return breaks }); !errors.Is(err, breaks) {
		t.Errorf("%v, want %v", err, breaks)
	}
	put(t, s, "b", "1")
	func() {
		defer func() {
			if cause := recover(); cause != breaks {
				t.Errorf("it panics with %v", cause)
			}
		}()
		_ = bolt.Spoil(t.Context(), s, testHeap(), "half", func() error { panic(breaks) })
	}()
	wantKey(t, s, "half", "")
	put(t, s, "c", "1")
	want := map[string]string{"a": "1", "b": "1", "c": "1"}
	wantHeap(t, s, want)
	must(t, bolt.Abandon(s), checkFile(path))
	s = openStore(t, path, bolt.Options{})
	wantHeap(t, s, want)
}

// TestFlush_ReplayRefused refuses to replay a dead letter, which changes nothing.
func TestFlush_ReplayRefused(t *testing.T) {
	ctx, h := t.Context(), testHeap()
	s := openStore(t, filepath.Join(t.TempDir(), "heap.db"), bolt.Options{})
	item := heapstore.Item{Function: h, CallID: "call", Due: time.Now()}
	must(t, s.Enqueue(ctx, item, heapstore.QueueBounds{}))
	leased, err := s.Lease(ctx, function.ItemInvocation, 1, nil)
	must(t, err, s.Settle(ctx, h, leased[0].Lease, heapstore.Settlement{Bury: true}), s.Enqueue(ctx, item, heapstore.QueueBounds{}))
	end := bolt.End(s)
	if err := s.Replay(ctx, h, leased[0].Lease.ID); !errors.Is(err, function.ErrExists) {
		t.Errorf("%v, want ErrExists", err)
	}
	for _, discard := range []error{s.Discard(ctx, h, leased[0].Lease.ID+1), s.Replay(ctx, h, leased[0].Lease.ID+1)} {
		if !errors.Is(discard, heapstore.ErrNoItem) {
			t.Errorf("%v, want ErrNoItem: that one is not dead", discard)
		}
	}
	if bolt.End(s) != end {
		t.Error("what was refused is in the log")
	}
	if _, err := s.DeadLetter(ctx, h, leased[0].Lease.ID); err != nil {
		t.Error(err)
	}
}

// TestFlush_FileFull has room in the log, and none in the file for what is pending: that is read in all ways, nothing more is taken, and
// when there is room all goes on.
func TestFlush_FileFull(t *testing.T) {
	for _, end := range []string{"goes on", "closed", "killed"} {
		t.Run(end, func(t *testing.T) {
			bolt.LimitPendingIn(t, 100, never)
			ctx := t.Context()
			path := filepath.Join(t.TempDir(), "heap.db")
			s := openPath(t, path)
			// So that the file is larger than the log will be.
			bulk, other := testHeap(), testHeap()
			bulk.ID, other.ID = "bulk", "other"
			must(t, s.Create(ctx, bulk))
			fill(t, s, bulk, 50_000)
			put(t, s, "gone", "1")
			must(t, s.Commit(ctx, testHeap(), heapstore.Commit{CallID: "first"}))
			checkpoint(t, s)
			checkpoint(t, s)
			want, value := map[string]string{}, strings.Repeat("x", 10<<10)
			for n := range 50 {
				want[fmt.Sprint("k", n)] = value
				put(t, s, fmt.Sprint("k", n), value)
			}
			must(t, s.Commit(ctx, testHeap(), heapstore.Commit{CallID: "call", Writes: []heapstore.Write{{Key: "gone", Delete: true}}}))
			info, err := os.Stat(path)
			must(t, err)
			lift := limitFileSize(t, uint64(info.Size()))
			taken := 0
			for ; taken < 200; taken++ {
				w := heapstore.Write{Key: fmt.Sprint("small", taken), Value: []byte("1")}
				if err = s.Commit(ctx, testHeap(), heapstore.Commit{Writes: []heapstore.Write{w}}); err != nil {
					break
				}
				want[w.Key] = "1"
			}
			if taken < 10 || !errors.Is(err, syscall.EFBIG) {
				t.Errorf("%d more commits to a full disk, then %v, want EFBIG", taken, err)
			}
			if err := s.Create(ctx, other); !errors.Is(err, syscall.EFBIG) {
				t.Errorf("a heap is made on a full disk: %v", err)
			}
			for range 2 {
				wantHeap(t, s, want)
				if _, found, err := s.Recorded(ctx, testHeap(), "call"); err != nil || !found {
					t.Errorf("the call is recorded: %t, %v", found, err)
				}
				if _, err := s.Get(ctx, other, "k"); !errors.Is(err, heapstore.ErrNoHeap) {
					t.Errorf("%v, want ErrNoHeap", err)
				}
			}
			if _, err := s.Snapshot(ctx); !errors.Is(err, syscall.EFBIG) {
				t.Errorf("a snapshot of half: %v", err)
			}
			switch end {
			case "closed":
				if err := s.Close(); !errors.Is(err, syscall.EFBIG) {
					t.Errorf("closed with %v, want to know that the disk is full", err)
				}
			case "killed":
				must(t, bolt.Abandon(s))
			}
			lift()
			if end != "goes on" {
				s = openPath(t, path)
			}
			want["more"] = "1"
			put(t, s, "more", "1")
			wantHeap(t, s, want)
			must(t, s.Create(ctx, other), s.Close(), checkFile(path))
			wantHeap(t, openStore(t, path, bolt.Options{}), want)
		})
	}
}

// TestFlush_NewBucketFileFull makes a heap when the disk has no room for it, beside what is pending: it is not there, now and after a crash.
func TestFlush_NewBucketFileFull(t *testing.T) {
	bolt.LimitPendingIn(t, 1<<20, never)
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	bulk, other := testHeap(), testHeap()
	bulk.ID, other.ID = "bulk", "other"
	must(t, s.Create(ctx, bulk))
	fill(t, s, bulk, 50_000)
	checkpoint(t, s)
	checkpoint(t, s)
	large := strings.Repeat("x", 300<<10)
	put(t, s, "large", large)
	info, err := os.Stat(path)
	must(t, err)
	lift := limitFileSize(t, uint64(info.Size()))
	end := bolt.End(s)
	for range 2 {
		if err := s.Create(ctx, other); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("a heap is made on a full disk: %v", err)
		}
		if bolt.End(s) != end {
			t.Error("it is in the log")
		}
		wantHeap(t, s, map[string]string{"large": large})
	}
	must(t, bolt.Abandon(s))
	lift()
	s = openStore(t, path, bolt.Options{})
	if _, err := s.Usage(ctx, other); !errors.Is(err, heapstore.ErrNoHeap) {
		t.Errorf("%v, want ErrNoHeap", err)
	}
	wantHeap(t, s, map[string]string{"large": large})
}

// TestFlush_Broken has nothing but the log left, after a sync that failed, or because the disk was full when the last checkpoint had been let
// go of: what was acknowledged is read in all ways, nothing is taken, and the store that is opened again has all.
func TestFlush_Broken(t *testing.T) {
	for _, cause := range []string{"a sync fails", "the disk is full too late"} {
		for _, end := range []func(*bolt.Store) error{(*bolt.Store).Close, bolt.Abandon} {
			t.Run(cause, func(t *testing.T) {
				bolt.LimitPendingIn(t, 1<<20, never)
				bolt.LimitIn(t, 64<<20, 1<<21)
				path := filepath.Join(t.TempDir(), "heap.db")
				s := openPath(t, path)
				want := map[string]string{"small": "1", "half": strings.Repeat("x", 1<<20)}
				put(t, s, "half", want["half"])
				checkpoint(t, s)
				put(t, s, "small", "1")
				var heal func()
				if cause == "a sync fails" {
					failing := bolt.FailSyncs(t)
					failing(syscall.EIO, nil)
					heal = func() { failing(nil, nil) }
				} else {
					bolt.ReserveNothing(t)
					heal = limitFileSize(t, 1<<21)
					want["large"] = strings.Repeat("y", 1<<20)
					put(t, s, "large", want["large"])
					if err := bolt.Flush(s); !errors.Is(err, syscall.EFBIG) {
						t.Errorf("%v, want EFBIG", err)
					}
				}
				for range 2 {
					err := s.Commit(t.Context(), testHeap(), heapstore.Commit{Writes: []heapstore.Write{{Key: "lost", Value: []byte("1")}}})
					if err == nil {
						t.Error("a broken store takes a commit")
					}
					wantHeap(t, s, want)
				}
				err := s.Commit(t.Context(), testHeap(), heapstore.Commit{Writes: []heapstore.Write{{Key: "lost", Value: []byte("1")}}})
				if err == nil || !strings.Contains(err.Error(), "opened again") {
					t.Errorf("%v, want to know what to do", err)
				}
				must(t, end(s))
				heal()
				s = openPath(t, path)
				if cause == "a sync fails" {
					// It may be there or not: nobody was told.
					if e, err := s.Get(t.Context(), testHeap(), "lost"); err == nil {
						want["lost"] = string(e.Value)
					}
				}
				wantHeap(t, s, want)
				put(t, s, "small", "2")
				must(t, s.Close(), checkFile(path))
			})
		}
	}
}

// TestFlush_WhenIdle flushes when nothing more comes, and ends with the store.
func TestFlush_WhenIdle(t *testing.T) {
	bolt.LimitPendingIn(t, 1<<20, time.Millisecond)
	s := openPath(t, filepath.Join(t.TempDir(), "heap.db"))
	flushes := func() {
		t.Helper()
		for end := time.Now().Add(time.Minute); bolt.Pending(s) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("nothing flushes")
			}
		}
	}
	put(t, s, "k", "1")
	flushes()
	wantKey(t, s, "k", "1")

	// So does the first one after a group that failed alone.
	lift := limitFileSize(t, 256<<10)
	if err := s.Commit(t.Context(), testHeap(), heapstore.Commit{Writes: []heapstore.Write{{Key: "large", Value: make([]byte, 400<<10)}}}); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("%v, want EFBIG", err)
	}
	lift()
	put(t, s, "k", "2")
	flushes()
	wantKey(t, s, "k", "2")
	must(t, s.Close())
}

// TestFlush_Bounded commits without an end: what is pending is bounded.
func TestFlush_Bounded(t *testing.T) {
	bolt.LimitPendingIn(t, 10, never)
	s := openPath(t, filepath.Join(t.TempDir(), "heap.db"))
	most := 0
	for n := range 50 {
		put(t, s, fmt.Sprint(n), "1")
		most = max(most, bolt.Pending(s))
	}
	if most < 10 || most > 11 {
		t.Errorf("%d groups of a key were pending", most)
	}
	bolt.LimitPending(1<<20, never)
	value := strings.Repeat("x", heapstore.MaxValueBytes)
	for n := range 10 {
		put(t, s, fmt.Sprint(n), value)
		if pending := bolt.Pending(s); pending > 5+most {
			t.Errorf("%d groups of a MiB are pending", pending)
		}
	}
	must(t, s.Close())
}

// TestFlush_MemoryIsNotShared writes over what it gave and what it got: the store has its own.
func TestFlush_MemoryIsNotShared(t *testing.T) {
	bolt.LimitPendingIn(t, 1<<20, never)
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	key, value, body := []byte("key"), []byte("value"), []byte("answer")
	must(t, s.Commit(t.Context(), testHeap(), heapstore.Commit{
		CallID: "call", Record: heapstore.Record{Answer: function.Answer{Body: body}}, Writes: []heapstore.Write{{Key: string(key), Value: value}},
	}))
	put(t, s, "another", strings.Repeat("x", 1000)) // where the record of the first was made
	got, err := s.Get(t.Context(), testHeap(), "key")
	must(t, err)
	copy(got.Value, "spoil")
	copy(value, "spoil")
	copy(body, "spoil!")
	for range 2 {
		wantKey(t, s, "key", "value")
		if r, _, err := s.Recorded(t.Context(), testHeap(), "call"); err != nil || string(r.Answer.Body) != "answer" {
			t.Errorf("recorded is %q, %v", r.Answer.Body, err)
		}
		must(t, bolt.Flush(s))
	}
	must(t, bolt.Abandon(s))
	wantKey(t, openStore(t, path, bolt.Options{}), "key", "value")
}

// TestFlush_Model makes random commits, of which some find no room, flushes, kills and reads, and compares all with a map.
func TestFlush_Model(t *testing.T) {
	for _, keys := range []int{3, 50, 1 << 20} {
		t.Run(fmt.Sprint(keys), func(t *testing.T) {
			bolt.LimitPendingIn(t, keys, never)
			path := filepath.Join(t.TempDir(), "heap.db")
			s := openPath(t, path)
			want := map[string]string{}
			for step := range 600 {
				switch rand.IntN(40) {
				case 0:
					must(t, bolt.Abandon(s))
					s = openPath(t, path)
				case 1:
					must(t, bolt.Flush(s))
				case 2:
					wantHeap(t, s, want)
				case 3:
					checkpoint(t, s)
				case 4:
					spoiled := errors.New("spoiled")
					if err := bolt.Spoil(t.Context(), s, testHeap(), fmt.Sprint(rand.IntN(100)), func() error { return spoiled }); !errors.Is(err, spoiled) {
						t.Fatal(err)
					}
				default:
					var c heapstore.Commit
					for range 1 + rand.IntN(4) {
						key := fmt.Sprint(rand.IntN(100))
						if rand.IntN(3) == 0 {
							c.Writes = append(c.Writes, heapstore.Write{Key: key, Delete: true})
							delete(want, key)
							continue
						}
						want[key] = strings.Repeat(strconv.Itoa(step), 1+rand.IntN(100))
						c.Writes = append(c.Writes, heapstore.Write{Key: key, Value: []byte(want[key])})
					}
					must(t, s.Commit(t.Context(), testHeap(), c))
				}
				key := fmt.Sprint(rand.IntN(100))
				wantKey(t, s, key, want[key])
			}
			wantHeap(t, s, want)
			must(t, s.Close(), checkFile(path))
		})
	}
}

// TestFlush_ReadersSeeNoStepBack has readers of every kind beside writers and flushes: each sees what was acknowledged before it began, and
// nothing older than it has seen.
func TestFlush_ReadersSeeNoStepBack(t *testing.T) {
	bolt.LimitPendingIn(t, 7, time.Millisecond)
	s := openPath(t, filepath.Join(t.TempDir(), "heap.db"))
	put(t, s, "k", "0")
	const commits = 400
	var acknowledged atomic.Int64
	read := []func() (string, error){
		func() (string, error) {
			e, err := s.Get(t.Context(), testHeap(), "k")
			return string(e.Value), err
		},
		func() (string, error) {
			all, _, err := s.Entries(t.Context(), testHeap(), "k", "", 1)
			if err != nil || len(all) != 1 {
				return "", fmt.Errorf("%d entries, %w", len(all), err)
			}
			return string(all[0].Value), nil
		},
	}
	var reading sync.WaitGroup
	for _, read := range read {
		for range 2 {
			reading.Go(func() {
				for last := int64(0); last < commits; {
					least := max(last, acknowledged.Load())
					value, err := read()
					if err != nil {
						t.Error(err)
						return
					}
					if last, err = strconv.ParseInt(value, 10, 64); err != nil || last < least {
						t.Errorf("read %q, %v, and %d was there", value, err, least)
						return
					}
				}
			})
		}
	}
	for n := 1; n <= commits; n++ {
		put(t, s, "k", fmt.Sprint(n))
		acknowledged.Store(int64(n))
	}
	reading.Wait()
	must(t, s.Close())
}

// BenchmarkCommit_RandomKeys gives a heap keys that it did not have, in no order, which all come to the few pages that it had at the last
// flush.
func BenchmarkCommit_RandomKeys(b *testing.B) {
	for _, keys := range []int{1, 64} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			s, h := openHeap(b, bolt.Options{})
			random := rand.New(rand.NewPCG(1, 2))
			writes := make([]heapstore.Write, keys)
			for b.Loop() {
				for i := range writes {
					writes[i] = heapstore.Write{Key: fmt.Sprintf("%016x", random.Uint64()), Value: []byte("1000")}
				}
				if err := s.Commit(b.Context(), h, heapstore.Commit{Writes: writes, QuotaBytes: 1 << 40}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*keys), "ns/key")
		})
	}
}
