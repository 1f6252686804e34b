package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/postgres"
	"github.com/dragonchain/dc-provider/pkg/heapstore/postgres/postgrestest"
)

// startServer starts a server that this test may harm.
func startServer(t *testing.T) *postgrestest.Server {
	t.Helper()
	server, err := postgrestest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// wantValue checks that a key has a value, "" for none.
func wantValue(t *testing.T, s *postgres.Store, h heapstore.Heap, key, want string) {
	t.Helper()
	got, err := s.Get(t.Context(), h, key)
	if want == "" && errors.Is(err, heapstore.ErrNoKey) {
		return
	}
	if err != nil || string(got.Value) != want {
		t.Errorf("%s is %.40q, %v, want %.40q", key, got.Value, err, want)
	}
}

// TestCommit_ServerIsKilled kills the server under load. Whoever commits is not told of it: the commits go on when it is
// back, each of them once and none lost.
func TestCommit_ServerIsKilled(t *testing.T) {
	const writers, kills = 8, 4
	server := startServer(t)
	s := open(t, server.DSN("postgres"), postgres.Options{Patience: 2 * time.Minute})
	h := testHeap("ledger")
	if err := s.Create(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	stop, committed := make(chan struct{}), make(chan struct{}, 1024)
	last := make([]int, writers)
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				value := fmt.Sprint(n, strings.Repeat("x", n*37%3000))
				if err := s.Commit(t.Context(), h, writes(fmt.Sprint("a-", w), value, fmt.Sprint("z-", w), value)); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				last[w] = n
				select {
				case committed <- struct{}{}:
				default:
				}
			}
		})
	}
	for round := range kills {
		for range 50 * (round + 1) {
			<-committed
		}
		if err := errors.Join(server.Kill(), server.Run()); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		<-committed
	}
	close(stop)
	writing.Wait()
	for w, n := range last {
		want := fmt.Sprint(n, strings.Repeat("x", n*37%3000))
		wantValue(t, s, h, fmt.Sprint("a-", w), want)
		wantValue(t, s, h, fmt.Sprint("z-", w), want)
	}
	if err := check(server.DSN("postgres")); err != nil {
		t.Error(err)
	}
}

// wire stands between a store and its server. When onCommit is set, it is called once, in place of passing on the bytes in
// which the store asks to commit; whatever it does, the store's connection is then cut.
type wire struct {
	listener net.Listener
	socket   string
	onCommit atomic.Pointer[func(bytes []byte, server net.Conn)]
	// cutLast has the connection cut when onCommit has returned, and not before.
	cutLast bool
	// locking is closed when the store asks for the outcome of a commit.
	locking chan struct{}
	once    sync.Once
	open    sync.WaitGroup
}

func newWire(t *testing.T, socket string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: listener, socket: socket, locking: make(chan struct{})}
	w.open.Go(w.accept)
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		w.open.Wait()
	})
	return w
}

// dsn has the store send every statement's text each time, for the wire to see.
func (w *wire) dsn(database string) string {
	address := w.listener.Addr().(*net.TCPAddr)
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=%s sslmode=disable default_query_exec_mode=exec", address.Port, database)
}

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: w.socket, Net: "unix"})
		if err != nil {
			client.Close()
			continue
		}
		w.open.Go(func() { w.passOn(client, server) })
		w.open.Go(func() {
			defer client.Close()
			defer server.Close()
			_, _ = io.Copy(client, server)     // to the end of either
			_, _ = io.Copy(io.Discard, server) // what nobody hears, so that the server comes to its end
		})
	}
}

