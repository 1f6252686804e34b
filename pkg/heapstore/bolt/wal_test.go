package bolt_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
	"github.com/dragonchain/dc-provider/pkg/heapstore/heapstoretest"
)

// TestBolt_SmallLog is TestBolt with a flush and a checkpoint every few commits and a map that is always too small.
func TestBolt_SmallLog(t *testing.T) {
	bolt.LimitIn(t, 32<<10, 1<<15)
	bolt.LimitPendingIn(t, 10, time.Millisecond)
	heapstoretest.Run(t, heapstoretest.Driver{
		Open: func(folder string) (heapstore.Store, error) {
			return bolt.Open(filepath.Join(folder, "heap.db"), bolt.Options{})
		},
		Check: func(folder string) error { return checkFile(filepath.Join(folder, "heap.db")) },
	})
}

// openPath opens a store that the test itself closes or abandons, with a heap.
func openPath(t *testing.T, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), testHeap()); err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *bolt.Store, key, value string) {
	t.Helper()
	if err := s.Commit(t.Context(), testHeap(), heapstore.Commit{Writes: []heapstore.Write{{Key: key, Value: []byte(value)}}}); err != nil {
		t.Fatal(err)
	}
}

// wantKey wants a value, or no such key if it is empty.
func wantKey(t *testing.T, s *bolt.Store, key, want string) {
	t.Helper()
	e, err := s.Get(t.Context(), testHeap(), key)
	if want == "" && !errors.Is(err, heapstore.ErrNoKey) || want != "" && (err != nil || string(e.Value) != want) {
		t.Errorf("%s is %.40q, %v, want %.40q", key, e.Value, err, want)
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestLog_HasEverything makes changes of every kind, and finds the store the same, byte by byte, when it was made from its log.
func TestLog_HasEverything(t *testing.T) {
	for _, limit := range []int64{64 << 20, 8 << 10} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			bolt.LimitIn(t, limit, 1<<20)
			path := filepath.Join(t.TempDir(), "heap.db")
			for range 4 {
				s := openPath(t, path)
				for range 60 {
					changeSomething(t, s)
				}
				want, err := bolt.Dump(s)
				must(t, err, bolt.Abandon(s), checkFile(path))
				s, err = bolt.Open(path, bolt.Options{})
				must(t, err)
				if got, err := bolt.Dump(s); err != nil || got != want {
					t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
				}
				must(t, s.Close(), checkFile(path))
			}
		})
	}
}

// changeSomething makes any change of the interface. Some are refused.
func changeSomething(t *testing.T, s *bolt.Store) {
	ctx, h := t.Context(), testHeap()
	if rand.IntN(2) == 0 {
		h.ID = "2"
	}
	item := heapstore.Item{Function: h, CallID: fmt.Sprint(rand.IntN(1000)), Due: time.Now(), Payload: make([]byte, rand.IntN(2000))}
	refused := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil && !errors.Is(err, function.ErrConflict) && !errors.Is(err, function.ErrNotFound) && !errors.Is(err, heapstore.ErrLeaseLost) &&
				!errors.Is(err, heapstore.ErrRecorded) && !errors.Is(err, heapstore.ErrNoItem) && !errors.Is(err, function.ErrExists) {
				t.Fatal(err)
			}
		}
	}
	switch rand.IntN(10) {
	case 0:
		refused(s.Drop(ctx, h), s.Create(ctx, h))
	case 1:
		refused(s.Enqueue(ctx, item, heapstore.QueueBounds{}))
	case 2:
		refused(s.Tick(ctx, item, time.Now()))
	case 3:
		refused(s.Tick(ctx, heapstore.Item{Function: h}, time.Now()))
	case 4, 5:
		leased, err := s.Lease(ctx, function.ItemInvocation, 1, nil)
		refused(err)
		for _, l := range leased {
			if rand.IntN(2) == 0 {
				refused(s.Commit(ctx, l.Item.Function, heapstore.Commit{CallID: l.Item.CallID, Leave: &l.Lease, Send: []heapstore.Item{item}}))
			} else {
				refused(s.Settle(ctx, l.Item.Function, l.Lease, heapstore.Settlement{Bury: true, Reason: "why"}))
			}
		}
	case 6:
		dead, _, err := s.DeadLetters(ctx, h, 0, 1)
		refused(err)
		for _, d := range dead {
			refused(s.Replay(ctx, h, d.ID))
		}
	default:
		refused(s.Create(ctx, h))
		c := heapstore.Commit{CallID: fmt.Sprint(rand.IntN(1000)), Record: heapstore.Record{Answer: function.Answer{Body: make([]byte, rand.IntN(3000))}}}
		for range rand.IntN(5) {
			c.Writes = append(c.Writes, heapstore.Write{Key: fmt.Sprint(rand.IntN(50)), Value: make([]byte, rand.IntN(3000)), Delete: rand.IntN(3) == 0})
		}
		refused(s.Commit(ctx, h, c))
	}
}

