package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// keepInterval is how often the pool is looked at if nothing happens.
	keepInterval = 2 * time.Second
	// spareLife is how long a spare may take to register before another is made in its place.
	spareLife = time.Minute
	// spareSlow is how long a spare that does not register counts as on its way: one that no node has room for must not keep other
	// namespaces from theirs.
	spareSlow = 20 * time.Second
	// spareCalls is how long a spare gets to call by itself before it is asked.
	spareCalls = 2 * time.Second
	// sparesComing is how many spares may be on their way at a time: they start on the nodes where calls wait for claims.
	sparesComing = 4
	// wakesPause is the least time between two spares that are made, where none is free, while pods come up for calls.
	wakesPause = time.Second
	// burstPause is how long the first of those waits: most bursts are over then, and a spare takes as much of a node as a pod that is
	// made for a call.
	burstPause = 3 * time.Second
	// refusedPause is how long a namespace is left alone in which no pod can be made, as for a quota.
	refusedPause = 10 * time.Second
	keepTimeout  = 30 * time.Second
)

// keeper keeps as many spares as there are to be. It belongs to one goroutine.
type keeper struct {
	c *Cluster
	// began is when this provider took up the pool: spares from before it need time to register again.
	began time.Time
	// refused is until when a namespace is left alone, and problems what was said last of each.
	refused  map[string]time.Time
	problems map[string]string
	// asked is when a spare was asked last.
	asked map[types.UID]time.Time
	// made is when a spare was made last.
	made time.Time
	// turns tells whose turn it is, if more are missing than may be made.
	turns turns
	// waking is whether pods came up for calls when it was looked last, and woke since when they do.
	waking bool
	woke   time.Time
}

// keepPool keeps the pool until ctx ends.
func (c *Cluster) keepPool(ctx context.Context) {
	k := &keeper{c: c, began: time.Now(), refused: make(map[string]time.Time), problems: make(map[string]string), asked: make(map[types.UID]time.Time),
		turns: turns{last: make(map[string]uint64)}}
	c.keeping.Store(true)
	defer c.keeping.Store(false)
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	for {
		k.round(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-c.refill:
		}
	}
}

// KeepsPool reports whether this provider keeps the pool now. Spares are to register with the one that does.
func (c *Cluster) KeepsPool() bool { return c.keeping.Load() }

// SpareRegistered has the pool looked at: the next spare may be made.
func (c *Cluster) SpareRegistered() { signal(c.refill) }

// Discard deletes a spare that is of no use any more, as soon as the API server lets it. Memory only.
func (c *Cluster) Discard(id string) {
	c.mu.Lock()
	c.discarded[types.UID(id)] = struct{}{}
	c.mu.Unlock()
	signal(c.refill)
}

// round takes away what is too much or of no use, asks spares that do not call, and makes as many as are missing.
func (k *keeper) round(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	spares := make(map[string]map[string]*spare) // by namespace, then by name
	k.c.spares.each("", func(key function.Ref, s *spare) {
		if spares[key.Namespace] == nil {
			spares[key.Namespace] = make(map[string]*spare)
		}
		spares[key.Namespace][key.Name] = s
	})
	managed := k.c.Namespaces()
	var remove []function.Ref
	missing := make(map[string]int)
	shapes := make(map[string]poolOf)
	coming, most := 0, sparesComing
	// A spare that starts beside a pod for which a call waits makes that late, by half a second on a small node: it waits while there
	// are others, and where there are none, one comes at a time.
	if k.look(k.c.waking(now), now); k.waking {
		most = 1
	}
	for _, namespace := range slices.Sorted(maps.Keys(union(spares, managed))) {
		pool, shape, err := k.pool(ctx, namespace, slices.Contains(managed, namespace))
		k.tell(namespace, err)
		if shape == "" && err != nil {
			continue // what they should be like is not known: they are left as they are
		}
		w := k.c.weigh(spares[namespace], now, k.began, pool.size, shape)
		for _, name := range w.remove {
			remove = append(remove, function.Ref{Name: name, Namespace: namespace})
		}
		coming += w.starting
		shapes[namespace] = pool
		if w.missing > 0 && now.After(k.refused[namespace]) && !k.inTheWay(w.free, now) {
			missing[namespace] = w.missing
		}
		for _, name := range w.coming {
			k.ask(ctx, name, spares[namespace][name], now)
		}
	}
	k.forget(spares, managed)
	var g errgroup.Group
	g.SetLimit(sparesComing)
	for _, key := range remove {
		g.Go(func() error { k.remove(ctx, key, spares[key.Namespace][key.Name]); return nil })
	}
	errs := make(chan refusal, sparesComing)
	for _, namespace := range k.turns.share(missing, most-coming) {
		k.made = now
		g.Go(func() error {
			if err := k.make(ctx, namespace, shapes[namespace]); err != nil {
				errs <- refusal{namespace, err}
			}
			return nil
		})
	}
	_ = g.Wait() // each has told its own error
	close(errs)
	for e := range errs {
		k.refused[e.namespace] = now.Add(refusedPause)
		k.tell(e.namespace, e.err)
	}
}

