package heapstoretest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// Driver is a kind of store.
type Driver struct {
	// Open opens the store that belongs to a folder, and makes it if the folder is empty.
	Open func(folder string) (heapstore.Store, error)
	// Check looks for damage in the closed store of a folder.
	Check func(folder string) error
	// Lapse ends the leases of the folder's stores, all of which are closed or killed, as time does. nil is for a driver whose leases
	// end with their process: the time of a lease is then nothing that a test would wait for, and a busy machine could not keep.
	Lapse func(folder string) error
}

// lapse ends the leases of stores that are closed or killed.
func (d Driver) lapse(t *testing.T, folder string) {
	t.Helper()
	if d.Lapse == nil {
		return
	}
	if err := d.Lapse(folder); err != nil {
		t.Fatal(err)
	}
}

// Run tests a driver.
func Run(t *testing.T, d Driver) {
	if folder := os.Getenv(victimFolder); folder != "" {
		runVictim(t, d, folder)
		return
	}
	if folder := os.Getenv(victimQueue); folder != "" {
		runQueueVictim(t, d, folder)
		return
	}
	if folder := os.Getenv(victimLease); folder != "" {
		runLeaseVictim(t, d, folder)
		return
	}
	for name, test := range map[string]func(*testing.T, Driver){
		"what was committed is read":            testRead,
		"a refused commit writes nothing":       testRefused,
		"the quota bounds keys and values":      testQuota,
		"a heap belongs to one record":          testIdentity,
		"keys are listed in byte order":         testList,
		"memory is not shared with callers":     testMemory,
		"a commit that was called off is none":  testCancelled,
		"a closed store says so":                testClosed,
		"concurrent commits are whole":          testConcurrent,
		"a call id takes effect once":           testRecorded,
		"repeats at once take effect once":      testRepeats,
		"versions tell writes apart":            testVersions,
		"a commit takes place as its key was":   testConditions,
		"of many conditions at once one holds":  testConditionsAtOnce,
		"deleted keys are gone":                 testDelete,
		"entries are what the keys hold":        testEntries,
		"heaps come and go under commits":       testDropped,
		"random operations agree with a map":    testModel,
		"a kill loses and tears nothing":        testKill,
		"what was committed is there on reopen": testReopen,
	} {
		t.Run(name, func(t *testing.T) { test(t, d) })
	}
	for name, test := range queueTests {
		t.Run(name, func(t *testing.T) { test(t, d) })
	}
}

// open opens the store of a folder until the test ends.
func open(t *testing.T, d Driver, folder string) heapstore.Store {
	t.Helper()
	s, err := d.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), d.Check(folder)); err != nil {
			t.Error(err)
		}
	})
	return s
}

// openHeap opens an empty store with one heap.
func openHeap(t *testing.T, d Driver) (heapstore.Store, function.Heap) {
	t.Helper()
	s, h := open(t, d, t.TempDir()), heap("ledger", "1")
	create(t, s, h)
	return s, h
}

func heap(name, id string) function.Heap {
	return function.Heap{Ref: function.Ref{Name: name, Namespace: "openfaas-fn"}, ID: id}
}

func create(t *testing.T, s heapstore.Store, h function.Heap) {
	t.Helper()
	if err := s.Create(t.Context(), h); err != nil {
		t.Fatal(err)
	}
}

// commit writes pairs of key and value with the store's own quota.
func commit(t *testing.T, s heapstore.Store, h function.Heap, pairs ...string) {
	t.Helper()
	if err := s.Commit(t.Context(), h, function.Commit{Writes: writes(pairs...)}); err != nil {
		t.Fatal(err)
	}
}

func writes(pairs ...string) []function.HeapWrite {
	var w []function.HeapWrite
	for pair := range slices.Chunk(pairs, 2) {
		w = append(w, function.HeapWrite{Key: pair[0], Value: []byte(pair[1])})
	}
	return w
}

// wantValue checks that a key has a value.
func wantValue(t *testing.T, s heapstore.Store, h function.Heap, key, want string) {
	t.Helper()
	if got, err := s.Get(t.Context(), h, key); err != nil || string(got.Value) != want || got.Key != key || got.Version == 0 {
		t.Errorf("Get(%.40q) = %.40q, version %d, %v, want %.40q", key, got.Value, got.Version, err, want)
	}
}