// TestLog_TornTail damages the last record in all ways that a write has: those before it are there, and it is not.
func TestLog_TornTail(t *testing.T) {
	for name, tear := range map[string]func(log []byte, from, to int64){
		"its end is missing":   func(log []byte, from, to int64) { clear(log[(from+to)/2:]) },
		"its begin is missing": func(log []byte, from, to int64) { clear(log[from : from+16]) },
		"one bit":              func(log []byte, from, to int64) { log[to-1] ^= 4 },
		"its length":           func(log []byte, from, to int64) { copy(log[from:], []byte{0xff, 0xff, 0xff, 0xff}) },
		"its number":           func(log []byte, from, to int64) { log[from+8]++ },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "heap.db")
			s := openPath(t, path)
			put(t, s, "a", "1")
			put(t, s, "a", "2")
			from := bolt.End(s)
			put(t, s, "a", "3")
			put(t, s, "b", "3") // behind it, whole, and yet not of the log any more
			to := from + (bolt.End(s)-from)/2
			must(t, bolt.Abandon(s))
			log, err := os.ReadFile(path + ".wal")
			must(t, err)
			tear(log, from, to)
			must(t, os.WriteFile(path+".wal", log, 0o600))
			s = openStore(t, path, bolt.Options{})
			wantKey(t, s, "a", "2")
			wantKey(t, s, "b", "")
		})
	}
}

// TestLog_Leftovers begins the log anew over records of the same lengths, which then lie behind its end, each where a next one would.
func TestLog_Leftovers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	put(t, s, "account", "00")
	for range 2 {
		checkpoint(t, s)
		for n := range 9 {
			put(t, s, "account", fmt.Sprint(n+10))
		}
	}
	checkpoint(t, s)
	put(t, s, "account", "20")
	must(t, bolt.Abandon(s))
	s = openStore(t, path, bolt.Options{})
	wantKey(t, s, "account", "20")
}

// checkpoint has a store make one.
func checkpoint(t *testing.T, s *bolt.Store) {
	t.Helper()
	before := bolt.Epoch(s)
	snapshot, err := s.Snapshot(t.Context())
	must(t, err, snapshot.Close())
	if bolt.Epoch(s) == before {
		t.Fatal("no checkpoint was made")
	}
}

