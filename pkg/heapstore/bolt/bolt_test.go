package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
	"github.com/dragonchain/dc-provider/pkg/heapstore/heapstoretest"
)

func TestBolt(t *testing.T) {
	heapstoretest.Run(t, heapstoretest.Driver{
		Open: func(folder string) (heapstore.Store, error) {
			return bolt.Open(filepath.Join(folder, "heap.db"), bolt.Options{})
		},
		Check: func(folder string) error { return checkFile(filepath.Join(folder, "heap.db")) },
	})
}

// checkFile looks for damage in a store's file: pages that are lost or used twice, and heaps whose size is wrong.
func checkFile(path string) error {
	// To write to it would be to write over what its log needs.
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		var found []error
		for damage := range tx.Check() {
			found = append(found, damage)
		}
		err := tx.Bucket([]byte("heaps")).ForEachBucket(func(name []byte) error {
			heap, size := tx.Bucket([]byte("heaps")).Bucket(name), 0
			if err := heap.ForEach(func(key, held []byte) error {
				value, err := bolt.EntryValue(held)
				size += len(key) + len(value)
				return err
			}); err != nil {
				return err
			}
			if heap.Sequence() != uint64(size) {
				return fmt.Errorf("heap %q has %d bytes and says %d", name, size, heap.Sequence())
			}
			return nil
		})
		return errors.Join(append(found, err)...)
	})
}

// openStore opens a store until the test ends.
func openStore(t testing.TB, path string, options bolt.Options) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), checkFile(path)); err != nil {
			t.Error(err)
		}
	})
	return s
}

// openHeap opens a store with one heap.
func openHeap(t testing.TB, options bolt.Options) (*bolt.Store, heapstore.Heap) {
	t.Helper()
	s, h := openStore(t, filepath.Join(t.TempDir(), "heap.db"), options), testHeap()
	if err := s.Create(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	return s, h
}

func testHeap() heapstore.Heap {
	return heapstore.Heap{Ref: function.Ref{Name: "ledger", Namespace: "openfaas-fn"}, ID: "1"}
}

// TestOpen_MigratesSchema1 opens a file as the version before had left it.
func TestOpen_MigratesSchema1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	makeBolt(t, path, func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucket([]byte("meta"))
		if err != nil {
			return err
		}
		heaps, err := tx.CreateBucket([]byte("heaps"))
		if err != nil {
			return err
		}
		heap, err := heaps.CreateBucket([]byte("openfaas-fn/ledger/1"))
		if err != nil {
			return err
		}
		return errors.Join(meta.Put([]byte("schema"), []byte("1")), heap.Put([]byte("k"), []byte(`"old"`)), heap.SetSequence(6))
	})
	s, h := openStore(t, path, bolt.Options{}), testHeap()
	if value, err := s.Get(t.Context(), h, "k"); err != nil || string(value.Value) != `"old"` || value.Version == 0 || value.CallID != "" || !value.At.IsZero() {
		t.Errorf("k is %+v, %v", value, err)
	}
	if err := s.Commit(t.Context(), h, heapstore.Commit{CallID: "1"}); err != nil {
		t.Error(err)
	}
	if _, found, err := s.Recorded(t.Context(), h, "1"); err != nil || !found {
		t.Errorf("recorded: %t, %v", found, err)
	}
	if err := s.Enqueue(t.Context(), heapstore.Item{Function: h, Due: time.Now()}, heapstore.QueueBounds{}); err != nil {
		t.Error(err)
	}
	if err := s.Tick(t.Context(), heapstore.Item{Function: h}, time.Now()); err != nil {
		t.Error(err)
	}
}