// wantKeys checks what is in a heap, at most heapstore.MaxListLimit keys.
func wantKeys(t *testing.T, s heapstore.Store, h function.Heap, want ...string) {
	t.Helper()
	got, next, err := s.List(t.Context(), h, "", "", heapstore.MaxListLimit)
	if err != nil || next != "" || !slices.Equal(got, want) {
		t.Errorf("keys are %.200q, %q, %v, want %.200q", got, next, err, want)
	}
}

func testRead(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	longest := strings.Repeat("k", heapstore.MaxKeyBytes)
	largest := strings.Repeat("v", heapstore.MaxValueBytes)
	for _, test := range []struct{ name, key, value string }{
		{"plain", "custodian-1", `{"x":1}`},
		{"empty value", "empty", ""},
		{"value of any bytes", "bytes", "\x00\xff\n"},
		{"blank", " ", "1"},
		{"slashes", "/a//b/../c", "1"},
		{"NUL", "a\x00b", "1"},
		{"quote and newline", "\"\n", "1"},
		{"four-byte character", "\U0001F404", "1"},
		{"longest key", longest, "1"},
		{"largest value", "large", largest},
	} {
		t.Run(test.name, func(t *testing.T) {
			commit(t, s, h, test.key, "older")
			commit(t, s, h, test.key, test.value)
			wantValue(t, s, h, test.key, test.value)
		})
	}

	t.Run("nil value", func(t *testing.T) {
		if err := s.Commit(t.Context(), h, function.Commit{Writes: []function.HeapWrite{{Key: "nil"}}}); err != nil {
			t.Fatal(err)
		}
		wantValue(t, s, h, "nil", "")
	})
	t.Run("last write of a key counts", func(t *testing.T) {
		var pairs []string
		for i := range 100 {
			pairs = append(pairs, "often", fmt.Sprint(i), fmt.Sprint("once-", i), "x")
		}
		commit(t, s, h, pairs...)
		wantValue(t, s, h, "often", "99")
	})
	t.Run("many keys in any order", func(t *testing.T) {
		other := heap("large", "1")
		create(t, s, other)
		var many []string
		for i := range 20_000 {
			many = append(many, fmt.Sprintf("%05d", i*7919%20_000), fmt.Sprint(i))
		}
		commit(t, s, other, many...)
		if keys := walk(t, s, other, "", heapstore.MaxListLimit); len(keys) != 20_000 || !slices.IsSorted(keys) {
			t.Errorf("%d keys, sorted: %v", len(keys), slices.IsSorted(keys))
		}
		for i := range 100 {
			wantValue(t, s, other, many[i*2], many[i*2+1])
		}
	})
	t.Run("no writes", func(t *testing.T) { commit(t, s, h) })
	for _, key := range []string{"", "custodian", "custodian-11", longest + "k", "\xff"} {
		if got, err := s.Get(t.Context(), h, key); !errors.Is(err, heapstore.ErrNoKey) || !errors.Is(err, function.ErrNotFound) {
			t.Errorf("Get(%.20q) = %+v, %v, want ErrNoKey", key, got, err)
		}
	}
}

func testRefused(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	commit(t, s, h, "kept", "before")
	for _, test := range []struct {
		name, key, value string
		want             error
	}{
		{"empty key", "", "1", heapstore.ErrBadKey},
		{"key that is not UTF-8", "a\xff", "1", heapstore.ErrBadKey},
		{"key too long", strings.Repeat("k", heapstore.MaxKeyBytes+1), "1", heapstore.ErrKeyTooLarge},
		{"value too large", "v", strings.Repeat("v", heapstore.MaxValueBytes+1), heapstore.ErrValueTooLarge},
		{"above quota", "q", strings.Repeat("q", 200), heapstore.ErrQuota},
	} {
		for _, order := range [][]string{
			{"kept", "after", "new", "1", test.key, test.value},
			{test.key, test.value, "kept", "after", "new", "1"},
		} {
			t.Run(test.name, func(t *testing.T) {
				if err := s.Commit(t.Context(), h, function.Commit{Writes: writes(order...), QuotaBytes: 100}); !errors.Is(err, test.want) {
					t.Errorf("Commit gives %v, want %v", err, test.want)
				}
				wantKeys(t, s, h, "kept")
				wantValue(t, s, h, "kept", "before")
			})
		}
	}
}

