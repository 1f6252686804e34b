package bolt_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
)

// fill gives a heap so many keys.
func fill(t testing.TB, s *bolt.Store, h heapstore.Heap, keys int) {
	t.Helper()
	for from := 0; from < keys; from += 50_000 {
		var writes []heapstore.Write
		for i := from; i < min(from+50_000, keys); i++ {
			writes = append(writes, heapstore.Write{Key: fmt.Sprintf("account-%08d", i), Value: []byte(`{"balance":1000}`)})
		}
		if err := s.Commit(t.Context(), h, heapstore.Commit{Writes: writes, QuotaBytes: 1 << 40}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDrop_SpaceIsUsedAgain drops a heap and fills another: the file does not grow by as much again.
func TestDrop_SpaceIsUsedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	s, h := openStore(t, path, bolt.Options{}), testHeap()
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	var first int64
	for round := range 5 {
		h.ID = fmt.Sprint(round)
		if err := s.Create(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		fill(t, s, h, 100_000)
		if err := s.Drop(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			first = size()
		}
	}
	if last := size(); last > first*3/2 {
		t.Errorf("the file had %d bytes after one heap and has %d after five", first, last)
	}
}

// BenchmarkDrop is the delete of a heap with many keys.
func BenchmarkDrop(b *testing.B) {
	const keys = 1_000_000
	b.Run(fmt.Sprint(keys), func(b *testing.B) {
		s, h := openHeap(b, bolt.Options{})
		for b.Loop() {
			b.StopTimer()
			if err := s.Create(b.Context(), h); err != nil {
				b.Fatal(err)
			}
			fill(b, s, h, keys)
			b.StartTimer()
			if err := s.Drop(b.Context(), h); err != nil {
				b.Fatal(err)
			}
		}
	})
}
