package invoke

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// defaultMaxAsyncBytes is OpenFaaS's, in its editions that say one.
	defaultMaxAsyncBytes = 1 << 20
	headerCallback       = "X-Callback-Url"
)

// Queue keeps what was accepted until it is done. The Invoker relies on what package heapstore promises of it.
type Queue interface {
	Enqueue(ctx context.Context, item function.Item, bounds function.QueueBounds) error
	Tick(ctx context.Context, item function.Item, at time.Time) error
	LastTick(ctx context.Context, h function.Heap) (time.Time, error)
	Lease(ctx context.Context, kind function.ItemKind, limit int, skip map[function.Heap]bool) ([]function.Leased, error)
	Settle(ctx context.Context, h function.Heap, lease function.Lease, s function.Settlement) error
	Line(ctx context.Context, h function.Heap) (function.Lease, error)
	Ready() <-chan struct{}
	Depths(ctx context.Context) (map[function.Heap]function.Depth, error)
}

// ServeAsync accepts one invocation of f to be made later, and answers 202 when that is on the disk. name is the function's as
// the caller wrote it. An invocation whose call id waits already is accepted and not queued again. r's headers change, as ServeContract's.
func (i *Invoker) ServeAsync(w http.ResponseWriter, r *http.Request, f *function.Function, name string) {
	if err := i.accept(w, r, f, name); err != nil {
		i.cfg.Error(w, r, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (i *Invoker) accept(w http.ResponseWriter, r *http.Request, f *function.Function, name string) error {
	if to := r.Header.Get(headerCallback); to != "" {
		if err := i.receivers.check(to); err != nil {
			return err
		}
	}
	request, body, err := i.request(w, r, i.cfg.MaxAsyncBytes)
	if err != nil {
		return err
	}
	c, err := newCall(request, body)
	if err != nil {
		return err
	}
	item, err := newQueuedCall(request, body, name).item(f, c.id)
	if err != nil {
		return err
	}
	item.Accepted = time.Now()
	item.Due = item.Accepted
	err = i.cfg.Queue.Enqueue(r.Context(), item, i.cfg.Bounds)
	if errors.Is(err, function.ErrExists) {
		return nil
	}
	return err
}