func testQuota(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	for _, step := range []struct {
		name       string
		pairs      []string
		quotaBytes int64
		want       error
	}{
		{"one byte too many", []string{"key", "12345678"}, 10, heapstore.ErrQuota},
		{"exactly full", []string{"key", "1234567"}, 10, nil},
		{"the same again", []string{"key", "7654321"}, 10, nil},
		{"a byte more", []string{"key", "12345678"}, 10, heapstore.ErrQuota},
		{"an empty value has its key's size", []string{"x", ""}, 10, heapstore.ErrQuota},
		{"room made in the same commit", []string{"key", "123456", "x", ""}, 10, nil},
		{"the last write of a key counts", []string{"x", "123456", "x", ""}, 10, nil},
		{"quota lowered, heap grows", []string{"x", "1"}, 5, heapstore.ErrQuota},
		{"quota lowered, heap stays", []string{"key", "654321"}, 5, nil},
		{"quota lowered, heap shrinks", []string{"key", ""}, 3, nil},
		{"quota raised", []string{"y", "123456"}, 11, nil},
	} {
		if err := s.Commit(t.Context(), h, function.Commit{Writes: writes(step.pairs...), QuotaBytes: step.quotaBytes}); !errors.Is(err, step.want) {
			t.Fatalf("%s: %v, want %v", step.name, err, step.want)
		}
	}
	wantKeys(t, s, h, "key", "x", "y")

	t.Run("each heap has its own", func(t *testing.T) {
		other := heap("other", "1")
		create(t, s, other)
		if err := s.Commit(t.Context(), other, function.Commit{Writes: writes("key", "1234567"), QuotaBytes: 10}); err != nil {
			t.Error(err)
		}
	})
	t.Run("a dropped heap leaves no debt", func(t *testing.T) {
		if err := s.Drop(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		create(t, s, h)
		if err := s.Commit(t.Context(), h, function.Commit{Writes: writes("key", "1234567"), QuotaBytes: 10}); err != nil {
			t.Error(err)
		}
	})
}

func testIdentity(t *testing.T, d Driver) {
	s, first := openHeap(t, d)
	second := heap(first.Name, "2")
	commit(t, s, first, "key", "first")

	t.Run("making it again changes nothing", func(t *testing.T) {
		create(t, s, first)
		wantValue(t, s, first, "key", "first")
	})
	t.Run("a heap that was never made", func(t *testing.T) { wantNoHeap(t, s, second) })
	t.Run("a successor begins empty", func(t *testing.T) {
		create(t, s, second)
		wantKeys(t, s, second)
		commit(t, s, second, "key", "second")
		wantValue(t, s, first, "key", "first")
	})
	t.Run("a late commit misses the successor", func(t *testing.T) {
		for range 2 { // dropping may be repeated
			if err := s.Drop(t.Context(), first); err != nil {
				t.Fatal(err)
			}
		}
		wantNoHeap(t, s, first)
		wantValue(t, s, second, "key", "second")
	})
	t.Run("names that begin alike are apart", func(t *testing.T) {
		near := []function.Heap{
			heap("ledger2", "2"), heap("ledge", "2"), heap("ledger", "22"),
			{Ref: function.Ref{Name: "ledger", Namespace: "openfaas-fn2"}, ID: "2"},
		}
		for _, h := range near {
			create(t, s, h)
		}
		wantValue(t, s, second, "key", "second")
		for _, h := range near {
			wantKeys(t, s, h)
			if err := s.Drop(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		wantValue(t, s, second, "key", "second")
	})
	t.Run("a name with a slash is refused", func(t *testing.T) {
		for _, h := range []function.Heap{
			heap("a/b", "1"), heap("a", "b/1"), heap("", "1"), heap("a", ""), {Ref: function.Ref{Name: "a"}, ID: "1"},
		} {
			if err := s.Create(t.Context(), h); !errors.Is(err, function.ErrInvalid) {
				t.Errorf("Create(%v) gives %v, want ErrInvalid", h, err)
			}
			wantNoHeap(t, s, h)
		}
	})
}

// wantNoHeap checks that nothing can be done with a heap that is not there.
func wantNoHeap(t *testing.T, s heapstore.Store, h function.Heap) {
	t.Helper()
	_, get := s.Get(t.Context(), h, "key")
	_, _, list := s.List(t.Context(), h, "", "", 0)
	_, _, entries := s.Entries(t.Context(), h, "", "", 0)
	_, usage := s.Usage(t.Context(), h)
	for what, err := range map[string]error{
		"Get": get, "List": list, "Entries": entries, "Usage": usage, "Commit": s.Commit(t.Context(), h, function.Commit{Writes: writes("key", "1")}),
	} {
		if !errors.Is(err, heapstore.ErrNoHeap) || !errors.Is(err, function.ErrNotFound) || errors.Is(err, heapstore.ErrNoKey) {
			t.Errorf("%s on heap %v gives %v, want ErrNoHeap", what, h, err)
		}
	}
}

func testList(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	wantKeys(t, s, h)
	all := []string{"/d", "/d/e", "/d2", "B", "a", "a\x00", "a/b", "ab", "b", "é", "\U0001F404"}
	for _, key := range []string{"b", "a", "/d2", "a/b", "\U0001F404", "/d/e", "B", "ab", "é", "/d", "a\x00"} {
		commit(t, s, h, key, "1")
	}
	for _, test := range []struct {
		name, prefix, after string
		limit               int
		want                []string
		next                string
	}{
		{name: "everything", want: all},
		{name: "a prefix is a plain string", prefix: "/d", want: all[:3]},
		{name: "a prefix with a slash", prefix: "/d/", want: all[1:2]},
		{name: "a prefix that nothing has", prefix: "c"},
		{name: "a prefix after all keys", prefix: "\xff"},
		{name: "after a key", after: "a/b", want: all[7:]},
		{name: "after a key that is not there", after: "a.", want: all[6:]},
		{name: "after the last key", after: "\U0001F404"},
		{name: "after a key of the prefix", prefix: "a", after: "a", want: all[5:8]},
		{name: "after a key before the prefix", prefix: "a", after: "B", want: all[4:8]},
		{name: "after a key behind the prefix", prefix: "a", after: "b"},
		{name: "as many as asked for", limit: 2, want: all[:2], next: "/d/e"},
		{name: "the rest of a prefix is just full", prefix: "/d", after: "/d", limit: 2, want: all[1:3]},
		{name: "more of a prefix is left", prefix: "/d", limit: 2, want: all[:2], next: "/d/e"},
		{name: "a limit beyond the largest", limit: heapstore.MaxListLimit + 1, want: all},
		{name: "a negative limit is the default", limit: -1, want: all},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, next, err := s.List(t.Context(), h, test.prefix, test.after, test.limit)
			if err != nil || got == nil || !slices.Equal(got, test.want) || next != test.next {
				t.Errorf("List = %q, %q, %v, want %q, %q", got, next, err, test.want, test.next)
			}
		})
	}

	t.Run("cursors lead to the end", func(t *testing.T) {
		for limit := 1; limit <= len(all); limit++ {
			if got := walk(t, s, h, "", limit); !slices.Equal(got, all) {
				t.Errorf("in steps of %d: %q", limit, got)
			}
		}
	})
	t.Run("never more than the largest limit", func(t *testing.T) {
		var pairs []string
		for i := range heapstore.MaxListLimit + 1 {
			pairs = append(pairs, fmt.Sprintf("many-%04d", i), "")
		}
		commit(t, s, h, pairs...)
		for limit, want := range map[int]int{0: heapstore.DefaultListLimit, len(pairs): heapstore.MaxListLimit} {
			if got, next, err := s.List(t.Context(), h, "many-", "", limit); err != nil || len(got) != want || next != got[len(got)-1] {
				t.Errorf("with limit %d: %d keys, next %q, %v, want %d keys", limit, len(got), next, err, want)
			}
		}
	})
}

// walk lists a heap step by step.
func walk(t *testing.T, s heapstore.Store, h function.Heap, prefix string, limit int) []string {
	t.Helper()
	var keys []string
	for after := ""; ; {
		some, next, err := s.List(t.Context(), h, prefix, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, some...)
		if next == "" {
			return keys
		}
		after = next
	}
}

func testMemory(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	// A driver may keep small and large values in different places.
	for _, value := range []string{"value", strings.Repeat("v", 100_000)} {
		given := []byte(value)
		if err := s.Commit(t.Context(), h, function.Commit{Writes: []function.HeapWrite{{Key: "key", Value: given}}}); err != nil {
			t.Fatal(err)
		}
		clear(given)
		got, err := s.Get(t.Context(), h, "key")
		if err != nil {
			t.Fatal(err)
		}
		clear(got.Value[:cap(got.Value)])
		wantValue(t, s, h, "key", value)
	}
}

func testCancelled(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Commit(ctx, h, function.Commit{Writes: writes("key", "1")}); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit gives %v, want context.Canceled", err)
	}
	wantKeys(t, s, h)
}

