package invoke

import (
	"sync"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// maxLine is how many callers may wait for their turn at one serial contract: each holds a connection and a body.
const maxLine = 1024

// inLine counts the callers that wait for their turn. The zero value is ready.
type inLine struct {
	mu sync.Mutex
	of map[function.Heap]int
}

// enter counts one more, or reports false if there are enough.
func (l *inLine) enter(h function.Heap) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[h] >= maxLine {
		return false
	}
	if l.of == nil {
		l.of = map[function.Heap]int{}
	}
	l.of[h]++
	return true
}

func (l *inLine) leave(h function.Heap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[h]--; l.of[h] == 0 {
		delete(l.of, h)
	}
}
