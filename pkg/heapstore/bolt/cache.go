package bolt

import (
	"hash/maphash"
	"math"
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

const (
	cacheShards = 32
	// shardBytes bounds what a shard keeps: 16 MiB in all.
	shardBytes = 512 << 10
	// keptBytes is the longest entry that is kept: to copy a longer one takes longer than to look it up.
	keptBytes = 32 << 10
	// keptCost is about what an entry takes beside its texts, in the map and in the list.
	keptCost = 400
)

// cache keeps entries of heaps that were read lately, since bbolt takes some microseconds and a dozen allocations for each: see heap/get in
// bench. It gives what a read of the file would give, and never an entry that somebody may have seen a later one of:
//
//	commit   durable ─► hide ─► visible in the file ─► show
//	read     get: not there, and since when ─► read of the file ─► put: refused if hidden, or shown since
//
// So an entry that was read before a commit was visible is put before its hide, which takes it out again, or not at all.
//
// It is safe for concurrent use. One transaction at a time hides and shows.
type cache struct {
	seed   maphash.Seed
	shards [cacheShards]shard
	// hiding is between a hide and its show.
	hiding heapKeys
}

// place is a key of a heap.
type place struct {
	heap heapstore.Heap
	key  string
}

type shard struct {
	mu    sync.Mutex
	kept  *simplelru.LRU[place, heapstore.Entry]
	bytes int
	// shown counts what may have made a read old that is under way.
	shown uint64
	// hidden are being written, and so are all if shut is set.
	hidden map[place]struct{}
	shut   bool
}

func newCache() *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		s := &c.shards[i]
		s.hidden = map[place]struct{}{}
		// Bytes bound it, and not this size. The error is that of one that is not positive.
		s.kept, _ = simplelru.NewLRU(math.MaxInt, func(p place, e heapstore.Entry) { s.bytes -= costOf(p, e) })
	}
	return c
}

func costOf(p place, e heapstore.Entry) int {
	return keptCost + len(p.key) + len(e.Value) + len(e.CallID)
}

func (c *cache) shardOf(p place) *shard {
	return &c.shards[(maphash.String(c.seed, p.key)^maphash.String(c.seed, p.heap.ID))%cacheShards]
}

// get returns an entry, which is the caller's to keep, or what to tell put.
func (c *cache) get(p place) (entry heapstore.Entry, since uint64, found bool) {
	s := c.shardOf(p)
	s.mu.Lock()
	entry, found = s.kept.Get(p)
	since = s.shown
	s.mu.Unlock()
	if found {
		entry.Value = append([]byte{}, entry.Value...) // nobody changes what it was made of
	}
	return entry, since, found
}

// put keeps an entry that was read from the file since get has told so, if it is sure to be the last. The caller keeps its own.
func (c *cache) put(p place, entry heapstore.Entry, since uint64) {
	cost := costOf(p, entry)
	if cost > keptBytes {
		return
	}
	entry.Value = append([]byte{}, entry.Value...)
	s := c.shardOf(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, hidden := s.hidden[p]; hidden || s.shut || s.shown != since || s.kept.Contains(p) {
		return
	}
	s.kept.Add(p, entry)
	for s.bytes += cost; s.bytes > shardBytes; {
		s.kept.RemoveOldest()
	}
}

// heapKeys are keys of heaps, and heaps that are dropped.
type heapKeys struct {
	places  []place
	dropped []heapstore.Heap
}

// note notes a key of the heap whose bucket has that name, drop the whole heap.
func (k *heapKeys) note(bucket string, key []byte) {
	k.places = append(k.places, place{heapNamed(bucket), string(key)})
}

func (k *heapKeys) drop(bucket string) { k.dropped = append(k.dropped, heapNamed(bucket)) }

func (k *heapKeys) reset() {
	const keep = 4 << 10
	clear(k.places)
	if cap(k.places) > keep {
		k.places = nil
	}
	k.places, k.dropped = k.places[:0], nil
}

// heapNamed undoes bucketName.
func heapNamed(name string) (h heapstore.Heap) {
	h.Namespace, name, _ = strings.Cut(name, "/")
	h.Name, h.ID, _ = strings.Cut(name, "/")
	return h
}

// hide takes out what a transaction is about to change, and keeps it out until show. It comes before anybody can see the change, and leaves
// changed empty.
func (c *cache) hide(changed *heapKeys) {
	c.hiding, *changed = *changed, c.hiding
	for _, p := range c.hiding.places {
		s := c.shardOf(p)
		s.mu.Lock()
		s.kept.Remove(p)
		s.hidden[p] = struct{}{}
		s.mu.Unlock()
	}
	for _, h := range c.hiding.dropped {
		c.shut(func(p place) bool { return p.heap == h })
	}
}

// show ends a hide. It comes when the change can be seen by all who read from now on, or by nobody ever, and before anybody is told that it
// is made. Without a hide it does nothing.
func (c *cache) show() {
	defer c.hiding.reset()
	for _, p := range c.hiding.places {
		s := c.shardOf(p)
		s.mu.Lock()
		delete(s.hidden, p)
		s.shown++
		s.mu.Unlock()
	}
	if len(c.hiding.dropped) == 0 {
		return
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.shut = false
		s.shown++
		s.mu.Unlock()
	}
}

// shut takes out all that out tells, and keeps everything out until show.
func (c *cache) shut(out func(place) bool) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.shut = true
		for _, p := range s.kept.Keys() {
			if out(p) {
				s.kept.Remove(p)
			}
		}
		s.mu.Unlock()
	}
}

// close ends it: nothing is found from now on.
func (c *cache) close() { c.shut(func(place) bool { return true }) }
