package heapstoretest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// modelSteps is how many random operations one seed makes.
const modelSteps = 600

// modelCalls is how many call ids there are.
const modelCalls = 40

// testModel compares a store with a map. The last seed is new at every run; it is printed when the comparison fails.
func testModel(t *testing.T, d Driver) {
	for _, seed := range []uint64{1, 2, uint64(time.Now().UnixNano())} {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			m := &model{
				t: t, driver: d, folder: t.TempDir(), random: rand.New(rand.NewPCG(seed, 0)),
				heaps: map[function.Heap]map[string]string{}, calls: map[function.Heap]map[string]byte{},
			}
			m.reopen()
			defer m.close()
			for range modelSteps {
				m.step()
			}
			m.compare()
		})
	}
}

// model is a store and the map it has to agree with.
type model struct {
	t      *testing.T
	driver Driver
	folder string
	random *rand.Rand
	store  heapstore.Store
	heaps  map[function.Heap]map[string]string
	// calls has, of each call id that has taken effect, a number that is in its record.
	calls map[function.Heap]map[string]byte
}

func (m *model) step() {
	h := heap(fmt.Sprintf("f%d", m.random.IntN(3)), fmt.Sprint(m.random.IntN(2)))
	switch n := m.random.IntN(100); {
	case n < 50:
		m.commit(h)
	case n < 60:
		m.commitAtOnce(h)
	case n < 70:
		m.get(h)
	case n < 75:
		m.recorded(h, m.callID())
	case n < 85:
		m.list(h)
	case n < 92:
		m.check("create", m.store.Create(m.t.Context(), h), nil)
		if m.heaps[h] == nil {
			m.heaps[h], m.calls[h] = map[string]string{}, map[string]byte{}
		}
	case n < 97:
		m.check("drop", m.store.Drop(m.t.Context(), h), nil)
		delete(m.heaps, h)
		delete(m.calls, h)
	default:
		m.close()
		m.reopen()
		m.compare()
	}
}

// commit makes random writes, some of them refused, and applies them to the map if the store must take them.
func (m *model) commit(h function.Heap) {
	var batch []function.HeapWrite
	var want error
	for range m.random.IntN(6) {
		w := function.HeapWrite{Key: m.key(), Value: m.value()}
		switch m.random.IntN(60) {
		case 0:
			w.Key = strings.Repeat("k", heapstore.MaxKeyBytes+1)
			want = firstError(want, heapstore.ErrKeyTooLarge)
		case 1:
			w.Value = make([]byte, heapstore.MaxValueBytes+1)
			want = firstError(want, heapstore.ErrValueTooLarge)
		}
		w.Delete = m.random.IntN(6) == 0 && len(w.Value) <= heapstore.MaxValueBytes
		batch = append(batch, w)
	}
	c := function.Commit{Writes: batch, QuotaBytes: int64(1 + m.random.IntN(100_000))}
	holds := true
	if m.heaps[h] != nil && m.random.IntN(4) == 0 {
		var condition function.HeapCondition
		condition, holds = m.condition(h)
		c.Conditions = append(c.Conditions, condition)
	}
	if m.random.IntN(2) == 0 {
		c.CallID, c.Record = m.callID(), record(byte(m.random.IntN(256)))
	}
	after := maps.Clone(m.heaps[h])
	for _, w := range batch {
		switch {
		case after == nil:
		case w.Delete:
			delete(after, w.Key)
		default:
			after[w.Key] = string(w.Value)
		}
	}
	_, repeated := m.calls[h][c.CallID]
	switch {
	case want != nil:
	case after == nil:
		want = heapstore.ErrNoHeap
	case repeated:
		want = heapstore.ErrRecorded
	case !holds:
		want = heapstore.ErrCondition
	case size(after) > c.QuotaBytes && size(after) > size(m.heaps[h]):
		want = heapstore.ErrQuota
	default:
		m.heaps[h] = after
		if c.CallID != "" {
			m.calls[h][c.CallID] = c.Record.Digest[0]
		}
	}
	m.check("commit", m.store.Commit(m.t.Context(), h, c), want)
}

// condition is one on some key, and whether it holds.
func (m *model) condition(h function.Heap) (c function.HeapCondition, holds bool) {
	c.Key = m.key()
	now := version(m.t, m.store, h, c.Key)
	switch m.random.IntN(4) {
	case 0:
		return c, now == 0
	case 1:
		c.Version = function.AnyVersion
		return c, now != 0
	case 2:
		c.Version = now + 1
		return c, false
	default:
		c.Version = now
		return c, true
	}
}

