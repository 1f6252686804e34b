package kube

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// tombstoneLife is how long an object's end is remembered: longer than an answer of the API server can be under way.
const tombstoneLife = 5 * time.Minute

// mirror keeps, of every object of one kind, only what keep takes from it. A reflector feeds it; our own writes are put in
// as well with observe, so that a caller sees its change at once. Which of two versions is newer is told by the resource
// version, in whatever order they come.
type mirror[T any] struct {
	// keep takes what is of use. before is what was kept of an earlier version of the same object, or nil.
	keep func(obj any, before *T) *T
	// changed is called after each change, with no lock held; before or after is nil for a new or a gone object.
	changed func(key function.Ref, before, after *T)

	mu         sync.RWMutex
	namespaces map[string]map[string]*kept[T]
	tombstones map[types.UID]struct{}
	graves     []grave // of the tombstones, oldest first

	synced chan struct{}
	once   sync.Once
}

type grave struct {
	uid types.UID
	dug time.Time
}

type kept[T any] struct {
	uid     types.UID
	version uint64
	value   *T
}

var _ cache.ReflectorStore = (*mirror[struct{}])(nil)

func newMirror[T any](keep func(any, *T) *T, changed func(function.Ref, *T, *T)) *mirror[T] {
	return &mirror[T]{
		keep:       keep,
		changed:    changed,
		namespaces: make(map[string]map[string]*kept[T]),
		tombstones: make(map[types.UID]struct{}),
		synced:     make(chan struct{}),
	}
}

// get returns what is kept of an object, or nil. The value is shared and not to be written to.
func (m *mirror[T]) get(key function.Ref) *T {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if k := m.namespaces[key.Namespace][key.Name]; k != nil {
		return k.value
	}
	return nil
}

// each calls visit for all objects of a namespace, or of every namespace if it is empty. visit must not call the mirror.
func (m *mirror[T]) each(namespace string, visit func(key function.Ref, value *T)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for ns, objects := range m.namespaces {
		if namespace != "" && ns != namespace {
			continue
		}
		for name, k := range objects {
			visit(function.Ref{Name: name, Namespace: ns}, k.value)
		}
	}
}

// observe takes an object as the API server gave it.
func (m *mirror[T]) observe(obj any) error {
	o, version, err := versioned(obj)
	if err != nil {
		return err
	}
	key := keyOf(o)
	m.mu.Lock()
	before, after, ok := m.putLocked(key, o, version, obj)
	m.mu.Unlock()
	if ok {
		m.changed(key, before, after)
	}
	return nil
}

// forget takes an object away if it has this identity.
func (m *mirror[T]) forget(key function.Ref, uid types.UID) {
	m.mu.Lock()
	before := m.dropLocked(key, uid)
	m.mu.Unlock()
	if before != nil {
		m.changed(key, before, nil)
	}
}

// amend replaces what is kept of an object, if it is there and has this identity, until a newer version comes.
func (m *mirror[T]) amend(key function.Ref, uid types.UID, edit func(T) T) {
	m.mu.Lock()
	k := m.namespaces[key.Namespace][key.Name]
	if k == nil || k.uid != uid {
		m.mu.Unlock()
		return
	}
	before, after := k.value, edit(*k.value)
	k.value = &after
	m.mu.Unlock()
	m.changed(key, before, &after)
}

// Add, Update, Delete, Replace and Resync are the reflector's side.

func (m *mirror[T]) Add(obj any) error    { return m.observe(obj) }
func (m *mirror[T]) Update(obj any) error { return m.observe(obj) }
func (m *mirror[T]) Resync() error        { return nil }

func (m *mirror[T]) Delete(obj any) error {
	o, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("watched object: %w", err)
	}
	m.forget(keyOf(o), o.GetUID())
	return nil
}

// Replace takes a list as of a resource version. What is kept and not in the list is gone, unless it is newer than the list.
func (m *mirror[T]) Replace(list []any, listVersion string) error {
	asOf, err := strconv.ParseUint(listVersion, 10, 64)
	if err != nil {
		return fmt.Errorf("resource version of a list: %w", err)
	}
	type change struct {
		key           function.Ref
		before, after *T
	}
	var changes []change
	listed := make(map[types.UID]bool, len(list))

	m.mu.Lock()
	for _, obj := range list {
		o, version, err := versioned(obj)
		if err != nil {
			m.mu.Unlock()
			return err
		}
		listed[o.GetUID()] = true
		key := keyOf(o)
		if before, after, ok := m.putLocked(key, o, version, obj); ok {
			changes = append(changes, change{key, before, after})
		}
	}
	for ns, objects := range m.namespaces {
		for name, k := range objects {
			if listed[k.uid] || k.version > asOf {
				continue
			}
			key := function.Ref{Name: name, Namespace: ns}
			changes = append(changes, change{key, m.dropLocked(key, k.uid), nil})
		}
	}
	m.mu.Unlock()

	for _, c := range changes {
		m.changed(c.key, c.before, c.after)
	}
	m.once.Do(func() { close(m.synced) })
	return nil
}

func (m *mirror[T]) putLocked(key function.Ref, o metav1.Object, version uint64, obj any) (before, after *T, ok bool) {
	if _, dead := m.tombstones[o.GetUID()]; dead {
		return nil, nil, false
	}
	objects := m.namespaces[key.Namespace]
	if objects == nil {
		objects = make(map[string]*kept[T])
		m.namespaces[key.Namespace] = objects
	}
	old := objects[key.Name]
	if old != nil {
		if old.version >= version {
			return nil, nil, false
		}
		if old.uid == o.GetUID() {
			before = old.value
		} else {
			m.buryLocked(old.uid)
		}
	}
	after = m.keep(obj, before)
	objects[key.Name] = &kept[T]{uid: o.GetUID(), version: version, value: after}
	if old != nil {
		before = old.value
	}
	return before, after, true
}

func (m *mirror[T]) dropLocked(key function.Ref, uid types.UID) *T {
	m.buryLocked(uid)
	objects := m.namespaces[key.Namespace]
	k := objects[key.Name]
	if k == nil || k.uid != uid {
		return nil
	}
	delete(objects, key.Name)
	if len(objects) == 0 {
		delete(m.namespaces, key.Namespace)
	}
	return k.value
}

func (m *mirror[T]) buryLocked(uid types.UID) {
	now := time.Now()
	for len(m.graves) > 0 && now.Sub(m.graves[0].dug) > tombstoneLife {
		delete(m.tombstones, m.graves[0].uid)
		m.graves = m.graves[1:]
	}
	if _, dead := m.tombstones[uid]; !dead {
		m.tombstones[uid] = struct{}{}
		m.graves = append(m.graves, grave{uid, now})
	}
}

func keyOf(o metav1.Object) function.Ref {
	return function.Ref{Name: o.GetName(), Namespace: o.GetNamespace()}
}

// versioned reads the resource version as a number; the API server promises that versions of one kind can be compared so
// (https://kep.k8s.io/5504).
func versioned(obj any) (metav1.Object, uint64, error) {
	o, err := meta.Accessor(obj)
	if err != nil {
		return nil, 0, fmt.Errorf("watched object: %w", err)
	}
	version, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("resource version of %s: %w", keyOf(o), err)
	}
	return o, version, nil
}
