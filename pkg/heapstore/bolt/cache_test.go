package bolt

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

func cachedHeap(id string) heapstore.Heap {
	return heapstore.Heap{Ref: function.Ref{Name: "ledger", Namespace: "openfaas-fn"}, ID: id}
}

// TestCache_Order has a read and a commit of the same key take turns in every way, and one of another key's.
func TestCache_Order(t *testing.T) {
	heap := string(bucketName(cachedHeap("1")))
	for _, c := range []struct {
		order string
		kept  bool
	}{
		{"get put", true},
		{"get put hide", false},
		{"get put hide show", false},
		{"get hide put", false},
		{"get hide put show", false},
		{"get hide show put", false},
		{"hide get put", false},
		{"hide get put show", false},
		{"hide get show put", false},
		{"hide show get put", true},
		{"get put close", false},
		{"get close put", false},
		{"close get put", false},
	} {
		for what, change := range map[string]func(k *heapKeys){
			"key":  func(k *heapKeys) { k.note(heap, []byte("k")) },
			"heap": func(k *heapKeys) { k.drop(heap) },
		} {
			cache, p, since := newCache(), place{cachedHeap("1"), "k"}, uint64(0)
			for step := range strings.FieldsSeq(c.order) {
				switch step {
				case "get":
					_, since, _ = cache.get(p)
				case "put":
					cache.put(p, heapstore.Entry{Key: "k", Value: []byte("1"), Version: 1}, since)
				case "hide":
					var changed heapKeys
					change(&changed)
					cache.hide(&changed)
				case "show":
					cache.show()
				case "close":
					cache.close()
				}
			}
			if _, _, kept := cache.get(p); kept != c.kept {
				t.Errorf("%s of a %s: kept is %v", c.order, what, kept)
			}
		}
	}
}

// TestCache_Others leaves alone what a commit and a drop have nothing to do with.
func TestCache_Others(t *testing.T) {
	cache, change := newCache(), &heapKeys{}
	change.note(string(bucketName(cachedHeap("1"))), []byte("k"))
	change.drop(string(bucketName(cachedHeap("2"))))
	gone := []place{{cachedHeap("1"), "k"}, {cachedHeap("2"), "k"}, {cachedHeap("2"), "other"}}
	stay := []place{{cachedHeap("1"), "other"}, {cachedHeap("3"), "k"}}
	for _, p := range append(gone, stay...) {
		_, since, _ := cache.get(p)
		cache.put(p, heapstore.Entry{Key: p.key, Value: []byte(p.heap.ID)}, since)
	}
	cache.hide(change)
	cache.show()
	for _, p := range gone {
		if _, _, found := cache.get(p); found {
			t.Errorf("%v is there", p)
		}
	}
	for _, p := range stay {
		if e, _, found := cache.get(p); !found || e.Key != p.key || string(e.Value) != p.heap.ID {
			t.Errorf("%v is %+v, %v", p, e, found)
		}
	}
}

func TestCache_Bound(t *testing.T) {
	cache, random := newCache(), rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 2*keptBytes)
	for n := range 10_000 {
		p := place{cachedHeap("1"), fmt.Sprint("key-", n)}
		_, since, _ := cache.get(p)
		cache.put(p, heapstore.Entry{Key: p.key, Value: value[:random.IntN(len(value))]}, since)
		if n%3 == 0 {
			change := &heapKeys{}
			change.note(string(bucketName(p.heap)), []byte(fmt.Sprint("key-", n/2)))
			cache.hide(change)
			cache.show()
		}
	}
	long := place{cachedHeap("1"), "long"}
	_, since, _ := cache.get(long)
	cache.put(long, heapstore.Entry{Value: value}, since)
	if _, _, found := cache.get(long); found {
		t.Error("an entry that is too long is kept")
	}
	for i := range cache.shards {
		s, bytes := &cache.shards[i], 0
		for _, p := range s.kept.Keys() {
			e, _ := s.kept.Peek(p)
			bytes += costOf(p, e)
		}
		if bytes != s.bytes || bytes > shardBytes || bytes < shardBytes/2 {
			t.Errorf("shard %d has %d bytes, says %d, may have %d", i, bytes, s.bytes, shardBytes)
		}
		if len(s.hidden) > 0 {
			t.Errorf("shard %d still hides %v", i, s.hidden)
		}
	}
}
