package bolt

import (
	"cmp"
	"container/heap"
	"container/list"
	"slices"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// lines is what is in the queue, in memory: one process has the file, so that leases, turns and counts need no place in it.
// Payloads stay in the file.
type lines struct {
	mu sync.Mutex
	// entries are all that are in the file and not dead, and the callers in line, by id.
	entries map[uint64]*entry
	calls   map[callKey]*entry
	// writing are those that are about to be in the file.
	writing map[*entry]bool
	of      map[lineKey]*line
	// ring are the lines with something ready, each gives in its turn.
	ring  *list.List
	later dueHeap
	// functions have what each has, items and bytes what all have: items of invocations, bytes of messages too.
	functions map[heapstore.Heap]*held
	items     int
	bytes     int64
	// last is the highest id in the file, token that of the last lease, callers the number of the last one in line.
	last, token, callers uint64
	// ready gets a token when something has become ready.
	ready chan struct{}
	begun *begun
	ended bool
}

type lineKey struct {
	of   heapstore.Heap
	kind function.ItemKind
}

type callKey struct {
	of heapstore.Heap
	id string
}

// held is what a function has in the queue.
type held struct {
	depth heapstore.Depth
	bytes int64
	// dead are the ids of the dead letters, in order.
	dead []uint64
}

// line is the ready entries of one function and kind, in the order in which they were accepted.
type line struct {
	ready   []*entry
	running int
	at      *list.Element
}

// entry is an item, or a caller that waits for his turn.
type entry struct {
	key lineKey
	// id is the item's. A caller has callerBit set in his.
	id uint64
	// behind and number give the place in line: behind the item of that id, and there by number.
	behind, number uint64
	callID         string
	due            time.Time
	attempts       int
	serial         bool
	bytes          int64
	token          uint64
	leased         bool
	// lost is as in heapstore.Leased.
	lost int
	// durable is closed when it is known whether the item is in the file. uncounted says that the function was dropped before.
	durable   chan struct{}
	uncounted bool
	// turn is closed when the caller may go. nil for an item.
	turn chan struct{}
}

// callerBit tells callers in line from items.
const callerBit = 1 << 63

func newLines() *lines {
	return &lines{
		entries: map[uint64]*entry{}, calls: map[callKey]*entry{}, writing: map[*entry]bool{}, of: map[lineKey]*line{}, ring: list.New(),
		functions: map[heapstore.Heap]*held{}, ready: make(chan struct{}, 1),
	}
}

func (l *lines) heldLocked(h heapstore.Heap) *held {
	f := l.functions[h]
	if f == nil {
		f = &held{}
		l.functions[h] = f
	}
	return f
}

func newEntry(i heapstore.Item) *entry {
	return &entry{
		key: lineKey{i.Function, i.Kind}, id: i.ID, behind: i.ID, callID: i.CallID, due: i.Due, attempts: i.Attempts, serial: i.Serial,
		bytes: int64(len(i.Payload)),
	}
}

// reserve makes room for an invocation that is about to be written. If one with its call id is about to be written as well,
// wait is closed when it is known what came of that, and the caller is to come again.
func (l *lines) reserve(i heapstore.Item, b heapstore.QueueBounds) (e *entry, wait <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i.CallID != "" {
		if other := l.calls[callKey{i.Function, i.CallID}]; other != nil {
			select {
			case <-other.durable:
				return nil, nil, function.Existsf("an invocation with this call id waits already")
			default:
				return nil, other.durable, nil
			}
		}
	}
	e = newEntry(i)
	f := l.heldLocked(i.Function)
	if f.depth.Waiting >= b.Items || f.bytes+e.bytes > b.Bytes || l.items >= b.TotalItems || l.bytes+e.bytes > b.TotalBytes {
		return nil, nil, heapstore.ErrQueueFull
	}
	e.durable = make(chan struct{})
	l.writing[e] = true
	l.countLocked(e, 1)
	return e, nil, nil
}

// written tells what came of what reserve made room for.
func (l *lines) written(e *entry, id uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(e.durable)
	delete(l.writing, e)
	switch {
	case err != nil && !e.uncounted:
		l.countLocked(e, -1)
		return
	case err != nil:
		return
	case e.uncounted:
		l.countLocked(e, 1)
	}
	e.id, e.behind = id, id
	l.insertLocked(e)
}

// add takes in an item that is in the file.
func (l *lines) add(i heapstore.Item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := newEntry(i)
	e.durable = closed
	l.countLocked(e, 1)
	l.insertLocked(e)
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// countLocked adds an item's size to the counts, or takes it off.
func (l *lines) countLocked(e *entry, n int) {
	f := l.heldLocked(e.key.of)
	f.bytes += int64(n) * e.bytes
	l.bytes += int64(n) * e.bytes
	if e.key.kind == function.ItemMessage {
		f.depth.Messages += n
	} else {
		f.depth.Waiting += n
		l.items += n
		if e.callID != "" {
			if n > 0 {
				l.calls[callKey{e.key.of, e.callID}] = e
			} else {
				delete(l.calls, callKey{e.key.of, e.callID})
			}
		}
	}
	if f.depth == (heapstore.Depth{}) {
		delete(l.functions, e.key.of)
	}
}

// insertLocked puts an entry where it belongs by its place and its time.
func (l *lines) insertLocked(e *entry) {
	if e.id&callerBit == 0 {
		l.last = max(l.last, e.id)
	}
	l.entries[e.id] = e
	if !e.serial && e.due.After(time.Now()) {
		heap.Push(&l.later, e)
		return
	}
	l.readyLocked(e)
}

func (l *lines) readyLocked(e *entry) {
	n := l.of[e.key]
	if n == nil {
		n = &line{}
		l.of[e.key] = n
	}
	at, _ := slices.BinarySearchFunc(n.ready, e, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.behind, b.behind), cmp.Compare(a.number, b.number))
	})
	n.ready = slices.Insert(n.ready, at, e)
	if n.at == nil {
		n.at = l.ring.PushBack(e.key)
	}
	l.grantLocked(e.key, n)
}

