package scaler

import (
	"context"
	"sync"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// turns gives one holder at a time the right to change a function's replicas.
type turns struct {
	mu sync.Mutex
	// of holds the turns that are taken or waited for.
	of map[function.Ref]*turn
}

type turn struct {
	// free holds one token while nobody has the turn.
	free chan struct{}
	// users is how many have it or wait for it.
	users int
}

// taken reports whether somebody has, or is about to have, a function's turn.
func (t *turns) taken(ref function.Ref) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of[ref] != nil
}

// take waits for a function's turn. The caller gives it back by calling done.
func (t *turns) take(ctx context.Context, ref function.Ref) (done func(), err error) {
	mine := t.join(ref)
	select {
	case <-mine.free:
		return func() {
			mine.free <- struct{}{}
			t.leave(ref, mine)
		}, nil
	case <-ctx.Done():
		t.leave(ref, mine)
		return nil, ctx.Err()
	}
}

func (t *turns) join(ref function.Ref) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.of[ref]
	if mine == nil {
		mine = &turn{free: make(chan struct{}, 1)}
		mine.free <- struct{}{}
		t.of[ref] = mine
	}
	mine.users++
	return mine
}

func (t *turns) leave(ref function.Ref, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.users--; mine.users == 0 {
		delete(t.of, ref)
	}
}