func (w *wire) passOn(client net.Conn, server *net.UnixConn) {
	defer server.CloseWrite()
	buffer := make([]byte, 1<<20)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		if bytes.Contains(buffer[:n], []byte("SELECT seq FROM dc_lanes")) {
			w.once.Do(func() { close(w.locking) })
		}
		// A commit to heaps, and not one of the sweep's, nor the migration's.
		if bytes.Contains(buffer[:n], []byte("UPDATE dc_heaps")) && bytes.Contains(buffer[:n], []byte("commit\x00")) {
			if cut := w.onCommit.Swap(nil); cut != nil {
				if !w.cutLast {
					client.Close()
				}
				(*cut)(buffer[:n], server)
				client.Close()
				return
			}
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// TestCommit_ConnectionIsCut cuts the connection at the moment of the commit. The store finds out what became of it before
// it tells anybody, and never commits twice: the second commit, of another value, would be undone by it.
func TestCommit_ConnectionIsCut(t *testing.T) {
	var w *wire
	for _, test := range []struct {
		name string
		cut  func(bytes []byte, server net.Conn)
	}{
		{"before the server hears of it", func([]byte, net.Conn) {}},
		{"before the store hears of it", func(bytes []byte, server net.Conn) {
			_, _ = server.Write(bytes) // the connection is cut in any case
		}},
		{"and it arrives while the store asks what became of it", func(bytes []byte, server net.Conn) {
			<-w.locking
			_, _ = server.Write(bytes)
		}},
		{"and it never arrives, while the server waits for it", func(_ []byte, server net.Conn) {
			<-w.locking
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := startServer(t)
			w = newWire(t, server.Socket())
			s := open(t, w.dsn("postgres"), postgres.Options{})
			h := testHeap("ledger")
			if err := s.Create(t.Context(), h); err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(t.Context(), h, writes("k", "before")); err != nil {
				t.Fatal(err)
			}
			w.onCommit.Store(&test.cut)
			if err := s.Commit(t.Context(), h, writes("k", "first", "l", "first")); err != nil {
				t.Errorf("the commit: %v", err)
			}
			if w.onCommit.Load() != nil {
				t.Fatal("the wire saw no commit")
			}
			if err := s.Commit(t.Context(), h, writes("k", "second")); err != nil {
				t.Errorf("the next commit: %v", err)
			}
			wantValue(t, s, h, "k", "second")
			wantValue(t, s, h, "l", "first")
			if err := check(server.DSN("postgres")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCommit_ServerStaysAway has the server die at the commit and stay away: only then is the outcome not known.
func TestCommit_ServerStaysAway(t *testing.T) {
	server := startServer(t)
	w := newWire(t, server.Socket())
	// With one connection there is none left on which the dying server could still answer.
	s := open(t, w.dsn("postgres")+" pool_max_conns=1", postgres.Options{Patience: time.Second})
	h := testHeap("ledger")
	if err := s.Create(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	w.cutLast = true // or the store could still ask the server that is about to die
	dead := make(chan struct{})
	die := func([]byte, net.Conn) {
		defer close(dead)
		if err := server.Kill(); err != nil {
			t.Error(err)
		}
	}
	w.onCommit.Store(&die)
	if err := s.Commit(t.Context(), h, writes("k", "1")); !errors.Is(err, heapstore.ErrUnknown) {
		t.Errorf("the commit that was cut: %v, want ErrUnknown", err)
	}
	if err := s.Commit(t.Context(), h, writes("k", "2")); !errors.Is(err, heapstore.ErrUnavailable) {
		t.Errorf("a commit without a server: %v, want ErrUnavailable", err)
	}
	if _, err := s.Get(t.Context(), h, "k"); !errors.Is(err, heapstore.ErrUnavailable) {
		t.Errorf("a read without a server: %v, want ErrUnavailable", err)
	}
	<-dead
	if err := server.Run(); err != nil {
		t.Fatal(err)
	}
	wantValue(t, s, h, "k", "")
	if err := s.Commit(t.Context(), h, writes("k", "3")); err != nil {
		t.Errorf("with the server back: %v", err)
	}
	wantValue(t, s, h, "k", "3")
}

func TestOpen_NoServer(t *testing.T) {
	_, err := postgres.Open(t.Context(), "postgres://me:hush@127.0.0.1:1/heaps", postgres.Options{Patience: 100 * time.Millisecond})
	if !errors.Is(err, heapstore.ErrUnavailable) || strings.Contains(err.Error(), "hush") {
		t.Errorf("Open gives %v, want ErrUnavailable and no password", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := postgres.Open(ctx, "postgres://127.0.0.1:1/heaps", postgres.Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open gives %v, want the context's end", err)
	}
}

// TestStores_ShareADatabase has several stores migrate an empty database at once and then work on the same heaps.
func TestStores_ShareADatabase(t *testing.T) {
	const count, rounds = 4, 40
	dsn := newDatabase(t)
	stores := make([]*postgres.Store, count)
	var opening sync.WaitGroup
	for i := range stores {
		opening.Go(func() {
			var err error
			if stores[i], err = postgres.Open(t.Context(), dsn, postgres.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	if t.Failed() {
		return
	}
	heaps := []heapstore.Heap{testHeap("a"), testHeap("b"), testHeap("c")}
	for _, h := range heaps {
		if err := stores[0].Create(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	var working sync.WaitGroup
	for i, s := range stores {
		for _, h := range heaps {
			working.Go(func() {
				for round := range rounds {
					// Two keys that every store writes, so that a torn commit shows, and one of its own.
					value := fmt.Sprintf("%d/%d", i, round)
					if err := s.Commit(t.Context(), h, writes("x", value, "y", value, fmt.Sprint("own-", i), value)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	working.Wait()
	for _, h := range heaps {
		x, err := stores[1].Get(t.Context(), h, "x")
		if err != nil {
			t.Fatal(err)
		}
		wantValue(t, stores[2], h, "y", string(x.Value))
		for i := range stores {
			wantValue(t, stores[3], h, fmt.Sprint("own-", i), fmt.Sprintf("%d/%d", i, rounds-1))
		}
	}
	const calls = 20
	var winners [calls]atomic.Int32
	for i, s := range stores {
		working.Go(func() {
			for call := range calls {
				c := writes(fmt.Sprint("call-", call), fmt.Sprint(i))
				c.CallID = fmt.Sprint(call)
				switch err := s.Commit(t.Context(), heaps[1], c); {
				case err == nil:
					winners[call].Add(1)
				case !errors.Is(err, heapstore.ErrRecorded):
					t.Error(err)
				}
			}
		})
	}
	working.Wait()
	for call := range calls {
		if n := winners[call].Load(); n != 1 {
			t.Errorf("call %d took effect %d times", call, n)
		}
	}
	if err := stores[0].Drop(t.Context(), heaps[0]); err != nil {
		t.Fatal(err)
	}
	if err := stores[1].Commit(t.Context(), heaps[0], writes("x", "late")); !errors.Is(err, heapstore.ErrNoHeap) {
		t.Errorf("a commit to a heap that another store dropped: %v, want ErrNoHeap", err)
	}
	for _, s := range stores {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCommit_DiskFull lets the server's files grow no further.
func TestCommit_DiskFull(t *testing.T) {
	server := startServer(t)
	s := open(t, server.DSN("postgres"), postgres.Options{})
	h := testHeap("ledger")
	if err := s.Create(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	// Random, as it were, so that it is not compressed into one page.
	value := make([]byte, 300<<10)
	for i := range value {
		value[i] = byte(i * i >> 7 * 31)
	}
	commit := func(n int) error {
		return s.Commit(t.Context(), h, heapstore.Commit{Writes: []heapstore.Write{{Key: fmt.Sprint("a", n), Value: value}, {Key: fmt.Sprint("z", n), Value: value}}})
	}
	if err := server.LimitFiles(fmt.Sprint(2 << 20)); err != nil {
		t.Fatal(err)
	}
	n, err := 0, error(nil)
	for ; err == nil && n < 100; n++ {
		err = commit(n)
	}
	failed := n - 1
	for _, other := range []error{nil, heapstore.ErrUnavailable, heapstore.ErrUnknown, heapstore.ErrQuota, heapstore.ErrNoHeap} {
		if errors.Is(err, other) {
			t.Fatalf("commit %d gives %v, want an error of the disk", failed, err)
		}
	}
	for n := range failed {
		wantValue(t, s, h, fmt.Sprint("z", n), string(value))
	}
	wantValue(t, s, h, fmt.Sprint("a", failed), "")
	if err := server.LimitFiles("unlimited"); err != nil {
		t.Fatal(err)
	}
	if err := commit(failed); err != nil {
		t.Errorf("with room again: %v", err)
	}
	wantValue(t, s, h, fmt.Sprint("z", failed), string(value))
}

// TestOpen_OldRecordsGo has the background delete what is too old, and leave the newest.
func TestOpen_OldRecordsGo(t *testing.T) {
	dsn, h := newDatabase(t), testHeap("ledger")
	s := open(t, dsn, postgres.Options{})
	if err := s.Create(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	for id := range 5 {
		if err := s.Commit(t.Context(), h, heapstore.Commit{CallID: fmt.Sprint(id)}); err != nil {
			t.Fatal(err)
		}
	}
	sweeps := open(t, dsn, postgres.Options{RecordAge: time.Microsecond})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		left := ""
		for id := range 5 {
			if _, found, err := sweeps.Recorded(t.Context(), h, fmt.Sprint(id)); err != nil {
				t.Fatal(err)
			} else if found {
				left += fmt.Sprint(id)
			}
		}
		if left == "4" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left are the records %s, want 4", left)
		}
	}
}