// TestLog_Refused opens a store beside logs that are not its own, or damaged: it says so, and changes nothing.
func TestLog_Refused(t *testing.T) {
	// lived is a store that was left as by a kill, with a log.
	lived := func(t *testing.T, keys int) string {
		path := filepath.Join(t.TempDir(), "heap.db")
		s := openPath(t, path)
		fill(t, s, testHeap(), keys)
		checkpoint(t, s)
		put(t, s, "k", "v")
		must(t, bolt.Abandon(s))
		return path
	}
	for name, spoil := range map[string]func(t *testing.T, path string){
		"another store's":       func(t *testing.T, path string) { replace(t, path+".wal", lived(t, 200)+".wal") },
		"a larger store's":      func(t *testing.T, path string) { replace(t, path+".wal", lived(t, 20_000)+".wal") },
		"of a file that is new": func(t *testing.T, path string) { writeFile(t, path, "") },
		"absent":                func(t *testing.T, path string) { must(t, os.Remove(path+".wal")) },
		"empty":                 func(t *testing.T, path string) { writeFile(t, path+".wal", "") },
		"one that was closed": func(t *testing.T, path string) {
			other := filepath.Join(t.TempDir(), "heap.db")
			must(t, openPath(t, other).Close())
			replace(t, path+".wal", other+".wal")
		},
		"text":         func(t *testing.T, path string) { writeFile(t, path+".wal", strings.Repeat("no log\n", 4096)) },
		"a short text": func(t *testing.T, path string) { writeFile(t, path+".wal", "no log") },
		"one bit of a head": func(t *testing.T, path string) {
			log, err := os.ReadFile(path + ".wal")
			must(t, err)
			log[40] ^= 1
			log[4096+40] ^= 1
			writeFile(t, path+".wal", string(log))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := lived(t, 100)
			spoil(t, path)
			file, log := readIfThere(t, path), readIfThere(t, path+".wal")
			if _, err := bolt.Open(path, bolt.Options{}); !errors.Is(err, heapstore.ErrSchema) {
				t.Errorf("%v, want ErrSchema", err)
			}
			if !bytes.Equal(file, readIfThere(t, path)) || !bytes.Equal(log, readIfThere(t, path+".wal")) {
				t.Error("something was changed")
			}
		})
	}
}

// readIfThere returns nil for a file that is absent.
func readIfThere(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if !errors.Is(err, os.ErrNotExist) {
		must(t, err)
	}
	return b
}

func replace(t *testing.T, path, by string) {
	t.Helper()
	b, err := os.ReadFile(by)
	must(t, err, os.WriteFile(path, b, 0o600))
}

// TestLog_ClosedFileStandsAlone takes a closed store's file elsewhere, and another one to its place.
func TestLog_ClosedFileStandsAlone(t *testing.T) {
	path, elsewhere := filepath.Join(t.TempDir(), "heap.db"), filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	put(t, s, "k", "old")
	must(t, s.Close())
	replace(t, elsewhere, path)
	s = openPath(t, path)
	put(t, s, "k", "new")
	must(t, s.Close())
	replace(t, path, elsewhere)
	for _, path := range []string{path, elsewhere} {
		wantKey(t, openStore(t, path, bolt.Options{}), "k", "old")
	}
}

// TestLog_SyncFails has a disk that fails: a commit that it may have or not is not acknowledged, nothing is written from then on, what was
// is read, and the store that is opened again has all that was acknowledged.
func TestLog_SyncFails(t *testing.T) {
	for _, at := range []string{"a commit", "a checkpoint"} {
		t.Run(at, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "heap.db")
			s := openPath(t, path)
			put(t, s, "k", "1")
			failing := bolt.FailSyncs(t)
			failing(syscall.EIO, syscall.EIO)
			commit := func() error {
				return s.Commit(t.Context(), testHeap(), heapstore.Commit{Writes: []heapstore.Write{{Key: "k", Value: []byte("2")}}})
			}
			if at == "a commit" {
				if err := commit(); !errors.Is(err, syscall.EIO) {
					t.Errorf("%v, want EIO", err)
				}
			} else if _, err := s.Snapshot(t.Context()); !errors.Is(err, syscall.EIO) {
				t.Errorf("%v, want EIO", err)
			}
			failing(nil, nil)
			if err := commit(); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "opened again") {
				t.Errorf("%v, want to know of EIO and what to do", err)
			}
			wantKey(t, s, "k", "1")
			must(t, s.Close())
			s = openStore(t, path, bolt.Options{})
			if e, err := s.Get(t.Context(), testHeap(), "k"); err != nil || at != "a commit" && string(e.Value) != "1" {
				t.Errorf("%q, %v", e.Value, err)
			}
			put(t, s, "k", "3")
		})
	}
}

