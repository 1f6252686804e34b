package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
)

// TestGet_NeverGoesBack has keys counted up and read meanwhile: whoever begins to read when a value is acknowledged, or was seen by
// anybody, sees that or a later one.
func TestGet_NeverGoesBack(t *testing.T) {
	for name, mapped := range map[string]int{"roomy": 1 << 28, "small map": 1 << 15} { // with the small one bbolt makes some transactions anew
		t.Run(name, func(t *testing.T) {
			bolt.LimitIn(t, 64<<10, mapped)
			s, h := openHeap(t, bolt.Options{})
			countUp(t, s, h)
		})
	}
}

func countUp(t *testing.T, s *bolt.Store, h heapstore.Heap) {
	const keys, commits, readers = 4, 150, 6
	var seen [keys]atomic.Int64
	see := func(i int, n int64) {
		for was := seen[i].Load(); was < n && !seen[i].CompareAndSwap(was, n); {
			was = seen[i].Load()
		}
	}
	commit := func(i int, n int64) error {
		value := fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", int(n)%7*200))
		return s.Commit(context.Background(), h, heapstore.Commit{Writes: []heapstore.Write{{Key: strconv.Itoa(i), Value: value}}})
	}
	// look reads some keys, and compares with what was seen before it began.
	look := func(want int, read func() ([]heapstore.Entry, error)) bool {
		var before [keys]int64
		for i := range seen {
			before[i] = seen[i].Load()
		}
		entries, err := read()
		if err != nil || len(entries) != want {
			t.Errorf("%d entries of %d, %v", len(entries), want, err)
			return false
		}
		for _, e := range entries {
			count, _, _ := strings.Cut(string(e.Value), " ")
			i, err := strconv.Atoi(e.Key)
			n, err2 := strconv.ParseInt(count, 10, 64)
			if err != nil || err2 != nil || n < before[i] {
				t.Errorf("key %q is %q, and was %d before", e.Key, count, before[i])
				return false
			}
			see(i, n)
		}
		return true
	}
	one := func(i int) bool {
		return look(1, func() ([]heapstore.Entry, error) {
			e, err := s.Get(context.Background(), h, strconv.Itoa(i))
			return []heapstore.Entry{e}, err
		})
	}
	all := func() bool {
		return look(keys, func() (entries []heapstore.Entry, err error) {
			entries, _, err = s.Entries(context.Background(), h, "", "", 0)
			return entries, err
		})
	}
	for i := range keys {
		must(t, commit(i, 0))
	}
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for i := range keys {
		writing.Go(func() {
			for n := int64(1); n <= commits; n++ {
				if err := commit(i, n); err != nil {
					t.Error(err)
					return
				}
				if see(i, n); !one(i) {
					return
				}
			}
		})
	}
	for r := range readers {
		reading.Go(func() {
			for n := r; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if n%5 == 0 && !all() || !one(n%keys) {
					return
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	for i := range keys {
		if n := seen[i].Load(); n != commits && !t.Failed() {
			t.Errorf("key %d was counted to %d", i, n)
		}
	}
}

// TestGet_Dropped drops a heap while its keys are read: none is found afterwards, and none in the heap that is made anew.
func TestGet_Dropped(t *testing.T) {
	s, h := openHeap(t, bolt.Options{})
	for n := range 20 {
		put(t, s, "k", fmt.Sprint(n))
		wantKey(t, s, "k", fmt.Sprint(n))
		var reading sync.WaitGroup
		for range 4 {
			reading.Go(func() {
				for {
					e, err := s.Get(context.Background(), h, "k")
					if errors.Is(err, heapstore.ErrNoHeap) {
						return
					}
					if err != nil || string(e.Value) != fmt.Sprint(n) {
						t.Errorf("%q, %v", e.Value, err)
						return
					}
				}
			})
		}
		must(t, s.Drop(t.Context(), h))
		if e, err := s.Get(t.Context(), h, "k"); !errors.Is(err, heapstore.ErrNoHeap) {
			t.Errorf("dropped, and %q, %v", e.Value, err)
		}
		reading.Wait()
		must(t, s.Create(t.Context(), h))
		wantKey(t, s, "k", "")
	}
}

// TestGet_CommitFails reads a key that a commit was to change and did not: for want of room in the file, and of a sync of the log.
func TestGet_CommitFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	fill(t, s, testHeap(), 100_000)
	checkpoint(t, s)
	checkpoint(t, s)
	info, err := os.Stat(path)
	must(t, err)
	large := []byte(strings.Repeat("x", 300<<10))
	put(t, s, "k", "0")
	write := func(n int) error {
		return s.Commit(t.Context(), testHeap(), heapstore.Commit{Writes: []heapstore.Write{
			{Key: "k", Value: []byte(fmt.Sprint(n))}, {Key: fmt.Sprint("n", n), Value: large},
		}})
	}
	lift := limitFileSize(t, uint64(info.Size()))
	n := 1
	for ; write(n) == nil; n++ {
		if wantKey(t, s, "k", fmt.Sprint(n)); n == 20 {
			t.Fatal("the full disk takes all")
		}
	}
	lift()
	for range 2 { // from the file, and as it was kept
		wantKey(t, s, "k", fmt.Sprint(n-1))
	}
	must(t, write(n))
	wantKey(t, s, "k", fmt.Sprint(n))
	failing := bolt.FailSyncs(t)
	failing(syscall.EIO, nil)
	if err := write(n + 1); !errors.Is(err, syscall.EIO) {
		t.Errorf("%v, want EIO", err)
	}
	for range 2 {
		wantKey(t, s, "k", fmt.Sprint(n))
	}
	failing(nil, nil)
	must(t, s.Close())
}

func TestGet_Closed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openPath(t, path)
	put(t, s, "k", "1")
	wantKey(t, s, "k", "1")
	must(t, s.Drop(t.Context(), heapstore.Heap{Ref: testHeap().Ref, ID: "2"}), s.Close())
	if e, err := s.Get(t.Context(), testHeap(), "k"); !errors.Is(err, heapstore.ErrClosed) {
		t.Errorf("%q, %v, want ErrClosed", e.Value, err)
	}
	if err := s.Commit(t.Context(), testHeap(), heapstore.Commit{Writes: []heapstore.Write{{Key: "k", Value: []byte("2")}}}); !errors.Is(err, heapstore.ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
}

// BenchmarkGet reads what was read before, and what was written since.
func BenchmarkGet(b *testing.B) {
	s, h := openHeap(b, bolt.Options{})
	key := heapstore.Commit{Writes: []heapstore.Write{{Key: "account", Value: []byte(`{"owner":"somebody","balance":1000,"last":"2026-01-02T03:04:05Z"}`)}}}
	long := heapstore.Commit{Writes: []heapstore.Write{{Key: "long", Value: []byte(strings.Repeat("x", 64<<10))}}}
	if err := errors.Join(s.Commit(b.Context(), h, key), s.Commit(b.Context(), h, long)); err != nil {
		b.Fatal(err)
	}
	for name, key := range map[string]string{"kept": "account", "long": "long"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Get(b.Context(), h, key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
