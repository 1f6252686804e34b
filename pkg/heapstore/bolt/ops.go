package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// What a record of the log is made of: operations, each a byte that says which, followed by what is told here. Numbers are uvarints;
// keys, values and names have their length before them. A bucket is told by its number in the record: 0 is the root, the others are
// counted from 1 in the order in which opOpen and opCreate name them.
const (
	opOpen     = 1 + iota // parent, name: of a bucket that is there
	opCreate              // parent, name: of one that is made
	opDrop                // parent, name: of one that is deleted, with all that is in it
	opPut                 // bucket, key, value
	opDelete              // bucket, key
	opSequence            // bucket, number
)

// errOps is the error of a record that is whole and yet cannot be done again.
var errOps = errors.New("a record of the log is not understood")

// change is a group in the making: what one record of the log does, in a transaction that may have had others before. What is written
// through its buckets is noted, so that it can be done again: all that this package writes goes that way.
type change struct {
	tx   *bbolt.Tx
	root bucket
	// ops has room for a frame, and behind it what was done.
	ops []byte
	// written is what was written in heaps, for the cache.
	written heapKeys
	touched []touch
	// record tells the group from the others of the transaction. numbers is how many buckets it has named.
	record, numbers uint64
	// shapes is set when a bucket was made or deleted, drops when one was deleted.
	shapes, drops bool
}

func (c *change) begin(tx *bbolt.Tx) {
	if c.tx != tx {
		c.tx, c.root = tx, bucket{of: c}
	}
	c.ops, c.touched = append(c.ops[:0], make([]byte, frameBytes)...), c.touched[:0]
	c.record++
	c.numbers, c.shapes, c.drops = 0, false, false
}

// end lets go of the transaction, and of the memory that a large one needed.
func (c *change) end() {
	const keep, keepKeys = 4 << 20, 16 << 10
	c.tx, c.root = nil, bucket{}
	c.written.reset()
	if cap(c.ops) > keep {
		c.ops = nil
	}
	clear(c.touched[:cap(c.touched)])
	if cap(c.touched) > keepKeys {
		c.touched = nil
	}
}

func (c *change) empty() bool { return len(c.ops) == frameBytes }

func (c *change) heaps() *bucket { return c.top(heapsBucket) }
func (c *change) calls() *bucket { return c.top(callsBucket) }
func (c *change) queue() *bucket { return c.top(queueBucket) }
func (c *change) ticks() *bucket { return c.top(ticksBucket) }

// top is a bucket of the root, of those that prepare made.
func (c *change) top(name []byte) *bucket {
	if found := c.root.children[string(name)]; found != nil {
		return found
	}
	return c.root.adopt(name, c.tx.Bucket(name))
}

// bucket is one of bbolt's, whose changes are noted.
type bucket struct {
	bare   *bbolt.Bucket
	of     *change
	parent *bucket
	name   string
	// number is the bucket's in the record in which it was named last.
	number, record uint64
	children       map[string]*bucket
	// layer is the overlay's, once it is known.
	layer *layer
}

func (b *bucket) adopt(name []byte, bare *bbolt.Bucket) *bucket {
	if b.children == nil {
		b.children = map[string]*bucket{}
	}
	child := &bucket{bare: bare, of: b.of, parent: b, name: string(name)}
	b.children[child.name] = child
	return child
}

// Get is bbolt's, as are the others.
func (b *bucket) Get(key []byte) []byte { return b.bare.Get(key) }
func (b *bucket) Sequence() uint64      { return b.bare.Sequence() }
func (b *bucket) First() (k, v []byte)  { return b.bare.Cursor().First() }
func (b *bucket) Delete(key []byte) error {
	if err := b.bare.Delete(key); err != nil {
		return err
	}
	b.touch(b.note(opDelete, key), nil)
	b.noteWritten(key)
	return nil
}

// Put keeps the value, which must not be changed any more.
func (b *bucket) Put(key, value []byte) error {
	if err := b.bare.Put(key, value); err != nil {
		return err
	}
	b.touch(b.note(opPut, key), value)
	b.of.ops = appendBytes(b.of.ops, value)
	b.noteWritten(key)
	return nil
}

func (b *bucket) SetSequence(n uint64) error {
	if err := b.bare.SetSequence(n); err != nil {
		return err
	}
	number := b.ref()
	b.of.ops = binary.AppendUvarint(binary.AppendUvarint(append(b.of.ops, opSequence), number), n)
	return nil
}

func (b *bucket) NextSequence() (uint64, error) {
	n := b.Sequence() + 1
	return n, b.SetSequence(n)
}

// Bucket returns nil if there is none.
func (b *bucket) Bucket(name []byte) *bucket {
	if found := b.children[string(name)]; found != nil {
		return found
	}
	if bare := b.bare.Bucket(name); bare != nil {
		return b.adopt(name, bare)
	}
	return nil
}