// TestLog_OpenEndsEarly opens a store that was closed and does not get far, again and again: it is whole all the same.
func TestLog_OpenEndsEarly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	put(t, s, "k", "1")
	must(t, s.Close())
	failing := bolt.FailSyncs(t)
	for n := range 6 {
		if n%2 == 0 {
			failing(syscall.EIO, nil) // before the file has the log's name
		} else {
			failing(nil, syscall.EIO) // before the log is live
		}
		if _, err := bolt.Open(path, bolt.Options{}); !errors.Is(err, syscall.EIO) {
			t.Errorf("opened with %v, want EIO", err)
		}
	}
	failing(nil, nil)
	wantKey(t, openStore(t, path, bolt.Options{}), "k", "1")
}

// TestLog_FileFull has room in the log and none in the file: the commit is not there, now and after a crash, and is made when there is room.
func TestLog_FileFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	large := strings.Repeat("x", 300<<10)
	fill(t, s, testHeap(), 100_000)
	checkpoint(t, s)
	checkpoint(t, s)
	info, err := os.Stat(path)
	must(t, err)
	full := func() (failed int) {
		for n := range 20 {
			err := s.Commit(t.Context(), testHeap(), heapstore.Commit{Writes: []heapstore.Write{{Key: fmt.Sprint("n", n), Value: []byte(large)}}})
			if err != nil {
				return n
			}
		}
		t.Fatal("the full disk takes all")
		return 0
	}
	lift := limitFileSize(t, uint64(info.Size()))
	failed := full()
	if end := bolt.End(s); end > info.Size() {
		t.Fatalf("the log has %d bytes: it was the log that was full", end)
	}
	wantKey(t, s, fmt.Sprint("n", failed), "")
	lift()
	must(t, bolt.Abandon(s))
	s = openPath(t, path)
	wantKey(t, s, fmt.Sprint("n", failed), "")
	for n := range failed {
		wantKey(t, s, fmt.Sprint("n", n), large)
	}
	lift = limitFileSize(t, uint64(info.Size()))
	failed = full()
	lift()
	put(t, s, fmt.Sprint("n", failed), large)
	must(t, bolt.Abandon(s))
	wantKey(t, openStore(t, path, bolt.Options{}), fmt.Sprint("n", failed), large)
}

// TestLog_CheckpointFails has no room for a checkpoint: commits go on, and one is made when there is room.
func TestLog_CheckpointFails(t *testing.T) {
	bolt.LimitIn(t, 64<<10, 1<<24)
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	for n := range 20 {
		put(t, s, fmt.Sprint("k", n), strings.Repeat("x", 10<<10))
		bolt.Await(s)
	}
	epoch := bolt.Epoch(s)
	if epoch < 3 {
		t.Fatalf("epoch %d: the log was not begun anew", epoch)
	}
	failing := bolt.FailCheckpoints(t)
	failing(true)
	n := 0
	for ; n < 20; n++ {
		put(t, s, fmt.Sprint("k", n), strings.Repeat("y", 10<<10))
		bolt.Await(s)
	}
	if bolt.Epoch(s) != epoch {
		t.Error("the checkpoint that failed began the log anew")
	}
	failing(false)
	for n := range 20 {
		put(t, s, fmt.Sprint("k", n), strings.Repeat("z", 10<<10))
		bolt.Await(s)
	}
	if bolt.Epoch(s) == epoch {
		t.Error("no checkpoint was made when it could be")
	}
	must(t, bolt.Abandon(s))
	s = openStore(t, path, bolt.Options{})
	for n := range 20 {
		wantKey(t, s, fmt.Sprint("k", n), strings.Repeat("z", 10<<10))
	}
}

// TestLog_CheckpointFailsAtOpen has no room for a checkpoint when the log was done again: the store goes on with the log that it has.
func TestLog_CheckpointFailsAtOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	put(t, s, "a", "1")
	must(t, bolt.Abandon(s))
	failing := bolt.FailCheckpoints(t)
	failing(true)
	for n := range 3 {
		s = openPath(t, path)
		put(t, s, fmt.Sprint("b", n), "2")
		if err := s.Close(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("closed with %v, want to know that the disk is full", err)
		}
	}
	failing(false)
	s = openStore(t, path, bolt.Options{})
	wantKey(t, s, "a", "1")
	for n := range 3 {
		wantKey(t, s, fmt.Sprint("b", n), "2")
	}
}

