package heapstoretest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// entry reads a key that is there.
func entry(t *testing.T, s heapstore.Store, h function.Heap, key string) function.HeapEntry {
	t.Helper()
	e, err := s.Get(t.Context(), h, key)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// version is a key's, 0 if it is absent.
func version(t *testing.T, s heapstore.Store, h function.Heap, key string) uint64 {
	t.Helper()
	e, err := s.Get(t.Context(), h, key)
	if err != nil && !errors.Is(err, heapstore.ErrNoKey) {
		t.Fatal(err)
	}
	return e.Version
}

func deletes(keys ...string) []function.HeapWrite {
	var w []function.HeapWrite
	for _, key := range keys {
		w = append(w, function.HeapWrite{Key: key, Delete: true})
	}
	return w
}

func testVersions(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	seen := map[uint64]bool{}
	before := time.Now().Add(-time.Minute)
	write := func(c function.Commit, writer string) {
		t.Helper()
		if err := s.Commit(t.Context(), h, c); err != nil {
			t.Fatal(err)
		}
		e := entry(t, s, h, "key")
		if e.Version == 0 || seen[e.Version] || e.CallID != writer || e.At.Before(before) || e.At.After(time.Now().Add(time.Minute)) {
			t.Errorf("written by %q: %+v, seen before: %t", writer, e, seen[e.Version])
		}
		seen[e.Version] = true
	}
	write(function.Commit{Writes: writes("key", "1", "other", "1")}, "")
	write(function.Commit{Writes: writes("key", "1"), CallID: "call"}, "call")
	write(function.Commit{Writes: writes("key", "2"), CallID: "call 2", Writer: "writer\x00\xff"}, "writer\x00\xff")
	write(function.Commit{Writes: writes("key", "3"), Writer: strings.Repeat("w", 300)}, strings.Repeat("w", 300))
	for range 2 {
		if err := s.Commit(t.Context(), h, function.Commit{Writes: deletes("key")}); err != nil {
			t.Fatal(err)
		}
		write(function.Commit{Writes: writes("key", "1")}, "")
	}
	t.Run("another key's write leaves it alone", func(t *testing.T) {
		first := entry(t, s, h, "key")
		commit(t, s, h, "other", "2")
		if e := entry(t, s, h, "key"); e.Version != first.Version || !e.At.Equal(first.At) {
			t.Errorf("%+v, before %+v", e, first)
		}
	})
}

func testConditions(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	commit(t, s, h, "a", "0", "b", "0")
	a, b := entry(t, s, h, "a").Version, entry(t, s, h, "b").Version
	is := func(key string, version uint64) function.HeapCondition {
		return function.HeapCondition{Key: key, Version: version}
	}
	for _, test := range []struct {
		name  string
		given []function.HeapCondition
		holds bool
	}{
		{"absent and is", []function.HeapCondition{is("c", 0)}, true},
		{"absent and is not", []function.HeapCondition{is("a", 0)}, false},
		{"there and is", []function.HeapCondition{is("a", function.AnyVersion)}, true},
		{"there and is not", []function.HeapCondition{is("c", function.AnyVersion)}, false},
		{"version of a key that is absent", []function.HeapCondition{is("c", a)}, false},
		{"another version", []function.HeapCondition{is("a", a+1)}, false},
		{"two that hold", []function.HeapCondition{is("a", a), is("b", b)}, true},
		{"one of two", []function.HeapCondition{is("a", function.AnyVersion), is("b", b+1)}, false},
		{"a key that cannot be", []function.HeapCondition{is("", 0), is("\xff", 0), is(strings.Repeat("k", 5000), 0)}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := version(t, s, h, "x")
			err := s.Commit(t.Context(), h, function.Commit{Writes: writes("x", test.name), Conditions: test.given, CallID: test.name})
			if test.holds != (err == nil) || err != nil && (!errors.Is(err, heapstore.ErrCondition) || errors.Is(err, function.ErrConflict)) {
				t.Errorf("%v", err)
			}
			if written := version(t, s, h, "x") != before; written != test.holds {
				t.Errorf("written: %t", written)
			}
			if _, found, err := s.Recorded(t.Context(), h, test.name); err != nil || found != test.holds {
				t.Errorf("recorded: %t, %v", found, err)
			}
		})
	}
	t.Run("a repeat is told so, whatever its condition", func(t *testing.T) {
		c := function.Commit{CallID: "twice", Conditions: []function.HeapCondition{is("a", a)}, Writes: writes("a", "1")}
		if err := s.Commit(t.Context(), h, c); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), h, c); !errors.Is(err, heapstore.ErrRecorded) {
			t.Errorf("%v", err)
		}
	})
	t.Run("without writes", func(t *testing.T) {
		if err := s.Commit(t.Context(), h, function.Commit{Conditions: []function.HeapCondition{is("b", b+1)}}); !errors.Is(err, heapstore.ErrCondition) {
			t.Errorf("%v", err)
		}
	})
}

