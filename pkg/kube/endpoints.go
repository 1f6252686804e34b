package kube

import (
	"context"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// port is where a function's pod serves.
	port = 8080
	// pushLife is how long a ready push is believed without the kubelet's word. It bounds what a pod can claim that is
	// gone, or whose probes fail; a kubelet on a busy node may well take half of it.
	pushLife = time.Minute
	// sweepInterval is how often pushes are looked through for those that nothing came after.
	sweepInterval = 5 * time.Second
)

// push is a verified word of a watchdog that it serves.
type push struct {
	record types.UID
	ip     string
	at     time.Time
	// restarts is how often the container that pushed had been restarted, as far as was known.
	restarts int32
}

// newPush notes a push. p is what the watch has told of the pod so far.
func newPush(record types.UID, ip string, at time.Time, p *pod) push {
	ps := push{record: record, ip: ip, at: at, restarts: p.restarts}
	if p.down {
		ps.restarts++ // the one that pushes was started after what the watch has told
	}
	return ps
}

// holds reports whether a push still adds to what the watch tells of the pod. Once the pod is ready it does not: from then
// on the watch alone speaks, and may contradict.
func (ps push) holds(p *pod, now time.Time) bool {
	if p == nil || now.Sub(ps.at) > pushLife {
		return false
	}
	crashed := p.restarts > ps.restarts || p.down && p.restarts == ps.restarts
	moved := p.ip != "" && p.ip != ps.ip
	return p.record == ps.record && !p.ready && !p.ending && !crashed && !moved
}

// replicas is what is known of one function's pods.
type replicas struct {
	pods      map[string]*pod
	pushes    map[string]push
	id        string
	published []function.Endpoint
	followers map[chan struct{}]struct{}
}

// endpoints merges watch and pushes: the replicas of one record that may be given work, by name.
func (r *replicas) endpoints(record types.UID, now time.Time) []function.Endpoint {
	var list []function.Endpoint
	add := func(name, ip string) {
		list = append(list, function.Endpoint{Address: net.JoinHostPort(ip, strconv.Itoa(port)), Replica: name})
	}
	for name, p := range r.pods {
		if p.ready && !p.ending && !p.leaving && p.record == record && p.ip != "" {
			add(name, p.ip)
		}
	}
	for name, ps := range r.pushes {
		if ps.record == record && ps.holds(r.pods[name], now) {
			add(name, ps.ip)
		}
	}
	slices.SortFunc(list, func(a, b function.Endpoint) int { return strings.Compare(a.Replica, b.Replica) })
	return list
}

// table knows every function's replicas and tells of changes, from one goroutine, so that they arrive in order and with no
// lock held.
type table struct {
	tell    func(ref function.Ref, id string, endpoints []function.Endpoint)
	current func(function.Ref) (record types.UID, wanted bool)

	mu        sync.Mutex
	functions map[function.Ref]*replicas
	dirty     map[function.Ref]struct{}
	wake      chan struct{}
	// telling is the function whose change is being told; round is closed, and made anew, when that is done.
	telling function.Ref
	round   chan struct{}
}

// newTable makes a table. current tells the identity of a function's record and whether it wants any replicas.
func newTable(tell func(function.Ref, string, []function.Endpoint), current func(function.Ref) (types.UID, bool)) *table {
	return &table{
		tell:      tell,
		current:   current,
		functions: make(map[function.Ref]*replicas),
		dirty:     make(map[function.Ref]struct{}),
		wake:      make(chan struct{}, 1),
		round:     make(chan struct{}),
	}
}

// set takes what the watch tells of a pod; nil means that it is gone.
func (t *table) set(ref function.Ref, name string, p *pod) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.replicasLocked(ref)
	if p == nil {
		delete(r.pods, name)
		delete(r.pushes, name)
	} else {
		r.pods[name] = p
		if ps, ok := r.pushes[name]; ok && !ps.holds(p, time.Now()) {
			delete(r.pushes, name)
		}
	}
	for f := range r.followers {
		signal(f)
	}
	t.markLocked(ref)
}

