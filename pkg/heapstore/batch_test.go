package heapstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"go.etcd.io/bbolt"
)

// disk stands for bbolt: its transactions end when the test lets them, with the outcome that the test gives.
type disk struct {
	*batcher
	outcomes chan error

	mu sync.Mutex
	// batches are the names of the changes in each transaction.
	batches [][]string
	batch   []string
}

func newDisk() *disk {
	d := &disk{outcomes: make(chan error)}
	d.batcher = newBatcher(func(fn func(*bbolt.Tx) error) error {
		d.batch = nil
		if err := fn(nil); err != nil {
			return err
		}
		d.mu.Lock()
		d.batches = append(d.batches, d.batch)
		d.mu.Unlock()
		return <-d.outcomes
	})
	return d
}

// start does a change in the background; its outcome comes from the channel.
func (d *disk) start(ctx context.Context, name string, bytes int, refusal error) <-chan error {
	outcome := make(chan error, 1)
	go func() {
		outcome <- d.do(ctx, bytes, func(*bbolt.Tx) error {
			d.batch = append(d.batch, name)
			return refusal
		})
	}()
	synctest.Wait() // until it leads a transaction or waits for one
	return outcome
}

func (d *disk) wantBatches(t *testing.T, want ...[]string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.EqualFunc(d.batches, want, slices.Equal) {
		t.Errorf("transactions of %q, want %q", d.batches, want)
	}
}

func TestBatcher_WhoeverWaitsSharesTheNextTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		first := d.start(t.Context(), "a", 0, nil)
		d.wantBatches(t, []string{"a"})
		second := d.start(t.Context(), "b", 0, nil)
		third := d.start(t.Context(), "c", 0, nil)
		d.outcomes <- nil
		synctest.Wait()
		d.wantBatches(t, []string{"a"}, []string{"b", "c"})
		d.outcomes <- nil
		if err := errors.Join(<-first, <-second, <-third); err != nil {
			t.Error(err)
		}
	})
}

func TestBatcher_FailedTransactionFailsAllInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, full, refused := newDisk(), errors.New("disk full"), errors.New("refused")
		first := d.start(t.Context(), "a", 0, nil)
		second := d.start(t.Context(), "b", 0, nil)
		third := d.start(t.Context(), "c", 0, refused)
		d.outcomes <- nil
		d.outcomes <- full
		if a, b, c := <-first, <-second, <-third; a != nil || b != full || c != refused {
			t.Errorf("outcomes %v, %v, %v", a, b, c)
		}
	})
}

func TestBatcher_RefusedAloneCostsNoTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, refused := newDisk(), errors.New("refused")
		if err := <-d.start(t.Context(), "a", 0, refused); err != refused {
			t.Errorf("outcome %v, want %v", err, refused)
		}
		d.wantBatches(t)
	})
}

func TestBatcher_LargeChangesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		var outcomes []<-chan error
		for i, bytes := range []int{0, maxBatchBytes / 2, maxBatchBytes / 2, 1, maxBatchBytes * 2, 1} {
			outcomes = append(outcomes, d.start(t.Context(), fmt.Sprint(i), bytes, nil))
		}
		for range 5 {
			d.outcomes <- nil
		}
		for _, outcome := range outcomes {
			if err := <-outcome; err != nil {
				t.Error(err)
			}
		}
		d.wantBatches(t, []string{"0"}, []string{"1", "2"}, []string{"3"}, []string{"4"}, []string{"5"})
	})
}

func TestBatcher_ContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		leads, endLeads := context.WithCancel(t.Context())
		waits, endWaits := context.WithCancel(t.Context())
		first := d.start(leads, "leads", 0, nil)
		second := d.start(waits, "waits", 0, nil)
		third := d.start(t.Context(), "stays", 0, nil)
		endWaits()
		if err := <-second; err != context.Canceled {
			t.Errorf("while waiting: %v, want context.Canceled", err)
		}
		// Too late: its transaction is under way.
		endLeads()
		d.outcomes <- nil
		d.outcomes <- nil
		if err := errors.Join(<-first, <-third); err != nil {
			t.Errorf("in the transaction: %v", err)
		}
		d.wantBatches(t, []string{"leads"}, []string{"stays"})
		if err := <-d.start(waits, "late", 0, nil); err != context.Canceled {
			t.Errorf("ended before: %v, want context.Canceled", err)
		}
	})
}

func TestBatcher_PanicHangsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		first := d.start(t.Context(), "a", 0, nil)
		leader := make(chan any)
		go func() {
			defer func() { leader <- recover() }()
			_ = d.do(t.Context(), 0, func(*bbolt.Tx) error { panic("damaged page") })
		}()
		synctest.Wait()
		third := d.start(t.Context(), "c", 0, nil)
		d.outcomes <- nil
		// Whoever came first leads.
		if cause := <-leader; cause != "damaged page" {
			t.Errorf("the leader recovers %v", cause)
		}
		if err := <-third; err != errAborted {
			t.Errorf("who shared the transaction gets %v, want %v", err, errAborted)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
		after := d.start(t.Context(), "d", 0, nil)
		d.outcomes <- nil
		if err := <-after; err != nil {
			t.Errorf("after the panic: %v", err)
		}
	})
}