// look notes whether pods come up for calls.
func (k *keeper) look(waking bool, now time.Time) {
	if waking && !k.waking {
		k.woke = now
	}
	k.waking = waking
}

// inTheWay reports whether a spare that is made now would start beside pods that come up for calls, of a namespace that has so many to
// be claimed.
func (k *keeper) inTheWay(free int, now time.Time) bool {
	return k.waking && (free > 0 || now.Sub(k.woke) < burstPause || now.Sub(k.made) < wakesPause)
}

type refusal struct {
	namespace string
	err       error
}

// pool tells what a namespace's pool is to be, and the shape of its spares: "" if they are none.
func (k *keeper) pool(ctx context.Context, namespace string, managed bool) (pool poolOf, shape string, err error) {
	if !managed {
		return poolOf{}, "", nil
	}
	pool, problem := k.c.namespacePool(namespace)
	if pool.size == 0 {
		return pool, "", problem
	}
	method, err := k.c.watchdogMethod(ctx, nil)
	if err != nil {
		return poolOf{}, "", err
	}
	return pool, k.c.sparePod(namespace, pool, method).Labels[labelSpare], problem
}

// weighed is what is to be done about a namespace's spares.
type weighed struct {
	remove []string
	// coming are those that have not registered yet, and starting is how many of them take no longer than they should.
	coming   []string
	starting int
	// free is how many can be claimed, and missing how many are to be made.
	free, missing int
}

// weigh compares the spares of a namespace with what there is to be.
func (c *Cluster) weigh(spares map[string]*spare, now, began time.Time, size int, shape string) weighed {
	var w weighed
	var good []string
	late := make(map[string]bool)
	for name, s := range spares {
		registered := c.cfg.Pool.Registered(string(s.uid))
		since := s.created
		if began.After(since) {
			since = began
		}
		switch {
		case s.over, s.shape != shape, c.isDiscarded(s.uid), !registered && now.Sub(since) > spareLife:
			w.remove = append(w.remove, name)
		default:
			good = append(good, name)
			if !registered {
				w.coming = append(w.coming, name)
				late[name] = now.Sub(since) > spareSlow
			}
		}
	}
	// Those that are still to come go first, and of the others the youngest.
	slices.SortFunc(good, func(a, b string) int {
		comingA, comingB := slices.Contains(w.coming, a), slices.Contains(w.coming, b)
		if comingA != comingB {
			if comingA {
				return 1
			}
			return -1
		}
		return cmp.Or(spares[a].created.Compare(spares[b].created), cmp.Compare(a, b))
	})
	if len(good) > size {
		surplus := good[size:]
		w.coming = slices.DeleteFunc(w.coming, func(name string) bool { return slices.Contains(surplus, name) })
		w.remove = append(w.remove, surplus...)
	}
	for _, name := range w.coming {
		if !late[name] {
			w.starting++
		}
	}
	w.missing = max(0, size-len(good))
	w.free = min(size, len(good)) - len(w.coming)
	slices.Sort(w.remove)
	slices.Sort(w.coming)
	return w
}

func (c *Cluster) isDiscarded(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, is := c.discarded[uid]
	return is
}

// turns is who was given spares before whom.
type turns struct {
	given uint64
	last  map[string]uint64 // the number of the last one of each namespace
}

// share gives the namespaces that miss spares one after the other, those first that have waited longest, until as many are given as
// may come. Where that is one at a time, none gets a second before the others have had one.
func (t *turns) share(missing map[string]int, most int) []string {
	var turns []string
	missing = maps.Clone(missing)
	for len(turns) < most && len(missing) > 0 {
		next := slices.MinFunc(slices.Collect(maps.Keys(missing)), func(a, b string) int {
			return cmp.Or(cmp.Compare(t.last[a], t.last[b]), cmp.Compare(a, b))
		})
		t.given++
		t.last[next] = t.given
		turns = append(turns, next)
		if missing[next]--; missing[next] <= 0 {
			delete(missing, next)
		}
	}
	return turns
}

