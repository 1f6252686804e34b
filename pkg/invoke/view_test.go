package invoke

import (
	"errors"
	"sync"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Requests of one invocation that write the same key at once are counted as what is left of them.
func TestView_CountsWhatIsWrittenAtOnce(t *testing.T) {
	var all views
	_, view := all.open(&function.Function{}, nil)
	write := func(key string, size int) error {
		_, err := view.Write(t.Context(), function.HeapWrite{Key: key, Value: make([]byte, size)}, nil)
		return err
	}
	var writing sync.WaitGroup
	for size := range 8 {
		writing.Go(func() {
			for range 1000 {
				if err := write("k", size*100); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	left, err := view.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if err := write("m", maxViewBytes-len("k")-len(left.Value)-len("m")); err != nil {
		t.Errorf("what there is room for: %v", err)
	}
	if err := write("n", 0); !errors.Is(err, ErrViewFull) {
		t.Errorf("one byte more than there is room for: %v", err)
	}
}