// grantLocked gives a caller at the head of a line his turn, and forgets a line that is empty.
func (l *lines) grantLocked(key lineKey, n *line) {
	if n.running == 0 && len(n.ready) > 0 && n.ready[0].turn != nil {
		e := n.ready[0]
		n.ready = slices.Delete(n.ready, 0, 1)
		l.leaseLocked(n, e)
		close(e.turn)
	}
	if len(n.ready) > 0 {
		l.signal()
		return
	}
	if n.at != nil {
		l.ring.Remove(n.at)
		n.at = nil
	}
	if n.running == 0 {
		delete(l.of, key)
	}
}

func (l *lines) leaseLocked(n *line, e *entry) {
	l.token++
	e.leased, e.token = true, l.token
	n.running++
	if e.turn == nil {
		e.lost = l.begun.lease(e.id)
	}
}

func (l *lines) signal() {
	select {
	case l.ready <- struct{}{}:
	default: // whoever takes the token looks at everything
	}
}

// lease gives out entries that are due, one of each line before the second of any.
func (l *lines) lease(kind function.ItemKind, limit int, skip map[heapstore.Heap]bool, now time.Time) []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.later) > 0 && !l.later[0].due.After(now) {
		l.readyLocked(heap.Pop(&l.later).(*entry))
	}
	var taken []*entry
	for {
		before := len(taken)
		for range l.ring.Len() {
			if len(taken) == limit {
				return taken
			}
			at := l.ring.Front()
			if at == nil {
				break
			}
			key := at.Value.(lineKey)
			l.ring.MoveToBack(at)
			if n := l.of[key]; key.kind == kind && !skip[key.of] {
				if e := n.next(now); e != nil {
					n.ready = slices.Delete(n.ready, 0, 1)
					l.leaseLocked(n, e)
					taken = append(taken, e)
					l.grantLocked(key, n)
				}
			}
		}
		if len(taken) == before {
			return taken
		}
	}
}

// next is the entry that a line can give now, or nil.
func (n *line) next(now time.Time) *entry {
	if len(n.ready) == 0 {
		return nil
	}
	e := n.ready[0]
	if e.turn != nil || e.serial && (n.running > 0 || e.due.After(now)) {
		return nil
	}
	return e
}

// leasedEntry returns the entry of a lease, nil if that has ended.
func (l *lines) leasedEntry(lease heapstore.Lease) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[lease.ID]
	if e == nil || !e.leased || e.token != lease.Token {
		return nil
	}
	return e
}

