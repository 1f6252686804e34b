package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

var quietLog = slog.New(slog.DiscardHandler)

// newOpenStore opens the store at path and closes it with the test.
func newOpenStore(t *testing.T, path string) *store {
	t.Helper()
	s := newStore(storeConfig{boltFile: path}, 0, time.Minute, quietLog)
	if opened, err := s.open(t.Context(), quietLog); !opened || err != nil {
		t.Fatalf("open the store: %t, %v", opened, err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// One provider takes over from another: what needs the store waits until the other's last contract call is over, whose
// commit is in it then.
func TestStore_HandOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	heap := newFunction(true).Heap()
	old := newOpenStore(t, path)
	if err := old.Create(t.Context(), heap); err != nil {
		t.Fatal(err)
	}
	end, err := old.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	next := newStore(storeConfig{boltFile: path}, 0, time.Minute, quietLog)
	opened := make(chan error, 1)
	go func() {
		_, err := next.open(t.Context(), quietLog)
		opened <- err
	}()
	read := make(chan error, 1)
	go func() {
		value, err := next.Get(t.Context(), heap, "key")
		if err == nil && string(value) != "1" {
			err = errors.New("read " + string(value))
		}
		read <- err
	}()

	drained := make(chan struct{})
	go func() {
		defer close(drained)
		old.drain(t.Context())
	}()
	// The first answer that says so comes when drain has begun.
	for {
		more, err := old.begin(t.Context())
		if errors.Is(err, heapstore.ErrClosed) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		more()
	}
	if err := old.Commit(t.Context(), heap, function.Commit{Writes: []function.HeapWrite{{Key: "key", Value: []byte("1")}}}); err != nil {
		t.Errorf("commit of a call that was under way: %v", err)
	}
	select {
	case <-drained:
		t.Error("drained with a call under way")
	case err := <-opened:
		t.Errorf("opened while another has it: %v", err)
	default:
	}
	end()
	<-drained
	if err := old.close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Errorf("the call that waited: %v", err)
	}
	if err := next.close(); err != nil {
		t.Error(err)
	}
}

func TestStore_CallsWaitNoLongerThanTheyMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(storeConfig{boltFile: "never opened"}, 0, time.Minute, quietLog)
		began := time.Now()
		if _, err := s.begin(t.Context()); !errors.Is(err, heapstore.ErrLocked) || time.Since(began) != time.Minute {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if _, err := s.begin(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("its caller left: %v", err)
		}
	})
}

func TestStore_DrainEndsWithItsContext(t *testing.T) {
	s := newOpenStore(t, filepath.Join(t.TempDir(), "heap.db"))
	end, err := s.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.drain(ctx)
}

// What cannot be waited for is told at once: an update to a provider that cannot use the store leaves the old one serving.
func TestStore_OpenFails(t *testing.T) {
	s := newStore(storeConfig{boltFile: filepath.Join(t.TempDir(), "no such folder", "heap.db")}, 0, time.Minute, quietLog)
	if opened, err := s.open(t.Context(), quietLog); opened || err == nil {
		t.Errorf("opened %t, %v", opened, err)
	}
	if err := s.close(); err != nil {
		t.Errorf("close of what was never opened: %v", err)
	}
}

func TestStore_OpenEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	newOpenStore(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if opened, err := newStore(storeConfig{boltFile: path}, 0, time.Minute, quietLog).open(ctx, quietLog); opened || err != nil {
		t.Errorf("opened %t, %v", opened, err)
	}
}
