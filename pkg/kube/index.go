package kube

import (
	"sync"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// index names the functions to which something can happen though nobody calls them, so that whoever looks after those does not go
// through all that rest, of which there may be a hundred thousand. It is safe for concurrent use.
type index struct {
	mu            sync.RWMutex
	up, scheduled map[function.Ref]struct{}
}

func newIndex() *index {
	return &index{up: make(map[function.Ref]struct{}), scheduled: make(map[function.Ref]struct{})}
}

// update looks at a record anew. of is called with the lock held, so that of two changes at once the later one's look comes last.
func (i *index) update(ref function.Ref, of func(function.Ref) *record) {
	i.mu.Lock()
	defer i.mu.Unlock()
	r := of(ref)
	put := func(set map[function.Ref]struct{}, is bool) {
		if is {
			set[ref] = struct{}{}
		} else {
			delete(set, ref)
		}
	}
	put(i.up, r != nil && r.fn.Replicas > 0)
	put(i.scheduled, r != nil && r.fn.Policy.Schedule != (function.Schedule{}))
}

// list finds those of a set that are there.
func (i *index) list(set map[function.Ref]struct{}, lookup func(function.Ref) (*function.Function, bool)) []*function.Function {
	i.mu.RLock()
	refs := make([]function.Ref, 0, len(set))
	for ref := range set {
		refs = append(refs, ref)
	}
	i.mu.RUnlock()
	list := make([]*function.Function, 0, len(refs))
	for _, ref := range refs {
		if f, ok := lookup(ref); ok {
			list = append(list, f)
		}
	}
	return list
}

// Up gives the functions that are to have replicas, in no order. It takes no time for others. Memory only.
func (c *Cluster) Up() []*function.Function { return c.index.list(c.index.up, c.Lookup) }

// Scheduled gives the functions that have a schedule, in no order. It takes no time for others. Memory only.
func (c *Cluster) Scheduled() []*function.Function { return c.index.list(c.index.scheduled, c.Lookup) }
