package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// disk stands for a driver: its transactions end when the test lets them, with the outcome that the test gives.
type disk struct {
	*Batcher[write]
	outcomes chan error

	mu sync.Mutex
	// batches are the names of the changes in each transaction.
	batches [][]string
}

type write struct {
	name    string
	refusal error
	panics  any
}

func newDisk() *disk {
	d := &disk{outcomes: make(chan error)}
	d.Batcher = NewBatcher(func(batch []write, refused []error) error {
		var names []string
		for i, w := range batch {
			if w.panics != nil {
				panic(w.panics)
			}
			names = append(names, w.name)
			refused[i] = w.refusal
		}
		d.mu.Lock()
		d.batches = append(d.batches, names)
		d.mu.Unlock()
		return <-d.outcomes
	})
	return d
}

// start does a change in the background; its outcome comes from the channel.
func (d *disk) start(ctx context.Context, name string, size Size, refusal error) <-chan error {
	outcome := make(chan error, 1)
	go func() { outcome <- d.Do(ctx, size, write{name: name, refusal: refusal}) }()
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
		first := d.start(t.Context(), "a", Size{}, nil)
		d.wantBatches(t, []string{"a"})
		second := d.start(t.Context(), "b", Size{}, nil)
		third := d.start(t.Context(), "c", Size{}, nil)
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
		first := d.start(t.Context(), "a", Size{}, nil)
		second := d.start(t.Context(), "b", Size{}, nil)
		third := d.start(t.Context(), "c", Size{}, refused)
		d.outcomes <- nil
		d.outcomes <- full
		if a, b, c := <-first, <-second, <-third; a != nil || b != full || c != refused {
			t.Errorf("outcomes %v, %v, %v", a, b, c)
		}
	})
}

func TestBatcher_LargeChangesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		var outcomes []<-chan error
		for i, size := range []Size{
			{}, {1, maxBatchBytes / 2}, {1, maxBatchBytes / 2}, {1, 1}, {1, maxBatchBytes * 2}, {1, 1},
			{maxBatchWrites - 1, 0}, {1, 0}, {maxBatchWrites * 2, 0}, {1, 0},
		} {
			outcomes = append(outcomes, d.start(t.Context(), fmt.Sprint(i), size, nil))
		}
		for range 8 {
			d.outcomes <- nil
		}
		for _, outcome := range outcomes {
			if err := <-outcome; err != nil {
				t.Error(err)
			}
		}
		d.wantBatches(t, []string{"0"}, []string{"1", "2"}, []string{"3"}, []string{"4"},
			[]string{"5", "6"}, []string{"7"}, []string{"8"}, []string{"9"})
	})
}

func TestBatcher_ContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		leads, endLeads := context.WithCancel(t.Context())
		waits, endWaits := context.WithCancel(t.Context())
		first := d.start(leads, "leads", Size{}, nil)
		second := d.start(waits, "waits", Size{}, nil)
		third := d.start(t.Context(), "stays", Size{}, nil)
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
		if err := <-d.start(waits, "late", Size{}, nil); err != context.Canceled {
			t.Errorf("ended before: %v, want context.Canceled", err)
		}
	})
}

func TestBatcher_PanicHangsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		first := d.start(t.Context(), "a", Size{}, nil)
		leader := make(chan any)
		go func() {
			defer func() { leader <- recover() }()
			_ = d.Do(t.Context(), Size{}, write{panics: "damaged page"})
		}()
		synctest.Wait()
		third := d.start(t.Context(), "c", Size{}, nil)
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
		after := d.start(t.Context(), "d", Size{}, nil)
		d.outcomes <- nil
		if err := <-after; err != nil {
			t.Errorf("after the panic: %v", err)
		}
	})
}
