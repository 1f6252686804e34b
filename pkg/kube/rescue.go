package kube

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	// rescuePause is the least time between two looks at whether a function's replicas can be reached.
	rescuePause = 5 * time.Second
	// rescueDial bounds that look. A connection in a cluster's network takes far less than a millisecond.
	rescueDial = time.Second
	// rescueLife is how long a pod stays that was given to such a function, unless its Deployment has a new replica before. By
	// then Kubernetes has noticed that a node is lost.
	rescueLife = 2 * time.Minute
)

// rescue is what is known of a function whose calls reached none of its replicas.
type rescue struct {
	// told is when that was last told; asked says that nobody has looked since.
	told  time.Time
	asked bool
	// claimed is when a pod was given to it; zero is never.
	claimed time.Time
}

// Unreached tells that calls of a function have reached none of its replicas. If that is because of their nodes, which Kubernetes
// notices only after most of a minute, the function gets a pod on another node meanwhile. Memory only.
func (c *Cluster) Unreached(ref function.Ref, id string) {
	now := time.Now()
	c.mu.Lock()
	r := c.rescues[types.UID(id)]
	if now.Sub(r.told) < rescuePause {
		c.mu.Unlock()
		return
	}
	r.told, r.asked = now, true
	c.rescues[types.UID(id)] = r
	c.mu.Unlock()
	c.rounds().Add(ref)
}

// IsUnreached reports whether Unreached was told of a function lately: what a provider that does not lead has to tell the one that does.
// Memory only.
func (c *Cluster) IsUnreached(ref function.Ref) bool {
	r := c.records.get(ref)
	if r == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.rescues[r.uid].told) < rescuePause
}

// rescue gives a spare to a function whose replicas cannot be reached, or else a pod of its own.
func (c *Cluster) rescue(ctx context.Context, ref function.Ref, r *record) {
	c.mu.Lock()
	of := c.rescues[r.uid]
	asked := of.asked && time.Since(of.claimed) > rescueLife
	if of.asked {
		of.asked = false
		c.rescues[r.uid] = of
	}
	c.mu.Unlock()
	if !asked || c.cfg.Pool == nil {
		return
	}
	list := c.table.endpoints(ref)
	if len(list) == 0 || c.reached(ctx, list) {
		return // they start, or are told of elsewhere
	}
	lost := c.nodesOf(ref, list)
	for _, node := range lost {
		c.cfg.Pool.Shun(node)
	}
	log := c.log.With("function", ref.Name, "namespace", ref.Namespace, "nodes", lost)
	var err error
	if why := c.unclaimable(ctx, r, r.resolved()); why != "" {
		err = errors.New(why)
	} else {
		err = c.cfg.Pool.Claim(ctx, r.fn, lost...)
	}
	switch {
	case err == nil:
		log.Warn("no replica can be reached; a spare takes their place")
	case c.makeLone(ctx, ref, r):
		log.Warn("no replica can be reached; a pod takes their place, and no spare", "err", err)
	default:
		log.Warn("no replica can be reached, and nothing takes their place", "err", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	of = c.rescues[r.uid]
	of.claimed = time.Now()
	c.rescues[r.uid] = of
}

// nodesOf lists the nodes of the endpoints, as far as they are known.
func (c *Cluster) nodesOf(ref function.Ref, list []function.Endpoint) []string {
	nodes := make(map[string]struct{})
	pods := c.table.podsOf(ref)
	for _, e := range list {
		if p := pods[e.Replica]; p != nil && p.node != "" {
			nodes[p.node] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(nodes))
}

// keepAway keeps a pod that is wanted now off nodes of which nothing is heard, if it may run on another that is open: until Kubernetes
// notices, it sends pods there as before, and rather there than to nodes that do something.
func (c *Cluster) keepAway(ctx context.Context, spec *corev1.PodSpec) {
	if c.cfg.Pool == nil {
		return
	}
	shunned := c.cfg.Pool.Shunned()
	if len(shunned) == 0 {
		return
	}
	_, nodes, err := c.nodes.within(ctx, rescuePause)
	if err != nil || !slices.ContainsFunc(nodes, func(n node) bool {
		return n.open && !slices.Contains(shunned, n.name) && labels.SelectorFromSet(spec.NodeSelector).Matches(labels.Set(n.labels))
	}) {
		return
	}
	var term corev1.NodeSelectorTerm
	for _, name := range shunned { // a requirement may name one
		term.MatchFields = append(term.MatchFields, corev1.NodeSelectorRequirement{
			Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpNotIn, Values: []string{name},
		})
	}
	spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}},
	}}
}

// anyReached reports whether there is an answer from any of the endpoints' addresses, be it that nobody listens: the node is there
// then, and the kubelet sees to the rest.
func anyReached(ctx context.Context, list []function.Endpoint) bool {
	ctx, cancel := context.WithTimeout(ctx, rescueDial)
	defer cancel()
	var reached atomic.Bool
	var g errgroup.Group
	for _, e := range list {
		g.Go(func() error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", e.Address)
			if err == nil {
				_ = conn.Close() // nothing was sent
			}
			if err == nil || errors.Is(err, syscall.ECONNREFUSED) {
				reached.Store(true)
				cancel()
			}
			return nil
		})
	}
	_ = g.Wait() // none fails
	return reached.Load()
}

// rescued reports whether a function needs its claimed pods still, though its Deployment says that it serves: because that may be
// of a node that is lost.
func (c *Cluster) rescued(ref function.Ref, r *record) bool {
	c.mu.Lock()
	since := c.rescues[r.uid].claimed
	c.mu.Unlock()
	left := rescueLife - time.Since(since)
	if left <= 0 {
		return false
	}
	for _, p := range c.table.podsOf(ref) {
		if p.record == r.uid && p.claim == nil && p.ready && !p.ending && p.created.After(since.Add(-time.Second)) {
			return false // Kubernetes tells whole seconds
		}
	}
	c.rounds().AddAfter(ref, left) // no event tells that something did not happen
	return true
}

// unrescue forgets what was known of a record.
func (c *Cluster) unrescue(record types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.rescues, record)
}