func testClosed(t *testing.T, d Driver) {
	folder := t.TempDir()
	s, err := d.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	h := heap("ledger", "1")
	create(t, s, h)
	for range 2 { // closing may be repeated
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, get := s.Get(t.Context(), h, "key")
	_, _, list := s.List(t.Context(), h, "", "", 0)
	_, _, entries := s.Entries(t.Context(), h, "", "", 0)
	_, usage := s.Usage(t.Context(), h)
	for what, err := range map[string]error{
		"Entries": entries, "Usage": usage,
		"Create": s.Create(t.Context(), h), "Drop": s.Drop(t.Context(), h), "Get": get, "List": list,
		"Commit": s.Commit(t.Context(), h, function.Commit{Writes: writes("key", "1")}),
	} {
		if !errors.Is(err, heapstore.ErrClosed) {
			t.Errorf("%s gives %v, want ErrClosed", what, err)
		}
	}
}

func testReopen(t *testing.T, d Driver) {
	folder, h, dropped := t.TempDir(), heap("ledger", "1"), heap("dropped", "1")
	s, err := d.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, h)
	create(t, s, dropped)
	commit(t, s, h, "a", "1", "b", "2")
	if err := errors.Join(s.Drop(t.Context(), dropped), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, d, folder)
	wantKeys(t, s, h, "a", "b")
	wantValue(t, s, h, "b", "2")
	wantNoHeap(t, s, dropped)
	if err := s.Commit(t.Context(), h, function.Commit{Writes: writes("c", ""), QuotaBytes: 4}); !errors.Is(err, heapstore.ErrQuota) {
		t.Errorf("the heap's size was forgotten: %v, want ErrQuota", err)
	}
}

