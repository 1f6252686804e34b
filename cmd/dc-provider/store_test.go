package main

import (
	"context"
	"errors"
	"fmt"
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
	s := newStore(config{store: storeConfig{boltFile: path}, wakeTimeout: time.Minute}, quietLog)
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

	next := newStore(config{store: storeConfig{boltFile: path}, wakeTimeout: time.Minute}, quietLog)
	opened := make(chan error, 1)
	go func() {
		_, err := next.open(t.Context(), quietLog)
		opened <- err
	}()
	read := make(chan error, 1)
	go func() {
		value, err := next.Get(t.Context(), heap, "key")
		if err == nil && string(value.Value) != "1" {
			err = errors.New("read " + string(value.Value))
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
		s := newStore(config{store: storeConfig{boltFile: "never opened"}, wakeTimeout: time.Minute}, quietLog)
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

// TestStore_CallRetention has answers kept for as long as the flag says: the newest stays, one that is too old goes with the
// next commit.
func TestStore_CallRetention(t *testing.T) {
	for name, test := range map[string]struct {
		flag string
		kept bool
	}{
		"shorter than the time between two calls": {"--call-retention=1ns", false},
		"longer": {"--call-retention=1h", true},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := parseConfig([]string{test.flag, "--store=bolt:" + filepath.Join(t.TempDir(), "heap.db")}, noEnv, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			s := newStore(c, quietLog)
			if opened, err := s.open(t.Context(), quietLog); !opened || err != nil {
				t.Fatalf("open the store: %t, %v", opened, err)
			}
			defer func() {
				if err := s.close(); err != nil {
					t.Error(err)
				}
			}()
			heap := newFunction(true).Heap()
			if err := s.Create(t.Context(), heap); err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"first", "second"} {
				if err := s.Commit(t.Context(), heap, heapstore.Commit{CallID: id}); err != nil {
					t.Fatal(err)
				}
			}
			for id, want := range map[string]bool{"first": test.kept, "second": true} {
				if _, found, err := s.Recorded(t.Context(), heap, id); err != nil || found != want {
					t.Errorf("call %q is recorded: %t, %v, want %t", id, found, err, want)
				}
			}
		})
	}
}

// What cannot be waited for is told at once: an update to a provider that cannot use the store leaves the old one serving.
func TestStore_OpenFails(t *testing.T) {
	s := newStore(config{store: storeConfig{boltFile: filepath.Join(t.TempDir(), "no such folder", "heap.db")}, wakeTimeout: time.Minute}, quietLog)
	if opened, err := s.open(t.Context(), quietLog); opened || err == nil {
		t.Errorf("opened %t, %v", opened, err)
	}
	if err := s.close(); err != nil {
		t.Errorf("close of what was never opened: %v", err)
	}
}

// A database that is away when the provider starts is waited for, and contracts' callers are told that it is: to end would take the
// functions that are no contracts along.
func TestStore_OpenWaitsForADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	s := newStore(config{store: storeConfig{boltFile: path}, wakeTimeout: time.Millisecond}, quietLog)
	there, tried := make(chan struct{}), make(chan struct{})
	openFile := s.openOnce
	s.openOnce = func(ctx context.Context) (heapstore.Store, error) {
		select {
		case <-there:
			return openFile(ctx)
		case tried <- struct{}{}:
		case <-ctx.Done():
		}
		return nil, fmt.Errorf("open heap store: %w", heapstore.ErrUnavailable)
	}
	opened := make(chan error, 1)
	go func() {
		_, err := s.open(t.Context(), quietLog)
		opened <- err
	}()
	for range 2 { // of which the first has been answered by then
		select {
		case <-tried:
		case err := <-opened:
			t.Fatalf("opening has ended: %v", err)
		}
	}
	if _, err := s.begin(t.Context()); !errors.Is(err, heapstore.ErrUnavailable) {
		t.Errorf("a contract's caller is told: %v", err)
	}
	close(there)
	for waiting := true; waiting; {
		select {
		case <-tried: // it may have had the choice
		case err := <-opened:
			if err != nil {
				t.Fatal(err)
			}
			waiting = false
		}
	}
	if end, err := s.begin(t.Context()); err != nil {
		t.Error(err)
	} else {
		end()
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func TestStore_OpenEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heap.db")
	newOpenStore(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if opened, err := newStore(config{store: storeConfig{boltFile: path}, wakeTimeout: time.Minute}, quietLog).open(ctx, quietLog); opened || err != nil {
		t.Errorf("opened %t, %v", opened, err)
	}
}