// TestCommit_OldRecordsGo keeps what the age and the bytes allow.
func TestCommit_OldRecordsGo(t *testing.T) {
	found := func(s *bolt.Store, id int) bool {
		t.Helper()
		_, found, err := s.Recorded(t.Context(), testHeap(), fmt.Sprint(id))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	commit := func(s *bolt.Store, id, bytes int) {
		t.Helper()
		r := heapstore.Record{Answer: function.Answer{Body: make([]byte, bytes)}}
		if err := s.Commit(t.Context(), testHeap(), heapstore.Commit{CallID: fmt.Sprint(id), Record: r}); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("by age", func(t *testing.T) {
		s, _ := openHeap(t, bolt.Options{RecordAge: time.Nanosecond})
		for id := range 10 {
			commit(s, id, 10)
			if id > 0 && found(s, id-1) || !found(s, id) {
				t.Errorf("after %d: before %t, itself %t", id, found(s, id-1), found(s, id))
			}
		}
	})
	t.Run("by bytes", func(t *testing.T) {
		s, _ := openHeap(t, bolt.Options{})
		for id := range 5 {
			commit(s, id, heapstore.MaxRecordBytes/4)
		}
		// Four are a little more than the bound, and so is one that is larger alone.
		if found(s, 1) || !found(s, 2) || !found(s, 4) {
			t.Errorf("kept: 1 %t, 2 %t, 4 %t", found(s, 1), found(s, 2), found(s, 4))
		}
		commit(s, 5, heapstore.MaxRecordBytes*2)
		if found(s, 4) || !found(s, 5) {
			t.Errorf("after a large one: before %t, itself %t", found(s, 4), found(s, 5))
		}
	})
}

func TestOpen_FileInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	openStore(t, path, bolt.Options{})
	_, err := bolt.Open(path, bolt.Options{LockTimeout: -1})
	if !errors.Is(err, heapstore.ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("Open gives %v, want ErrLocked and the path", err)
	}
}

func TestOpen_WaitsForPredecessor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	first, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan error)
	go func() {
		second, err := bolt.Open(path, bolt.Options{LockTimeout: time.Minute})
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestOpen_Refuses(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(t *testing.T, path string)
		want error
		text string
	}{
		{"a text file", func(t *testing.T, path string) { writeFile(t, path, strings.Repeat("no heap\n", 4096)) }, heapstore.ErrSchema, "invalid"},
		{"a truncated store", func(t *testing.T, path string) {
			makeBolt(t, path, func(*bbolt.Tx) error { return nil })
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		}, nil, "file size too small"},
		{"another program's bbolt file", func(t *testing.T, path string) {
			makeBolt(t, path, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("jobs")); return err })
		}, heapstore.ErrSchema, "something else"},
		{"a later schema", func(t *testing.T, path string) {
			makeBolt(t, path, func(tx *bbolt.Tx) error {
				meta, err := tx.CreateBucket([]byte("meta"))
				if err != nil {
					return err
				}
				_, err = tx.CreateBucket([]byte("heaps"))
				return errors.Join(err, meta.Put([]byte("schema"), []byte("6")))
			})
		}, heapstore.ErrSchema, `schema "6"`},
		{"a folder", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, nil, "is a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "heap.db")
			test.make(t, path)
			before, _ := os.ReadFile(path)
			_, err := bolt.Open(path, bolt.Options{})
			if err == nil || !strings.Contains(err.Error(), test.text) || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("Open gives %v, want %v, %q", err, test.want, test.text)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
	t.Run("a folder that is not there", func(t *testing.T) {
		if _, err := bolt.Open(filepath.Join(t.TempDir(), "absent", "heap.db"), bolt.Options{}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Open gives %v, want ErrNotExist", err)
		}
	})
	t.Run("a negative quota", func(t *testing.T) {
		if _, err := bolt.Open(filepath.Join(t.TempDir(), "heap.db"), bolt.Options{QuotaBytes: -1}); err == nil {
			t.Error("Open takes it")
		}
	})
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func makeBolt(t *testing.T, path string, fill func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fill), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestBolt_QuotaOfTheStore(t *testing.T) {
	s, h := openHeap(t, bolt.Options{QuotaBytes: 10})
	for value, want := range map[string]error{"1234567": nil, "12345678": heapstore.ErrQuota} {
		if err := s.Commit(t.Context(), h, heapstore.Commit{Writes: []heapstore.Write{{Key: "key", Value: []byte(value)}}}); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v, want %v", len(value), err, want)
		}
	}
}

func TestBolt_DiskFull(t *testing.T) {
	s, h := openHeap(t, bolt.Options{})
	value := bytes.Repeat([]byte("x"), 100<<10)
	commit := func(n int) error {
		return s.Commit(t.Context(), h, heapstore.Commit{Writes: []heapstore.Write{{Key: fmt.Sprint("a", n), Value: value}, {Key: fmt.Sprint("z", n), Value: value}}})
	}
	lift := limitFileSize(t, 1<<20)
	n, err := 0, error(nil)
	for ; err == nil && n < 100; n++ {
		err = commit(n)
	}
	failed := n - 1
	for _, refusal := range []error{nil, heapstore.ErrQuota, heapstore.ErrNoHeap, heapstore.ErrClosed, context.Canceled} {
		if errors.Is(err, refusal) {
			t.Fatalf("commit %d gives %v, want an error of the disk", failed, err)
		}
	}
	check := func(n int, want error) {
		t.Helper()
		for _, key := range []string{fmt.Sprint("a", n), fmt.Sprint("z", n)} {
			if got, err := s.Get(t.Context(), h, key); !errors.Is(err, want) || want == nil && !bytes.Equal(got.Value, value) {
				t.Errorf("key %s has %d bytes, %v, want %v", key, len(got.Value), err, want)
			}
		}
	}
	for n := range failed {
		check(n, nil)
	}
	check(failed, heapstore.ErrNoKey)
	if err := commit(failed); err == nil {
		t.Error("the full disk takes a commit")
	}
	check(failed, heapstore.ErrNoKey)

	lift()
	if err := commit(failed); err != nil {
		t.Errorf("with room again: %v", err)
	}
	check(failed, nil)
}