// testConcurrent has writers, each with a pair of keys that every commit makes equal, while readers look for a pair that
// is not.
func testConcurrent(t *testing.T, d Driver) {
	const writers, rounds = 16, 30
	s, h := openHeap(t, d)
	done := make(chan struct{})
	var writing, reading sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for round := range rounds {
				if err := s.Commit(t.Context(), h, function.Commit{Writes: pair(w, round)}); err != nil {
					t.Error(err)
					return
				}
				if got := readPair(t, s, h, w); got != fmt.Sprint(round) {
					t.Errorf("writer %d reads %q right after committing %d", w, got, round)
				}
			}
		})
	}
	for range 2 {
		reading.Go(func() {
			for newest := make([]int, writers); ; {
				select {
				case <-done:
					return
				default:
				}
				for w := range writers {
					if got := readPair(t, s, h, w); got != "" {
						var round int
						if _, err := fmt.Sscan(got, &round); err != nil || round < newest[w] {
							t.Errorf("writer %d went back from %d to %q", w, newest[w], got)
						}
						newest[w] = round
					}
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
}

// testDropped makes and drops a heap while it is committed to, so that all of this meets in one transaction. The check for
// damage at the end, and a neighbour that must not change, are what can fail.
func testDropped(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	neighbour := heap("neighbour", "1")
	create(t, s, neighbour)
	commit(t, s, neighbour, "key", strings.Repeat("n", 10_000))
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for round := range 50 {
				value := strings.Repeat("v", round*100)
				err := s.Commit(t.Context(), h, function.Commit{Writes: writes(fmt.Sprint(w), value, fmt.Sprint(w, round), value)})
				if err != nil && !errors.Is(err, heapstore.ErrNoHeap) {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 30 {
				if err := errors.Join(s.Drop(t.Context(), h), s.Create(t.Context(), h)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantKeys(t, s, neighbour, "key")
	wantValue(t, s, neighbour, "key", strings.Repeat("n", 10_000))
}

// pair is a commit of two keys that hold the same.
func pair(writer, round int) []function.HeapWrite {
	value := fmt.Sprint(round)
	return writes(fmt.Sprintf("a-%d", writer), value, fmt.Sprintf("z-%d", writer), value)
}

// readPair reads first what is committed with, and so never before, the second.
func readPair(t *testing.T, s heapstore.Store, h function.Heap, writer int) string {
	first, err := s.Get(t.Context(), h, fmt.Sprintf("a-%d", writer))
	if err != nil {
		return ""
	}
	if _, err := s.Get(t.Context(), h, fmt.Sprintf("z-%d", writer)); err != nil {
		t.Errorf("writer %d: half a commit: %v", writer, err)
	}
	return string(first.Value)
}

// testRecorded commits with call ids, and again with them.
func testRecorded(t *testing.T, d Driver) {
	folder, h := t.TempDir(), heap("ledger", "1")
	s := open(t, d, folder)
	if _, _, err := s.Recorded(t.Context(), h, "1"); !errors.Is(err, heapstore.ErrNoHeap) {
		t.Errorf("without a heap: %v, want ErrNoHeap", err)
	}
	create(t, s, h)
	first := function.Record{Digest: [32]byte{1}, Answer: function.Answer{
		Status: 201, Body: []byte("{}\n"), Header: map[string][]string{"X-Two": {"1", "2"}}, Trailer: map[string][]string{},
	}}
	want := func(h function.Heap, id string, want *function.Record) {
		t.Helper()
		got, found, err := s.Recorded(t.Context(), h, id)
		if err != nil || found != (want != nil) || found && !reflect.DeepEqual(got, *want) {
			t.Errorf("call %.20q: %+v, %t, %v, want %+v", id, got, found, err, want)
		}
	}
	ids := []string{"1", "é\x00\xff", strings.Repeat("i", 256)}
	for _, id := range ids {
		want(h, id, nil)
		if err := s.Commit(t.Context(), h, function.Commit{Writes: writes("a", "first"), CallID: id, Record: first}); err != nil {
			t.Fatal(err)
		}
		want(h, id, &first)
		second := function.Commit{Writes: writes("a", "second", "b", "second"), CallID: id, Record: function.Record{Digest: [32]byte{2}}}
		if err := s.Commit(t.Context(), h, second); !errors.Is(err, heapstore.ErrRecorded) || !errors.Is(err, function.ErrConflict) {
			t.Errorf("the second commit of call %.20q: %v, want ErrRecorded", id, err)
		}
		want(h, id, &first)
		wantKeys(t, s, h, "a")
		wantValue(t, s, h, "a", "first")
	}
	t.Run("a refused commit is not recorded", func(t *testing.T) {
		c := function.Commit{Writes: writes("q", strings.Repeat("q", 200)), QuotaBytes: 10, CallID: "refused", Record: first}
		if err := s.Commit(t.Context(), h, c); !errors.Is(err, heapstore.ErrQuota) {
			t.Errorf("%v, want ErrQuota", err)
		}
		want(h, "refused", nil)
	})
	t.Run("a commit without writes is", func(t *testing.T) {
		if err := s.Commit(t.Context(), h, function.Commit{CallID: "empty", Record: first}); err != nil {
			t.Fatal(err)
		}
		want(h, "empty", &first)
	})
	t.Run("each heap has its own", func(t *testing.T) {
		other := heap("other", "1")
		create(t, s, other)
		want(other, "1", nil)
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, d, folder)
	for _, id := range ids {
		want(h, id, &first)
	}
	t.Run("a dropped heap takes them along", func(t *testing.T) {
		if err := s.Drop(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		create(t, s, h)
		want(h, "1", nil)
	})
}

// testRepeats has several commit the same call ids at once: of each call id one wins, whose record and writes are there.
func testRepeats(t *testing.T, d Driver) {
	const callers, calls = 8, 25
	s, h := openHeap(t, d)
	var winners [calls]atomic.Int32
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for call := range calls {
				digest := [32]byte{byte(caller)}
				err := s.Commit(t.Context(), h, function.Commit{
					Writes: writes(fmt.Sprint(call), fmt.Sprint(caller)), CallID: fmt.Sprint(call), Record: function.Record{Digest: digest},
				})
				switch {
				case err == nil:
					winners[call].Add(1)
				case !errors.Is(err, heapstore.ErrRecorded):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for call := range calls {
		r, found, err := s.Recorded(t.Context(), h, fmt.Sprint(call))
		if err != nil || !found || winners[call].Load() != 1 {
			t.Errorf("call %d: recorded %t, %v, %d times", call, found, err, winners[call].Load())
		}
		wantValue(t, s, h, fmt.Sprint(call), fmt.Sprint(r.Digest[0]))
	}
}
