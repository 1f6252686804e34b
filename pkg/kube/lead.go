package kube

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// leaseName is that of the Lease of all providers.
const leaseName = "dc-provider"

// Lead calls lead while this provider holds the lease of all providers in a namespace, once for each time that it gets it,
// until ctx ends or lead returns an error. lead's context ends with ctx, and when the lease is lost; the lease is given back
// after lead has returned. identity has to be that of this process among all others.
func (c *Cluster) Lead(ctx context.Context, namespace, identity string, lead func(context.Context) error) error {
	for ctx.Err() == nil {
		if err := c.term(ctx, namespace, identity, lead); err != nil {
			return err
		}
	}
	return nil
}

// term waits for the lease and calls lead once, unless ctx ends before.
func (c *Cluster) term(ctx context.Context, namespace, identity string, lead func(context.Context) error) error {
	electing, stopElecting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopElecting()
	lock := &lease{Interface: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: leaseName, Namespace: namespace},
		Client:     c.core.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}}
	var err error
	ended := make(chan struct{})
	elector, newErr := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: c.cfg.LeaseDuration, RenewDeadline: c.cfg.LeaseDuration * 5 / 8, RetryPeriod: c.cfg.LeaseDuration / 16,
		ReleaseOnCancel: true, Name: leaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(holding context.Context) {
				defer close(ended)
				defer stopElecting()
				leading, stop := context.WithCancel(holding)
				defer stop()
				defer context.AfterFunc(ctx, stop)()
				c.log.Info("leading", "lease", leaseName, "identity", identity)
				err = lead(leading)
				c.log.Info("leading no more", "lease", leaseName, "identity", identity)
			},
			OnStoppedLeading: func() {},
		},
	})
	if newErr != nil {
		return fmt.Errorf("elect a leader: %w", newErr)
	}
	// Once it is held, it is given back after lead has ended.
	defer context.AfterFunc(ctx, func() {
		if !lock.held.Load() {
			stopElecting()
		}
	})()
	elector.Run(klog.NewContext(electing, klog.New(logr.FromSlogHandler(c.log.Handler()).GetSink())))
	if lock.held.Load() {
		<-ended
	}
	return err
}

// lease notes that it was held: the elector calls back from a goroutine of its own, and does not tell whether it will.
type lease struct {
	resourcelock.Interface
	held atomic.Bool
}

func (l *lease) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	err := l.Interface.Create(ctx, r)
	l.note(r, err)
	return err
}

func (l *lease) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	err := l.Interface.Update(ctx, r)
	l.note(r, err)
	return err
}

func (l *lease) note(r resourcelock.LeaderElectionRecord, err error) {
	if err == nil && r.HolderIdentity == l.Identity() {
		l.held.Store(true)
	}
}

// Reconcile makes the cluster be as the records ask, once the caches are filled, until ctx ends. It returns when no round is
// under way any more, and may be called again then. Of all providers of a cluster one at a time should: two would do the same
// work, and undo each other's if they are of different versions.
func (c *Cluster) Reconcile(ctx context.Context) {
	select {
	case <-c.synced:
	case <-ctx.Done():
		return
	}
	q := c.rounds()
	var workers sync.WaitGroup
	for range c.cfg.Workers {
		workers.Go(func() { c.work(ctx, q) })
	}
	if c.cfg.Pool != nil {
		workers.Go(func() { c.keepPool(ctx) })
	}
	if c.cfg.PrePull {
		workers.Go(func() { c.pulls.run(ctx) })
	}
	<-ctx.Done()
	q.ShutDown()
	workers.Wait()
	c.begin()
}

// refQueue holds functions that are to be reconciled, each once.
type refQueue = workqueue.TypedRateLimitingInterface[function.Ref]

func newRefQueue() refQueue {
	return workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[function.Ref](retryMin, retryMax))
}

// rounds is the queue. What changes while nobody reconciles here gathers in it.
func (c *Cluster) rounds() refQueue {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue
}

// end shuts the queue down for good: nothing is watched any more.
func (c *Cluster) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.queue.ShutDown()
}

// begin makes a queue in place of one that was shut down, with all that there is: what was left in the old one, and was
// added to it meanwhile, is among that.
func (c *Cluster) begin() {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	q := newRefQueue()
	c.queue = q
	c.mu.Unlock()
	c.records.each("", func(ref function.Ref, _ *record) { q.Add(ref) })
	c.deployments.each("", func(ref function.Ref, _ *deployment) { q.Add(ref) })
	c.services.each("", func(ref function.Ref, _ *service) { q.Add(ref) })
	c.pods.each("", func(_ function.Ref, p *pod) { q.Add(p.function) })
}

// Providers gives the addresses, IP and port, of all providers behind a Service of theirs, this one among them, whether they
// are ready or about to end. It asks the API server, whose answer may be as old as its cache.
func (c *Cluster) Providers(ctx context.Context, namespace, service, portName string) ([]string, error) {
	list, err := c.core.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: "kubernetes.io/service-name=" + service, ResourceVersion: "0",
	})
	if err != nil {
		return nil, fmt.Errorf("find the providers: %w", err)
	}
	var addresses []string
	for i := range list.Items {
		addresses = append(addresses, addressesOf(&list.Items[i], portName)...)
	}
	return addresses, nil
}

func addressesOf(s *discoveryv1.EndpointSlice, portName string) (addresses []string) {
	for _, p := range s.Ports {
		if p.Name == nil || *p.Name != portName || p.Port == nil {
			continue
		}
		for _, e := range s.Endpoints {
			for _, ip := range e.Addresses {
				addresses = append(addresses, net.JoinHostPort(ip, strconv.Itoa(int(*p.Port))))
			}
		}
	}
	return addresses
}