// end ends a lease. If again is not zero, the entry goes back into its line, due by then.
func (l *lines) end(e *entry, again time.Time, attempts int, dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entries[e.id] != e || !e.leased {
		return // dropped meanwhile
	}
	delete(l.entries, e.id)
	n := l.of[e.key]
	n.running--
	e.leased = false
	switch {
	case !again.IsZero():
		l.begun.rest(e.id)
		e.due, e.attempts = again, attempts
		l.insertLocked(e)
	case e.turn == nil:
		l.begun.forget(e.id)
		if dead {
			f := l.heldLocked(e.key.of)
			at, _ := slices.BinarySearch(f.dead, e.id)
			f.dead = slices.Insert(f.dead, at, e.id)
			f.depth.Dead++
		}
		l.countLocked(e, -1)
	}
	l.grantLocked(e.key, n)
}

// bury takes in a dead letter that is in the file.
func (l *lines) bury(h heapstore.Heap, id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.heldLocked(h)
	f.dead = append(f.dead, id)
	f.depth.Dead++
	l.last = max(l.last, id)
}

// exhume forgets a dead letter.
func (l *lines) exhume(h heapstore.Heap, id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.functions[h]
	if f == nil {
		return
	}
	if at, found := slices.BinarySearch(f.dead, id); found {
		f.dead = slices.Delete(f.dead, at, at+1)
		f.depth.Dead--
	}
	if f.depth == (heapstore.Depth{}) {
		delete(l.functions, h)
	}
}

// waits reports whether an invocation with a call id waits, or is about to.
func (l *lines) waits(h heapstore.Heap, callID string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return callID != "" && l.calls[callKey{h, callID}] != nil
}

// has reports whether an item is in the file and not dead.
func (l *lines) has(id uint64) bool { return l.entries[id] != nil }

// close ends the notes of what is leased. It may be repeated.
func (l *lines) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	l.ended = true
	return l.begun.close()
}

// deadOf returns the ids of a function's dead letters, in order.
func (l *lines) deadOf(h heapstore.Heap) []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.functions[h]; f != nil {
		return slices.Clone(f.dead)
	}
	return nil
}

// drop forgets all that a function has, leases too. Callers in line get their turn, and find the heap gone.
func (l *lines) drop(h heapstore.Heap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, e := range l.entries {
		if e.key.of != h {
			continue
		}
		delete(l.entries, id)
		if e.turn == nil {
			l.begun.forget(id)
			l.countLocked(e, -1)
		} else if !e.leased {
			close(e.turn)
		}
	}
	for e := range l.writing {
		if e.key.of == h && !e.uncounted {
			e.uncounted = true
			l.countLocked(e, -1)
		}
	}
	l.later = slices.DeleteFunc(l.later, func(e *entry) bool { return e.key.of == h })
	heap.Init(&l.later)
	for _, kind := range []function.ItemKind{function.ItemInvocation, function.ItemMessage} {
		key := lineKey{h, kind}
		if n := l.of[key]; n != nil {
			if n.at != nil {
				l.ring.Remove(n.at)
			}
			delete(l.of, key)
		}
	}
	delete(l.functions, h)
}

// enter puts a caller in line.
func (l *lines) enter(h heapstore.Heap) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.callers++
	e := &entry{
		key: lineKey{h, function.ItemInvocation}, id: callerBit | l.callers, behind: l.last, number: l.callers, serial: true,
		turn: make(chan struct{}),
	}
	l.insertLocked(e)
	return e
}

// leave takes a caller out of the line. It reports false if he has his turn already.
func (l *lines) leave(e *entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.leased || l.entries[e.id] != e {
		return false
	}
	delete(l.entries, e.id)
	n := l.of[e.key]
	n.ready = slices.DeleteFunc(n.ready, func(other *entry) bool { return other == e })
	l.grantLocked(e.key, n)
	return true
}

func (l *lines) depths() map[heapstore.Heap]heapstore.Depth {
	l.mu.Lock()
	defer l.mu.Unlock()
	depths := make(map[heapstore.Heap]heapstore.Depth, len(l.functions))
	for h, f := range l.functions {
		depths[h] = f.depth
	}
	return depths
}

// dueHeap has the entry that is due first on top. It is a heap.Interface.
type dueHeap []*entry

func (d dueHeap) Len() int           { return len(d) }
func (d dueHeap) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d dueHeap) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *dueHeap) Push(x any)        { *d = append(*d, x.(*entry)) }
func (d *dueHeap) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}