func (b *bucket) CreateBucketIfNotExists(name []byte) (*bucket, error) {
	if found := b.Bucket(name); found != nil {
		return found, nil
	}
	bare, err := b.bare.CreateBucket(name)
	if err != nil {
		return nil, err
	}
	child := b.adopt(name, bare)
	b.note(opCreate, name)
	b.of.count(child)
	b.of.shapes = true
	return child, nil
}

func (b *bucket) DeleteBucket(name []byte) error {
	if err := b.bare.DeleteBucket(name); err != nil {
		return err
	}
	delete(b.children, string(name))
	b.note(opDrop, name)
	b.of.shapes, b.of.drops = true, true
	if b == b.of.heaps() {
		b.of.written.drop(string(name))
	}
	return nil
}

// noteWritten notes a key for the cache, if b is a heap.
func (b *bucket) noteWritten(key []byte) {
	if b.parent == b.of.heaps() {
		b.of.written.note(b.name, key)
	}
}

// note begins an operation on b. It returns the key as it is noted, which stays as it is until the group ends.
func (b *bucket) note(op byte, key []byte) []byte {
	number := b.ref() // which may note something itself
	b.of.ops = appendBytes(binary.AppendUvarint(append(b.of.ops, op), number), key)
	return b.of.ops[len(b.of.ops)-len(key):]
}

func (b *bucket) touch(key, value []byte) { b.of.touched = append(b.of.touched, touch{b, key, value}) }

// ref is the bucket's number in the record.
func (b *bucket) ref() uint64 {
	if b.parent != nil && b.record != b.of.record {
		b.parent.note(opOpen, []byte(b.name))
		b.of.count(b)
	}
	return b.number
}

func (c *change) count(b *bucket) {
	c.numbers++
	b.number, b.record = c.numbers, c.record
}

func appendBytes(to, b []byte) []byte {
	return append(binary.AppendUvarint(to, uint64(len(b))), b...)
}

// redo does again what a record says. ops must stay as they are until the transaction has ended.
func redo(tx *bbolt.Tx, ops []byte) error {
	r := opsReader{rest: ops}
	// The first is the root, which holds buckets alone, and those are there.
	buckets := []*redone{{}}
	for len(r.rest) > 0 && !r.failed {
		op := r.rest[0]
		r.rest = r.rest[1:]
		n := r.number()
		if n >= uint64(len(buckets)) || buckets[n].gone || n == 0 && op != opOpen {
			return errOps
		}
		b, key, err := buckets[n], []byte(nil), error(nil)
		if op != opSequence {
			key = r.bytes()
		}
		if r.failed {
			break
		}
		switch op {
		case opOpen, opCreate:
			var child *redone
			if child, err = b.child(tx, n == 0, op == opCreate, key); err == nil {
				buckets = append(buckets, child)
			}
		case opDrop:
			if err = b.bare.DeleteBucket(key); err == nil {
				if child := b.children[string(key)]; child != nil {
					child.forget()
					delete(b.children, string(key))
				}
			}
		case opPut:
			if value := r.bytes(); !r.failed {
				err = b.bare.Put(key, value)
			}
		case opDelete:
			err = b.bare.Delete(key)
		case opSequence:
			if to := r.number(); !r.failed {
				err = b.bare.SetSequence(to)
			}
		default:
			err = fmt.Errorf("operation %d", op)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errOps, err)
		}
	}
	if r.failed {
		return errOps
	}
	return nil
}

// redone is a bucket that a record has named.
type redone struct {
	bare     *bbolt.Bucket
	children map[string]*redone
	// gone is set when it was deleted.
	gone bool
}

// child names one more bucket, which must not be named already.
func (b *redone) child(tx *bbolt.Tx, root, create bool, name []byte) (child *redone, err error) {
	if b.children[string(name)] != nil {
		return nil, fmt.Errorf("bucket %q a second time", name)
	}
	child = &redone{}
	switch {
	case create:
		if child.bare, err = b.bare.CreateBucket(name); err != nil {
			return nil, err
		}
	case root:
		child.bare = tx.Bucket(name)
	default:
		child.bare = b.bare.Bucket(name)
	}
	if child.bare == nil {
		return nil, fmt.Errorf("no bucket %q", name)
	}
	if b.children == nil {
		b.children = map[string]*redone{}
	}
	b.children[string(name)] = child
	return child, nil
}

// forget marks a bucket as deleted, with all that were in it.
func (b *redone) forget() {
	b.gone = true
	for _, child := range b.children {
		child.forget()
	}
}

// opsReader reads a record. What it returns after it has failed means nothing.
type opsReader struct {
	rest   []byte
	failed bool
}

func (r *opsReader) number() uint64 {
	n, length := binary.Uvarint(r.rest)
	if length <= 0 {
		r.failed, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[length:]
	return n
}

func (r *opsReader) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.failed, r.rest = true, nil
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}