// TestLog_CheckpointHoldsUpNobody has a disk that takes for ever to sync the file: commits go on.
func TestLog_CheckpointHoldsUpNobody(t *testing.T) {
	bolt.LimitIn(t, 32<<10, 1<<24)
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	begun, release := bolt.HoldSyncs(t)
	epoch := bolt.Epoch(s)
	value := func(n int) string { return fmt.Sprint(n, strings.Repeat("x", 4<<10)) }
	const commits = 50
	for n := range commits {
		put(t, s, fmt.Sprint("k", n), value(n))
	}
	<-begun
	if got := bolt.Epoch(s); got != epoch {
		t.Errorf("epoch %d, before %d: there is a checkpoint that the disk does not have", got, epoch)
	}
	release()
	must(t, bolt.Abandon(s))
	s = openStore(t, path, bolt.Options{})
	for n := range commits {
		wantKey(t, s, fmt.Sprint("k", n), value(n))
	}
}

// TestLog_FileFillsItsMap opens files that end where their maps end, and goes on. Which pages a store gives away first is not known
// before, so that it takes some to find such files.
func TestLog_FileFillsItsMap(t *testing.T) {
	bolt.LimitIn(t, 64<<20, 1<<15)
	value := strings.Repeat("x", 2<<10)
	found := 0
	for store := 0; found < 3; store++ {
		if store == 100 {
			t.Fatalf("%d of %d files filled their map: the test does not know how to make them", found, store)
		}
		path := filepath.Join(t.TempDir(), "heap.db")
		s := openPath(t, path)
		for n := 0; n < 40; n++ {
			put(t, s, fmt.Sprint("k", n), strings.Repeat("x", n*(store+1)*100%5000))
			if n%2 == 0 {
				must(t, s.Close())
			} else {
				must(t, bolt.Abandon(s))
			}
			info, err := os.Stat(path)
			must(t, err)
			s = openPath(t, path)
			if size := info.Size(); size < 1<<15 || size&(size-1) != 0 {
				continue
			}
			found++
			for n := range 30 {
				put(t, s, fmt.Sprint("more", n), value)
			}
			for n := range 30 {
				wantKey(t, s, fmt.Sprint("more", n), value)
			}
			break
		}
		must(t, s.Close(), checkFile(path))
	}
}

// TestLog_MapAndFileFull needs a larger map of a file that cannot grow: what the log has is read and kept, nothing more is taken, and all
// goes on when there is room.
func TestLog_MapAndFileFull(t *testing.T) {
	for _, end := range []string{"killed", "goes on"} {
		t.Run(end, func(t *testing.T) {
			bolt.LimitIn(t, 64<<20, 1<<21)
			bolt.LimitPendingIn(t, 1<<20, time.Hour)
			path := filepath.Join(t.TempDir(), "heap.db")
			s := openPath(t, path)
			const size = 1 << 21 // as much as the log needs, and the map has
			put(t, s, "small", "1")
			put(t, s, "half", strings.Repeat("x", 1<<20))
			checkpoint(t, s)
			large := strings.Repeat("y", 1<<20)
			epoch, lift := bolt.Epoch(s), limitFileSize(t, size)
			put(t, s, "large", large)
			for range 2 {
				if err := bolt.Flush(s); !errors.Is(err, syscall.EFBIG) {
					t.Errorf("%v, want EFBIG", err)
				}
				err := s.Commit(t.Context(), testHeap(), heapstore.Commit{Writes: []heapstore.Write{{Key: "small", Value: []byte("2")}}})
				if !errors.Is(err, syscall.EFBIG) {
					t.Errorf("%v, want EFBIG", err)
				}
				wantKey(t, s, "large", large)
				wantKey(t, s, "small", "1")
			}
			if bolt.Epoch(s) != epoch {
				t.Error("the checkpoint that the log goes on from was let go of")
			}
			if end == "killed" {
				must(t, bolt.Abandon(s), checkFile(path))
			}
			lift()
			if end == "killed" {
				s = openPath(t, path)
				wantKey(t, s, "large", large)
				wantKey(t, s, "small", "1")
			}
			put(t, s, "small", "2")
			must(t, bolt.Flush(s), bolt.Abandon(s))
			s = openStore(t, path, bolt.Options{})
			wantKey(t, s, "large", large)
			wantKey(t, s, "small", "2")
		})
	}
}

