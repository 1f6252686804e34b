package invoke

import (
	"context"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// depths is what was in the queue a moment ago.
type depths struct {
	mu sync.Mutex
	at time.Time
	of map[function.Heap]function.Depth
}

// refresh asks the queue, unless it was asked a moment ago.
func (d *depths) refresh(ctx context.Context, from Queue, now time.Time) {
	d.mu.Lock()
	old := now.Sub(d.at) >= depthEvery
	d.mu.Unlock()
	if !old {
		return
	}
	of, err := from.Depths(ctx)
	if err != nil {
		return // what is known stays, and is asked for again soon
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.of = now, of
}

// Depth tells what of a function was in the queue a second ago or less, without asking the store. It is zero before Run.
func (i *Invoker) Depth(h function.Heap) function.Depth {
	i.depths.mu.Lock()
	defer i.depths.mu.Unlock()
	return i.depths.of[h]
}

// Depths is Depth of all functions that had something there. Nobody may write to it.
func (i *Invoker) Depths() map[function.Heap]function.Depth {
	i.depths.mu.Lock()
	defer i.depths.mu.Unlock()
	return i.depths.of
}