// commitAtOnce makes commits with the same call id at the same time. If the call has taken effect before, none of them
// does, and otherwise one, whichever it is.
func (m *model) commitAtOnce(h function.Heap) {
	const callers = 4
	id, key := m.callID(), m.key()
	errs := make([]error, callers)
	var committing sync.WaitGroup
	for caller := range errs {
		committing.Go(func() {
			errs[caller] = m.store.Commit(m.t.Context(), h, function.Commit{
				Writes: writes(key, fmt.Sprint(caller)), CallID: id, Record: record(byte(caller)),
			})
		})
	}
	committing.Wait()
	_, repeated := m.calls[h][id]
	for caller, err := range errs {
		switch {
		case m.heaps[h] == nil:
			m.check("commit at once", err, heapstore.ErrNoHeap)
		case err == nil && !repeated:
			m.heaps[h][key], m.calls[h][id] = fmt.Sprint(caller), byte(caller)
			repeated = true
		default:
			m.check("commit at once", err, heapstore.ErrRecorded)
		}
	}
	if m.heaps[h] != nil && !repeated {
		m.t.Fatalf("call %q of %v was made %d times at once and never took effect", id, h, callers)
	}
	m.recorded(h, id)
}

// recorded looks up a call.
func (m *model) recorded(h function.Heap, id string) {
	m.t.Helper()
	got, found, err := m.store.Recorded(m.t.Context(), h, id)
	number, want := m.calls[h][id]
	switch {
	case m.heaps[h] == nil:
		m.check("look up a call", err, heapstore.ErrNoHeap)
	case err != nil || found != want || found && !reflect.DeepEqual(got, record(number)):
		m.t.Fatalf("call %q of %v is recorded: %t, %+v, %v, want %t, %+v", id, h, found, got, err, want, record(number))
	}
}

func (m *model) get(h function.Heap) {
	key := m.key()
	got, err := m.store.Get(m.t.Context(), h, key)
	want, there := m.heaps[h][key]
	switch {
	case m.heaps[h] == nil:
		m.check("get", err, heapstore.ErrNoHeap)
	case !there:
		m.check("get", err, heapstore.ErrNoKey)
	case err != nil || string(got.Value) != want:
		m.t.Fatalf("key %q of %v is %.40q, %v, want %.40q", key, h, got.Value, err, want)
	}
}

func (m *model) list(h function.Heap) {
	prefix, after, limit := "", "", 1+m.random.IntN(20)
	if m.random.IntN(2) == 0 {
		prefix = m.key()[:1]
	}
	if m.random.IntN(2) == 0 {
		after = m.key()
	}
	got, _, err := m.store.List(m.t.Context(), h, prefix, after, limit)
	if m.heaps[h] == nil {
		m.check("list", err, heapstore.ErrNoHeap)
		return
	}
	want := slices.DeleteFunc(slices.Sorted(maps.Keys(m.heaps[h])), func(key string) bool {
		return key <= after || !strings.HasPrefix(key, prefix)
	})
	if want = want[:min(limit, len(want))]; err != nil || !slices.Equal(got, want) {
		m.t.Fatalf("List(%v, %q, %q, %d) = %q, %v, want %q", h, prefix, after, limit, got, err, want)
	}
}

// compare reads everything.
func (m *model) compare() {
	for h, want := range m.heaps {
		got := map[string]string{}
		for _, key := range walk(m.t, m.store, h, "", 7) {
			value, err := m.store.Get(m.t.Context(), h, key)
			if err != nil {
				m.t.Fatal(err)
			}
			got[key] = string(value.Value)
		}
		if !maps.Equal(got, want) {
			m.t.Fatalf("%v has %d keys, want %d, or another value", h, len(got), len(want))
		}
		for n := range modelCalls {
			m.recorded(h, fmt.Sprint(n))
		}
	}
}

// callID is one of a few, so that many are repeats.
func (m *model) callID() string { return fmt.Sprint(m.random.IntN(modelCalls)) }

// record is one that a number tells from others.
func record(number byte) function.Record {
	return function.Record{Digest: [32]byte{number}, Answer: function.Answer{
		Status: 200, Body: bytes.Repeat([]byte{number}, 10*int(number)), Header: map[string][]string{}, Trailer: map[string][]string{},
	}}
}

// key is one of a few, so that they meet; some share a prefix, some are long enough to split pages.
func (m *model) key() string {
	n := m.random.IntN(40)
	return fmt.Sprintf("%c%d%s", 'a'+n%4, n, strings.Repeat("/long", n%3*60))
}

// value is mostly small, now and then larger than a page.
func (m *model) value() []byte {
	length := m.random.IntN(50)
	if m.random.IntN(10) == 0 {
		length = m.random.IntN(30_000)
	}
	return []byte(strings.Repeat(fmt.Sprint(m.random.IntN(10)), length))
}

func size(heap map[string]string) (bytes int64) {
	for key, value := range heap {
		bytes += int64(len(key) + len(value))
	}
	return bytes
}

func (m *model) check(what string, err, want error) {
	m.t.Helper()
	if !errors.Is(err, want) || (want == nil) != (err == nil) {
		m.t.Fatalf("%s gives %v, want %v", what, err, want)
	}
}

func (m *model) reopen() {
	var err error
	if m.store, err = m.driver.Open(m.folder); err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) close() {
	if err := errors.Join(m.store.Close(), m.driver.Check(m.folder)); err != nil {
		m.t.Fatal(err)
	}
}

// firstError is the first error, since a store reports the first write that it refuses.
func firstError(first, second error) error {
	if first != nil {
		return first
	}
	return second
}