// testConditionsAtOnce counts by compare-and-set: every success is one, though they share transactions.
func testConditionsAtOnce(t *testing.T, d Driver) {
	const callers, each = 8, 15
	s, h := openHeap(t, d)
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for done := 0; done < each; {
				now, err := s.Get(t.Context(), h, "counter")
				if err != nil && !errors.Is(err, heapstore.ErrNoKey) {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(now.Value)) // 0 if it is absent
				err = s.Commit(t.Context(), h, function.Commit{
					Writes:     writes("counter", fmt.Sprint(n+1), fmt.Sprint("at-", n), fmt.Sprint(caller)),
					Conditions: []function.HeapCondition{{Key: "counter", Version: now.Version}},
				})
				switch {
				case err == nil:
					done++
				case !errors.Is(err, heapstore.ErrCondition):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	wantValue(t, s, h, "counter", fmt.Sprint(callers*each))
}

func testDelete(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	commit(t, s, h, "a", "12345", "b", "1", "c", "1")
	if err := s.Commit(t.Context(), h, function.Commit{Writes: append(deletes("a", "absent"), writes("c", "2")...)}); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, s, h, "b", "c")
	if _, err := s.Get(t.Context(), h, "a"); !errors.Is(err, heapstore.ErrNoKey) {
		t.Errorf("%v", err)
	}
	t.Run("the last write of a key counts", func(t *testing.T) {
		given := append(append(writes("d", "1", "e", "1"), deletes("d", "f")...), writes("f", "1")...)
		if err := s.Commit(t.Context(), h, function.Commit{Writes: given}); err != nil {
			t.Fatal(err)
		}
		wantKeys(t, s, h, "b", "c", "e", "f")
	})
	t.Run("its room is free", func(t *testing.T) {
		if err := s.Commit(t.Context(), h, function.Commit{Writes: append(deletes("b", "c", "e", "f"), writes("g", "123456789")...), QuotaBytes: 10}); err != nil {
			t.Error(err)
		}
		if got, err := s.Usage(t.Context(), h); err != nil || got != (function.HeapUsage{Keys: 1, Bytes: 10}) {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("above its quota", func(t *testing.T) {
		if err := s.Commit(t.Context(), h, function.Commit{Writes: deletes("g"), QuotaBytes: 1}); err != nil {
			t.Error(err)
		}
		wantKeys(t, s, h)
	})
}

func testEntries(t *testing.T, d Driver) {
	s, h := openHeap(t, d)
	if got, next, err := s.Entries(t.Context(), h, "", "", 0); err != nil || got == nil || len(got) != 0 || next != "" {
		t.Errorf("of an empty heap: %v, %q, %v", got, next, err)
	}
	var pairs []string
	for i := range 40 {
		pairs = append(pairs, fmt.Sprintf("k%02d", i), strings.Repeat("v", i*5000))
	}
	commit(t, s, h, append(pairs, "j", "", "l", "end")...)
	for _, limit := range []int{1, 7, 40, heapstore.MaxListLimit} {
		var keys []string
		for after := ""; ; {
			got, next, err := s.Entries(t.Context(), h, "k", after, limit)
			if err != nil {
				t.Fatal(err)
			}
			bytes := 0
			for i, e := range got {
				if bytes > heapstore.MaxEntriesBytes || i == limit {
					t.Fatalf("%d entries of %d bytes and more, limit %d", i, bytes, limit)
				}
				bytes += len(e.Value)
				if want := entry(t, s, h, e.Key); string(e.Value) != string(want.Value) || e.Version != want.Version || !e.At.Equal(want.At) {
					t.Errorf("%s has version %d and %d bytes, want %d and %d", e.Key, e.Version, len(e.Value), want.Version, len(want.Value))
				}
				keys = append(keys, e.Key)
			}
			if next == "" {
				break
			}
			if after = next; next != keys[len(keys)-1] {
				t.Fatalf("next is %q after %q", next, keys)
			}
		}
		if len(keys) != 40 || !slices.IsSorted(keys) {
			t.Errorf("limit %d: %q", limit, keys)
		}
	}
	if got, err := s.Usage(t.Context(), h); err != nil || got != (function.HeapUsage{Keys: 42, Bytes: 5000*40*39/2 + 40*3 + 2 + 3}) {
		t.Errorf("usage %+v, %v", got, err)
	}
}