func (k *keeper) ask(ctx context.Context, name string, s *spare, now time.Time) {
	ip, err := netip.ParseAddr(s.ip)
	if err != nil || now.Sub(s.created) < spareCalls || now.Sub(k.asked[s.uid]) < spareCalls {
		return // it has no address yet, or may call by itself
	}
	k.asked[s.uid] = now
	k.c.cfg.Pool.Ask(context.WithoutCancel(ctx), name, ip)
}

// remove deletes a spare, unless it is being claimed. One of which it is not known how far its claim came may be a function's by now,
// and have calls: the API server deletes the pod only if nothing of it has changed since it was seen to be a spare.
func (k *keeper) remove(ctx context.Context, key function.Ref, s *spare) {
	if !k.c.isDiscarded(s.uid) && !k.c.cfg.Pool.Retire(string(s.uid)) {
		return
	}
	k.c.Discard(string(s.uid)) // until it is gone
	options := deletionOf(s.uid)
	options.Preconditions.ResourceVersion = &s.version
	none := int64(0)
	options.GracePeriodSeconds = &none // it has nothing to finish
	err := k.c.core.CoreV1().Pods(key.Namespace).Delete(ctx, key.Name, options)
	if apierrors.IsConflict(err) {
		k.c.log.Debug("spare not deleted, it has changed", "namespace", key.Namespace, "replica", key.Name)
		return // the watch tells what it is now
	}
	if err := forgotten(k.c.spares, key, s.uid, gone(err, "Pod", key.Name)); err != nil && ctx.Err() == nil {
		k.c.log.Warn("spare not deleted, it will be tried again", "namespace", key.Namespace, "replica", key.Name, "err", err)
	}
}

func (k *keeper) make(ctx context.Context, namespace string, pool poolOf) error {
	method, err := k.c.watchdogMethod(ctx, nil)
	if err != nil {
		return err
	}
	spare := k.c.sparePod(namespace, pool, method)
	if spare.OwnerReferences, err = k.owners(ctx); err != nil {
		return err
	}
	k.c.keepAway(ctx, &spare.Spec)
	made, err := k.c.core.CoreV1().Pods(namespace).Create(ctx, spare, metav1.CreateOptions{})
	if err != nil {
		return translate(err, "spare in namespace", namespace)
	}
	return k.c.spares.observe(made)
}

// owners is whom spares belong to. A ClusterRole that was made anew has another identity: it is asked for each time.
func (k *keeper) owners(ctx context.Context) ([]metav1.OwnerReference, error) {
	name := k.c.cfg.Pool.Owner
	if name == "" {
		return nil, nil
	}
	role, err := k.c.core.RbacV1().ClusterRoles().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		k.c.log.Debug("spares belong to nobody", "err", err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at ClusterRole %q: %w", name, err)
	}
	return []metav1.OwnerReference{{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole", Name: role.Name, UID: role.UID}}, nil
}

// tell says what is wrong with a namespace's pool, once.
func (k *keeper) tell(namespace string, err error) {
	if err == nil {
		if time.Now().After(k.refused[namespace]) {
			delete(k.problems, namespace)
		}
		return
	}
	if errors.Is(err, context.Canceled) || k.problems[namespace] == err.Error() {
		return
	}
	k.problems[namespace] = err.Error()
	k.c.log.Warn("warm pool is not as it should be", "namespace", namespace, "err", err)
}

// forget drops what is known of spares, and of namespaces, that are gone.
func (k *keeper) forget(spares map[string]map[string]*spare, managed []string) {
	there := make(map[types.UID]bool)
	for _, of := range spares {
		for _, s := range of {
			there[s.uid] = true
		}
	}
	maps.DeleteFunc(k.asked, func(uid types.UID, _ time.Time) bool { return !there[uid] })
	maps.DeleteFunc(k.turns.last, func(namespace string, _ uint64) bool { return !slices.Contains(managed, namespace) })
}

func union(spares map[string]map[string]*spare, managed []string) map[string]struct{} {
	all := make(map[string]struct{}, len(managed))
	for _, name := range managed {
		all[name] = struct{}{}
	}
	for name := range spares {
		all[name] = struct{}{}
	}
	return all
}
