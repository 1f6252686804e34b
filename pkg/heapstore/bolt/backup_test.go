package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
)

// TestSnapshot_UnderCommits copies a store while it is written to: each copy is whole, restores, and no commit of it is torn.
func TestSnapshot_UnderCommits(t *testing.T) {
	s, h := openHeap(t, bolt.Options{})
	done := make(chan struct{})
	var writing sync.WaitGroup
	for writer := range 4 {
		writing.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				value := []byte(fmt.Sprintf(`"%d %s"`, n, strings.Repeat("x", n*97%5000)))
				if err := s.Commit(t.Context(), h, heapstore.Commit{Writes: []heapstore.Write{
					{Key: fmt.Sprint(writer, "-a"), Value: value}, {Key: fmt.Sprint(writer, "-z"), Value: value},
				}}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		snapshot, err := s.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "restored.db")
		if err := errors.Join(bolt.Restore(snapshot, path), snapshot.Close()); err != nil {
			t.Fatal(err)
		}
		restored := openStore(t, path, bolt.Options{})
		for writer := range 4 {
			a, errA := restored.Get(t.Context(), h, fmt.Sprint(writer, "-a"))
			z, errZ := restored.Get(t.Context(), h, fmt.Sprint(writer, "-z"))
			if !bytes.Equal(a.Value, z.Value) || a.Version != z.Version || (errA == nil) != (errZ == nil) {
				t.Errorf("writer %d: %d and %d bytes, %v, %v", writer, len(a.Value), len(z.Value), errA, errZ)
			}
		}
	}
	close(done)
	writing.Wait()
}

func TestSnapshot_LeavesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	s := openStore(t, path, bolt.Options{})
	before, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Snapshot(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != len(before) {
		t.Errorf("beside the store: %v, %v", names, err)
	}
	if size, err := io.Copy(io.Discard, snapshot); err != nil || size == 0 {
		t.Errorf("%d bytes, %v", size, err)
	}
}

func TestSnapshot_DiskFull(t *testing.T) {
	s, h := openHeap(t, bolt.Options{})
	fill(t, s, h, 50_000)
	lift := limitFileSize(t, 1<<20)
	if _, err := s.Snapshot(t.Context()); err == nil {
		t.Error("a copy was made on a full disk")
	}
	lift()
	snapshot, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := snapshot.Close(); err != nil {
		t.Error(err)
	}
}

// TestRestore_Refuses changes nothing where it refuses.
func TestRestore_Refuses(t *testing.T) {
	source, h := openHeap(t, bolt.Options{})
	fill(t, source, h, 1000)
	snapshot, err := source.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(snapshot)
	if err := errors.Join(err, snapshot.Close()); err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(whole)
	copy(damaged[len(damaged)/2:], bytes.Repeat([]byte{0xff}, 8192))
	for name, test := range map[string]struct {
		given []byte
		busy  bool
		want  error
	}{
		"nothing":             {},
		"text":                {given: []byte(strings.Repeat("no heap\n", 4096)), want: heapstore.ErrSchema},
		"one that broke off":  {given: whole[:len(whole)/2]},
		"a damaged one":       {given: damaged},
		"the store is in use": {given: whole, busy: true, want: heapstore.ErrLocked},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "heap.db")
			store, err := bolt.Open(path, bolt.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !test.busy {
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
			}
			before, err := os.ReadFile(path)
			files, dirErr := os.ReadDir(filepath.Dir(path))
			if err := errors.Join(err, dirErr); err != nil {
				t.Fatal(err)
			}
			if err := bolt.Restore(bytes.NewReader(test.given), path); err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			after, err := os.ReadFile(path)
			names, dirErr := os.ReadDir(filepath.Dir(path))
			if err != nil || !bytes.Equal(before, after) || dirErr != nil || len(names) != len(files) {
				t.Errorf("the store changed: %v, %v, %v", err, names, dirErr)
			}
			if test.busy {
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Run("a folder that is not there", func(t *testing.T) {
		if err := bolt.Restore(bytes.NewReader(whole), filepath.Join(t.TempDir(), "absent", "heap.db")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v", err)
		}
	})
}

// TestRestore_KeepsTheOld restores twice over a store, and a damaged one, and finds the one before beside it.
func TestRestore_KeepsTheOld(t *testing.T) {
	source, h := openHeap(t, bolt.Options{})
	path := filepath.Join(t.TempDir(), "heap.db")
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		if err := source.Commit(t.Context(), h, heapstore.Commit{Writes: []heapstore.Write{{Key: "round", Value: fmt.Append(nil, round)}}}); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		snapshot, err := source.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(bolt.Restore(snapshot, path), snapshot.Close()); err != nil {
			t.Fatal(err)
		}
		if kept, err := os.ReadFile(path + ".replaced"); err != nil || !bytes.Equal(kept, before) {
			t.Errorf("round %d: kept are %d bytes, %v, want %d", round, len(kept), err, len(before))
		}
		restored, err := bolt.Open(path, bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if e, err := restored.Get(t.Context(), h, "round"); err != nil || string(e.Value) != fmt.Sprint(round) {
			t.Errorf("%+v, %v", e, err)
		}
		if err := restored.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
