package driver

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// CheckHeap refuses a heap whose name could be read in two ways.
func CheckHeap(h heapstore.Heap) error {
	for _, part := range []string{h.Namespace, h.Name, h.ID} {
		if part == "" || strings.Contains(part, "/") {
			return function.Invalidf("heap %q of record %q: namespace, name and record are needed and contain no slash", h.Ref, h.ID)
		}
	}
	return nil
}

// CheckWrites refuses keys and values that no heap may have.
func CheckWrites(writes []heapstore.Write) error {
	for _, w := range writes {
		if err := heapstore.CheckKey(w.Key); err != nil {
			return err
		}
		if len(w.Value) > heapstore.MaxValueBytes {
			return fmt.Errorf("%w: the value of %.40q has %d bytes; at most %d are allowed", heapstore.ErrValueTooLarge, w.Key, len(w.Value), heapstore.MaxValueBytes)
		}
	}
	return nil
}

// Writer is the call id that a commit leaves with the keys that it writes.
func Writer(c heapstore.Commit) string {
	if c.Writer != "" {
		return c.Writer
	}
	return c.CallID
}

// CheckCondition refuses a commit one of whose conditions does not hold for the key's version, 0 if it is absent.
func CheckCondition(c heapstore.Condition, version uint64) error {
	if c.Holds(version) {
		return nil
	}
	return fmt.Errorf("%w: %.40q", heapstore.ErrCondition, c.Key)
}

// LastWrites sorts a copy of writes by key, drops those that a later one replaces, and sums up the rest.
func LastWrites(writes []heapstore.Write) (last []heapstore.Write, bytes int) {
	last = slices.Clone(writes)
	slices.SortStableFunc(last, func(a, b heapstore.Write) int { return strings.Compare(a.Key, b.Key) })
	n := 0
	for i, w := range last {
		if i+1 < len(last) && last[i+1].Key == w.Key {
			continue
		}
		if w.Delete {
			w.Value = nil
		}
		last[n] = w
		n++
		bytes += len(w.Key) + len(w.Value)
	}
	return last[:n], bytes
}

// CheckQuota refuses a commit that makes a heap of before bytes one of after bytes, if it grows beyond the quota.
func CheckQuota(before, after, quotaBytes int64) error {
	if after > quotaBytes && after > before {
		return fmt.Errorf("%w: the heap would have %d bytes; at most %d are allowed", heapstore.ErrQuota, after, quotaBytes)
	}
	return nil
}

// ListLimit brings the number of keys asked for into the bounds.
func ListLimit(limit int) int {
	if limit <= 0 {
		return heapstore.DefaultListLimit
	}
	return min(limit, heapstore.MaxListLimit)
}

// Wrap says what was being done to which heap.
func Wrap(doing string, h heapstore.Heap, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %q: %w", doing, h.Ref, err)
}