// push takes a verified ready push, unless it is one of a pod that is about to go, is another record's or is at another address. A pod
// of which the watch has told nothing may be no pod of the function's: its token stands in the Deployment, for all who may read that.
func (t *table) push(ref function.Ref, record types.UID, name, ip string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.functions[ref]
	if r == nil {
		return false
	}
	p := r.pods[name]
	if p == nil || p.record != record || p.ending || p.ip != "" && p.ip != ip {
		return false
	}
	r.pushes[name] = newPush(record, ip, time.Now(), p)
	t.markLocked(ref)
	return true
}

// mark has a function looked at again, because its record changed.
func (t *table) mark(ref function.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.functions[ref] != nil {
		t.markLocked(ref)
	}
}

// endpoints gives the replicas that may be given work now.
func (t *table) endpoints(ref function.Ref) []function.Endpoint {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, list := t.computeLocked(ref)
	return list
}

// told waits until all that has changed of a function has been told, or ctx ends.
func (t *table) told(ctx context.Context, ref function.Ref) {
	for {
		t.mu.Lock()
		_, dirty := t.dirty[ref]
		busy, round := dirty || t.telling == ref, t.round
		t.mu.Unlock()
		if !busy {
			return
		}
		select {
		case <-round:
		case <-ctx.Done():
			return
		}
	}
}

// podsOf gives what the watch tells of a function's pods.
func (t *table) podsOf(ref function.Ref) map[string]*pod {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.functions[ref]; r != nil {
		return maps.Clone(r.pods)
	}
	return nil
}

// follow returns a channel that is signalled after each change to a function's pods, until stop is called.
func (t *table) follow(ref function.Ref) (changes <-chan struct{}, stop func()) {
	f := make(chan struct{}, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.replicasLocked(ref)
	r.followers[f] = struct{}{}
	return f, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(r.followers, f)
		t.markLocked(ref)
	}
}

// run tells of changes until ctx ends.
func (t *table) run(ctx context.Context) {
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-sweep.C:
			t.expire(time.Now())
		}
		for t.publish() {
		}
	}
}

// publish tells of one function that may have changed, and reports whether there was one.
func (t *table) publish() bool {
	t.mu.Lock()
	ref, ok := anyKey(t.dirty)
	if !ok {
		t.mu.Unlock()
		return false
	}
	delete(t.dirty, ref)
	id, list, changed := t.renewLocked(ref)
	t.telling = ref
	t.mu.Unlock()

	if changed {
		t.tell(ref, id, list)
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	t.telling = function.Ref{}
	close(t.round)
	t.round = make(chan struct{})
	return true
}

// renewLocked brings what was told of a function up to date, and reports whether that changes anything.
func (t *table) renewLocked(ref function.Ref) (id string, list []function.Endpoint, changed bool) {
	r := t.functions[ref]
	if r == nil {
		return "", nil, false
	}
	id, list = t.computeLocked(ref)
	if id == "" {
		id = r.id // gone: its last identity is the one to tell
	}
	changed = !slices.Equal(list, r.published) || id != r.id && len(list) > 0
	if changed {
		r.id, r.published = id, list
	}
	if len(r.pods) == 0 && len(r.pushes) == 0 && len(r.followers) == 0 {
		delete(t.functions, ref) // most functions are at zero: they take no room here
	}
	return id, list, changed
}

// expire drops the pushes that nothing came after.
func (t *table) expire(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ref, r := range t.functions {
		for name, ps := range r.pushes {
			if !ps.holds(r.pods[name], now) {
				delete(r.pushes, name)
				t.markLocked(ref)
			}
		}
	}
}

func (t *table) computeLocked(ref function.Ref) (id string, list []function.Endpoint) {
	record, wanted := t.current(ref)
	r := t.functions[ref]
	if r == nil || !wanted {
		return string(record), nil
	}
	return string(record), r.endpoints(record, time.Now())
}

func (t *table) replicasLocked(ref function.Ref) *replicas {
	r := t.functions[ref]
	if r == nil {
		r = &replicas{pods: make(map[string]*pod), pushes: make(map[string]push), followers: make(map[chan struct{}]struct{})}
		t.functions[ref] = r
	}
	return r
}

func (t *table) markLocked(ref function.Ref) {
	t.dirty[ref] = struct{}{}
	signal(t.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func anyKey[K comparable, V any](m map[K]V) (key K, ok bool) {
	for key = range m {
		return key, true
	}
	return key, false
}
