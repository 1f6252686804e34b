package bolt

import (
	"sync"
	"sync/atomic"
)

// overlay is what pending groups have put and deleted: what is durable and shows in none of bbolt's transactions yet. Whoever reads a
// key looks here first, and in bbolt then: a flush lets go of this only when bbolt has it. The zero value is empty, and it is safe for
// concurrent use.
type overlay struct {
	mu   sync.RWMutex
	root layer
	any  atomic.Bool
}

// layer is what was changed in a bucket and in those in it. nil is one without changes.
type layer struct {
	// keys has nil for a key that was deleted.
	keys   map[string][]byte
	layers map[string]*layer
}

// touch is a key of a bucket that a group has put or, with nil, deleted.
type touch struct {
	in         *bucket
	key, value []byte
}

// publish lets all see what a group has done. It keeps the values.
func (o *overlay) publish(touched []touch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range touched {
		l := t.in.layerIn(&o.root)
		if l.keys == nil {
			l.keys = map[string][]byte{}
		}
		l.keys[string(t.key)] = t.value
	}
	o.any.Store(len(o.root.layers) > 0)
}

// clear forgets everything, since bbolt has it.
func (o *overlay) clear() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.root = layer{}
	o.any.Store(false)
}

// get tells what a key of the bucket at a path holds, nil if it was deleted; held is false if bbolt is to be asked. The value must not be
// changed.
func (o *overlay) get(key []byte, path ...[]byte) (value []byte, held bool) {
	if !o.any.Load() {
		return nil, false
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.root.at(path...).get(key)
}

func (l *layer) at(path ...[]byte) *layer {
	for _, name := range path {
		if l == nil {
			return nil
		}
		l = l.layers[string(name)]
	}
	return l
}

func (l *layer) get(key []byte) (value []byte, held bool) {
	if l == nil {
		return nil, false
	}
	value, held = l.keys[string(key)]
	return value, held
}

// layerIn is the layer of a bucket.
func (b *bucket) layerIn(root *layer) *layer {
	if b.parent == nil {
		return root
	}
	if b.layer == nil {
		parent := b.parent.layerIn(root)
		if b.layer = parent.layers[b.name]; b.layer == nil {
			if parent.layers == nil {
				parent.layers = map[string]*layer{}
			}
			b.layer = &layer{}
			parent.layers[b.name] = b.layer
		}
	}
	return b.layer
}
