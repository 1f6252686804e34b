package heapstore

import (
	"fmt"
	"unicode/utf8"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Limits of every store.
const (
	// MaxKeyBytes and MaxValueBytes bound one key and its value.
	MaxKeyBytes   = 1 << 10
	MaxValueBytes = 1 << 20
	// DefaultQuotaBytes bounds a heap whose contract and provider name no quota.
	DefaultQuotaBytes = 64 << 20
	// DefaultListLimit and MaxListLimit bound the keys that List returns at once.
	DefaultListLimit = 100
	MaxListLimit     = 1000
)

// Heap and Write are the domain's words under the names that a caller of a store looks for.
type (
	Heap  = function.Heap
	Write = function.HeapWrite
)

// checkWrites refuses keys and values that no heap may have.
func checkWrites(writes []Write) error {
	for _, w := range writes {
		switch {
		case w.Key == "":
			return fmt.Errorf("%w: a key has at least one byte", ErrBadKey)
		case len(w.Key) > MaxKeyBytes:
			return fmt.Errorf("%w: %.40q... has %d bytes; at most %d are allowed", ErrKeyTooLarge, w.Key, len(w.Key), MaxKeyBytes)
		case !utf8.ValidString(w.Key):
			return fmt.Errorf("%w: %.40q is not UTF-8", ErrBadKey, w.Key)
		case len(w.Value) > MaxValueBytes:
			return fmt.Errorf("%w: the value of %.40q has %d bytes; at most %d are allowed", ErrValueTooLarge, w.Key, len(w.Value), MaxValueBytes)
		}
	}
	return nil
}

// listLimit brings the number of keys asked for into the bounds.
func listLimit(limit int) int {
	if limit <= 0 {
		return DefaultListLimit
	}
	return min(limit, MaxListLimit)
}