// limitFileSize makes writes fail that would make any file of this process larger, until lift is called or the test ends:
// a full disk without a disk of its own.
func limitFileSize(t *testing.T, bytes uint64) (lift func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	// Otherwise the kernel ends the process at the first such write.
	signal.Ignore(syscall.SIGXFSZ)
	lift = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Error(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	}
	t.Cleanup(lift)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	return lift
}

// FuzzBolt_Key commits any key and wants it back, or a refusal that says why and nothing written.
func FuzzBolt_Key(f *testing.F) {
	for _, key := range []string{"", "a", "/a//b", "a\x00", "\xff", "é", strings.Repeat("k", 1024), strings.Repeat("k", 1025)} {
		f.Add(key, "prefix")
		f.Add("a", key)
	}
	s, h := openHeap(f, bolt.Options{})
	f.Fuzz(func(t *testing.T, key, other string) {
		before, _, err := s.List(t.Context(), h, key, "", 1)
		if err != nil {
			t.Fatal(err)
		}
		switch err := s.Commit(t.Context(), h, heapstore.Commit{Writes: []heapstore.Write{{Key: key, Value: []byte(other)}}}); {
		case errors.Is(err, heapstore.ErrBadKey), errors.Is(err, heapstore.ErrKeyTooLarge),
			errors.Is(err, heapstore.ErrQuota), errors.Is(err, heapstore.ErrValueTooLarge):
			if after, _, err := s.List(t.Context(), h, key, "", 1); err != nil || len(after) != len(before) {
				t.Errorf("refused, and yet there are %q, %v, before %q", after, err, before)
			}
		case err != nil:
			t.Fatal(err)
		default:
			value, err := s.Get(t.Context(), h, key)
			keys, _, listErr := s.List(t.Context(), h, key, "", 1)
			if err != nil || string(value.Value) != other || listErr != nil || len(keys) != 1 || keys[0] != key {
				t.Errorf("committed %q, got %q, %v, %q, %v", key, value.Value, err, keys, listErr)
			}
		}
		if keys, _, err := s.List(t.Context(), h, other, key, 5); err != nil || len(keys) > 0 && keys[0] <= key {
			t.Errorf("after %q: %q, %v", key, keys, err)
		}
	})
}

// BenchmarkCommit is one commit of four keys by one caller, whose time is the disk's, and by 64 callers at once, who share
// its syncs. Beside it bbolt's own ways to do the same.
func BenchmarkCommit(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("store/c%d", callers), func(b *testing.B) {
			s, h := openHeap(b, bolt.Options{})
			benchmarkCallers(b, callers, func(ctx context.Context, writes []heapstore.Write) error {
				return s.Commit(ctx, h, heapstore.Commit{Writes: writes})
			})
		})
		b.Run(fmt.Sprintf("bbolt.Batch/c%d", callers), func(b *testing.B) {
			db, err := bbolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = db.Close() })
			benchmarkCallers(b, callers, func(_ context.Context, writes []heapstore.Write) error {
				return db.Batch(func(tx *bbolt.Tx) error {
					bucket, err := tx.CreateBucketIfNotExists([]byte("heap"))
					for _, w := range writes {
						err = errors.Join(err, bucket.Put([]byte(w.Key), w.Value))
					}
					return err
				})
			})
		})
	}
}

// BenchmarkCommit_Keys shows that a commit's time grows with the number of its keys and not with its square.
func BenchmarkCommit_Keys(b *testing.B) {
	for _, keys := range []int{1 << 8, 1 << 12, 1 << 16} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			var writes []heapstore.Write
			for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(keys) {
				writes = append(writes, heapstore.Write{Key: fmt.Sprintf("account-%d", i), Value: []byte(`{"balance":1000}`)})
			}
			s, h := openHeap(b, bolt.Options{})
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Commit(b.Context(), h, heapstore.Commit{Writes: writes}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(keys), "ns/key")
		})
	}
}

func benchmarkCallers(b *testing.B, callers int, commit func(context.Context, []heapstore.Write) error) {
	b.ReportAllocs()
	work := make(chan struct{})
	failed := make(chan error, callers)
	var next atomic.Int64
	for range callers {
		go func() {
			for range work {
				n := next.Add(1) % 10_000
				var writes []heapstore.Write
				for key := range 4 {
					writes = append(writes, heapstore.Write{Key: fmt.Sprintf("account-%d-%d", n, key), Value: []byte(`{"balance":1000}`)})
				}
				if err := commit(b.Context(), writes); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for b.Loop() {
		work <- struct{}{}
	}
	close(work)
	for range callers {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
}
