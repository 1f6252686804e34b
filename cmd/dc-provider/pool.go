package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/kube"
	"github.com/dragonchain/dc-provider/pkg/pool"
	"github.com/dragonchain/dc-provider/pkg/scaler"
)

// poolConfig is what flags say of the warm pool.
type poolConfig struct {
	size, nodeClaims int
	url, owner       string
	requests, limits function.Resources
}

// warmPool is what hands out spares, joined to the cluster that makes and adopts them.
type warmPool struct {
	*pool.Pool
	registrar *pool.Registrar
	key       *assignment.ProviderKey
	claims    *prometheus.CounterVec
	steps     *prometheus.HistogramVec
	// managed are the namespaces that have a pool, if this provider keeps it, and none otherwise.
	managed func() []string
	// asks are the spares that are being asked to register.
	asks sync.WaitGroup
}

// newWarmPool makes the pool; without a URL at which spares can register there is none.
func (p *provider) newWarmPool(s secrets) (*warmPool, error) {
	if p.cfg.pool.url == "" {
		return nil, nil
	}
	w := &warmPool{
		claims: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dc_pool_claims_total", Help: "Wakes that could have been given a spare of the warm pool, by how that ended.",
		}, []string{"outcome"}),
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dc_pool_step_seconds", Help: "Time of a claim's steps: assign hands the function to the spare, adopt changes its pod.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2},
		}, []string{"step"}),
	}
	w.managed = func() []string {
		if !p.cluster.KeepsPool() {
			return nil
		}
		return p.cluster.Namespaces()
	}
	for _, outcome := range pool.Outcomes {
		w.claims.WithLabelValues(string(outcome)) // a series that is not there yet cannot be seen to rise
	}
	var err error
	if w.key, err = assignment.DeriveProviderKey(s.readyKey); err != nil {
		return nil, err
	}
	if w.registrar, err = pool.NewRegistrar(pool.RegistrarConfig{
		Key:     w.key,
		Confirm: p.confirmSpare,
		Assignment: func(ctx context.Context, f *function.Function) (assignment.Assignment, error) {
			return p.cluster.Assignment(ctx, f)
		},
	}); err != nil {
		return nil, err
	}
	w.Pool, err = pool.New(pool.Config{
		Assign: w.registrar.Assign,
		Adopt: func(ctx context.Context, s pool.Spare, f *function.Function) error {
			return p.cluster.Adopt(ctx, s.Pod, s.ID, s.Taken, f)
		},
		Discard:    func(s pool.Spare) { p.cluster.Discard(s.ID) },
		NodeClaims: p.cfg.pool.nodeClaims,
		OnClaim:    w.observe,
		Log:        p.log,
	})
	return w, err
}

func (w *warmPool) observe(_ *function.Function, outcome pool.Outcome, took pool.Phases) {
	w.claims.WithLabelValues(string(outcome)).Inc()
	if outcome == pool.Claimed {
		w.steps.WithLabelValues("assign").Observe(took.Assign.Seconds())
		w.steps.WithLabelValues("adopt").Observe(took.Adopt.Seconds())
	}
}

var (
	freeDesc     = prometheus.NewDesc("dc_pool_spares", "Spares that may be claimed, as the provider that keeps the pool knows them.", []string{"namespace"}, nil)
	startingDesc = prometheus.NewDesc("dc_pool_claims_starting", "Claims whose functions do not serve yet.", []string{"node"}, nil)
)

// Describe implements prometheus.Collector.
func (w *warmPool) Describe(to chan<- *prometheus.Desc) {
	w.claims.Describe(to)
	w.steps.Describe(to)
	to <- freeDesc
	to <- startingDesc
}

// Collect implements prometheus.Collector.
func (w *warmPool) Collect(to chan<- prometheus.Metric) {
	w.claims.Collect(to)
	w.steps.Collect(to)
	free, starting := w.Counts()
	for _, namespace := range w.managed() {
		to <- prometheus.MustNewConstMetric(freeDesc, prometheus.GaugeValue, float64(free[namespace]), namespace)
	}
	for node, n := range starting {
		to <- prometheus.MustNewConstMetric(startingDesc, prometheus.GaugeValue, float64(n), node)
	}
}

// kubePool is the pool as the cluster keeps it; nil without one.
func (p *provider) kubePool() *kube.Pool {
	w := p.pool
	if w == nil {
		return nil
	}
	return &kube.Pool{
		Size: p.cfg.pool.size, Requests: &p.cfg.pool.requests, Limits: &p.cfg.pool.limits,
		URL: p.cfg.pool.url, Owner: p.cfg.pool.owner, Key: w.key.Public(),
		Claim: w.Claim, Registered: w.Registered, Retire: w.Retire, Gone: w.Remove, Serves: w.Serves, Starting: w.Starting,
		Shun: w.Shun, Shunned: w.Shunned,
		Ask: func(ctx context.Context, pod string, ip netip.Addr) {
			w.asks.Go(func() {
				if err := p.registerSpare(ctx, pod, ip); err != nil {
					p.log.Debug("spare does not register yet", "replica", pod, "err", err)
				}
			})
		},
	}
}

// confirmSpare asks Kubernetes whether it is a spare that has said so.
func (p *provider) confirmSpare(ctx context.Context, s assignment.Spare, token string) (pool.Pod, error) {
	namespace, node, is, err := p.cluster.ConfirmSpare(ctx, s.Pod, s.UID, token)
	if !is {
		return pool.Pod{}, fmt.Errorf("%w: %w", pool.ErrUnknown, err)
	}
	return pool.Pod{ID: s.UID, Namespace: namespace, Node: node}, err
}

// registerSpare makes the spare at an address one that can be claimed. An error wraps function.ErrNotFound if it is none, and
// function.ErrConflict if it, or this provider, cannot have one claimed now.
func (p *provider) registerSpare(ctx context.Context, name string, ip netip.Addr) error {
	switch {
	case !p.cluster.HasSpare(name, ip):
		return function.NotFoundf("there is no spare %q", name)
	case !p.cluster.KeepsPool():
		return fmt.Errorf("this provider does not keep the warm pool now: %w", function.ErrConflict)
	}
	s, err := p.pool.registrar.Ask(ctx, ip)
	switch {
	case errors.Is(err, pool.ErrUnknown), err == nil && s.Pod != name:
		p.log.Warn("not a spare", "replica", name, "address", ip.String(), "err", err)
		return function.NotFoundf("there is no spare %q", name)
	case err != nil:
		return fmt.Errorf("%w: %w", function.ErrConflict, err)
	case !p.pool.Add(s):
		return fmt.Errorf("spare %q was claimed: %w", name, function.ErrConflict)
	}
	p.log.Debug("spare registered", "namespace", s.Namespace, "replica", s.Pod)
	p.cluster.SpareRegistered()
	return nil
}

// claimed lists for the scaler what the cluster serves by claims alone.
func (p *provider) claimed() []scaler.Claimed {
	var list []scaler.Claimed
	for _, c := range p.cluster.Claimed() {
		list = append(list, scaler.Claimed(c))
	}
	return list
}