// TestOpen_Replaced waits for a file in whose place another one is put: that one is opened.
func TestOpen_Replaced(t *testing.T) {
	path, other := filepath.Join(t.TempDir(), "heap.db"), filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	put(t, s, "k", "old")
	o := openPath(t, other)
	put(t, o, "k", "new")
	must(t, o.Close(), s.Close())
	old, err := os.Open(path)
	must(t, err, syscall.Flock(int(old.Fd()), syscall.LOCK_EX))
	opened := make(chan *bolt.Store)
	go func() {
		s, err := bolt.Open(path, bolt.Options{LockTimeout: time.Minute})
		if err != nil {
			t.Error(err)
		}
		opened <- s
	}()
	must(t, os.Rename(other, path), old.Close())
	if s := <-opened; s != nil {
		wantKey(t, s, "k", "new")
		must(t, s.Close())
	}
}

// TestLog_BeyondTheMap writes much more than the file's map, with readers, and again from the log.
func TestLog_BeyondTheMap(t *testing.T) {
	bolt.LimitIn(t, 64<<20, 1<<15)
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	done := make(chan struct{})
	var reading sync.WaitGroup
	for range 2 {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := s.Usage(t.Context(), testHeap()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	value := func(n int) string { return fmt.Sprint(n, strings.Repeat("x", 20<<10)) }
	for n := range 80 {
		put(t, s, fmt.Sprint("k", n), value(n))
	}
	close(done)
	reading.Wait()
	must(t, bolt.Abandon(s))
	// One whose log is as large as its file, and whose map is so when it is made again.
	other := filepath.Join(t.TempDir(), "heap.db")
	bolt.Limit(64<<20, 1<<30)
	o := openPath(t, other)
	for n := range 80 {
		put(t, o, fmt.Sprint("k", n), value(n))
	}
	if epoch := bolt.Epoch(o); epoch != 2 {
		t.Errorf("epoch %d: it is not the log that has all", epoch)
	}
	must(t, bolt.Abandon(o))
	bolt.Limit(64<<20, 1<<15)
	for _, path := range []string{path, other} {
		s := openStore(t, path, bolt.Options{})
		for n := range 80 {
			wantKey(t, s, fmt.Sprint("k", n), value(n))
		}
	}
}

// TestLog_CheckpointsUnderLoad makes many of them while everybody works.
func TestLog_CheckpointsUnderLoad(t *testing.T) {
	bolt.LimitIn(t, 16<<10, 1<<18)
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	const writers, commits = 8, 60
	var writing sync.WaitGroup
	for writer := range writers {
		writing.Go(func() {
			for n := range commits {
				key, value := fmt.Sprint(writer, "-", n%7), fmt.Sprint(n, strings.Repeat("x", n*97%3000))
				err := s.Commit(t.Context(), testHeap(), heapstore.Commit{Writes: []heapstore.Write{{Key: key, Value: []byte(value)}}, CallID: fmt.Sprint(writer, "/", n)})
				if err != nil {
					t.Error(err)
					return
				}
				if e, err := s.Get(t.Context(), testHeap(), key); err != nil || string(e.Value) != value {
					t.Errorf("%q, %v", e.Value, err)
				}
			}
		})
	}
	writing.Wait()
	bolt.Await(s)
	if epoch := bolt.Epoch(s); epoch < 3 { // how many there are is the disk's to say
		t.Errorf("epoch %d: no checkpoint was made", epoch)
	}
	want, err := bolt.Dump(s)
	must(t, err, bolt.Abandon(s))
	s = openStore(t, path, bolt.Options{})
	if got, err := bolt.Dump(s); err != nil || got != want {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
}

// TestRestore_OverALog restores over a store that was killed: its log is none of the snapshot's business, and stays with the old file.
func TestRestore_OverALog(t *testing.T) {
	source, _ := openHeap(t, bolt.Options{})
	put(t, source, "k", "backup")
	taken, err := source.Snapshot(t.Context())
	must(t, err)
	backup, err := io.ReadAll(taken)
	must(t, err, taken.Close())
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	put(t, s, "k", "lost")
	put(t, s, "other", "lost")
	must(t, bolt.Abandon(s))
	log, err := os.ReadFile(path + ".wal")
	must(t, err)
	for _, cut := range []bool{true, false} {
		must(t, bolt.Restore(bytes.NewReader(backup), path))
		if !cut {
			continue
		}
		for suffix, want := range map[string]string{"": "backup", ".replaced": "lost"} {
			opened := openStore(t, path+suffix, bolt.Options{})
			wantKey(t, opened, "k", want)
			must(t, opened.Close())
		}
		// The power was cut before the log was gone.
		must(t, bolt.Restore(bytes.NewReader(backup), path), os.WriteFile(path+".wal", log, 0o600))
		if _, err := bolt.Open(path, bolt.Options{}); !errors.Is(err, heapstore.ErrSchema) {
			t.Errorf("%v, want ErrSchema", err)
		}
	}
	s = openStore(t, path, bolt.Options{})
	wantKey(t, s, "k", "backup")
	wantKey(t, s, "other", "")
}

// TestRestore_NotAFileInUse refuses the file of a store that was not closed, which a copy of it alone may be torn.
func TestRestore_NotAFileInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	checkpoint(t, s)
	copied, err := os.ReadFile(path)
	must(t, err, bolt.Abandon(s))
	if err := bolt.Restore(bytes.NewReader(copied), filepath.Join(t.TempDir(), "heap.db")); !errors.Is(err, heapstore.ErrSchema) {
		t.Errorf("%v, want ErrSchema", err)
	}
}

// TestSnapshot_StandsAlone opens a snapshot where it is.
func TestSnapshot_StandsAlone(t *testing.T) {
	s, _ := openHeap(t, bolt.Options{})
	put(t, s, "k", "v")
	snapshot, err := s.Snapshot(t.Context())
	must(t, err)
	copied, err := io.ReadAll(snapshot)
	must(t, err, snapshot.Close())
	path := filepath.Join(t.TempDir(), "heap.db")
	writeFile(t, path, string(copied))
	wantKey(t, openStore(t, path, bolt.Options{}), "k", "v")
}

// FuzzRedo gives a record's reader anything. It refuses, or does something that bbolt can keep.
func FuzzRedo(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x00\x05heaps\x02\x01\x01h\x04\x02\x01k\x01v\x06\x02\x07\x05\x02\x01k\x03\x01\x01h"))
	f.Add([]byte("\x01\x00\x05heaps\x02\x01\x01h\x03\x01\x01h\x04\x02\x01k\x01v"))
	f.Add([]byte("\x01\x00\x05heaps\x01\x00\x05heaps"))
	f.Add([]byte("\x04\x00\x01k\x01v"))
	f.Add([]byte("\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	db, err := bbolt.Open(filepath.Join(f.TempDir(), "heap.db"), 0o600, &bbolt.Options{NoSync: true})
	if err := errors.Join(err, bolt.Prepare(db)); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := db.Close(); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, ops []byte) {
		if err := bolt.Redo(db, ops); err != nil && !strings.Contains(err.Error(), "not understood") {
			t.Error(err)
		}
		must(t, db.View(func(tx *bbolt.Tx) (err error) {
			for found := range tx.Check() {
				err = errors.Join(err, found)
			}
			return err
		}))
	})
}
