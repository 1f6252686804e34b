package proxy

import (
	"context"
	"net"

	"github.com/dragonchain/dc-provider/pkg/http1"
)

// poolOf returns the connections to an endpoint, made for the first call that goes there. Most endpoints of a large installation
// are called by nobody for long, and have none.
func (p *Proxy) poolOf(s *slot) (*http1.Pool, error) {
	if pool := s.pool.Load(); pool != nil {
		return pool, nil
	}
	address := s.endpoint.Address
	pool, err := http1.NewPool(http1.PoolConfig{
		Address:     address,
		Dial:        func(ctx context.Context) (net.Conn, error) { return p.dialer.DialContext(ctx, "tcp", address) },
		MostIdle:    idlePerEndpoint,
		IdleTimeout: idleTimeout,
	})
	if err != nil {
		return nil, err
	}
	if !s.pool.CompareAndSwap(nil, pool) {
		return s.pool.Load(), nil // another call was faster
	}
	return pool, nil
}

// closeIdle closes the connections that carry no call, of an endpoint that has left or is not called any more. Those that do are
// kept for idleTimeout at most when their call has ended.
func (s *slot) closeIdle() {
	if pool := s.pool.Load(); pool != nil {
		go pool.CloseIdle() // which ends by itself; there may be many, and the caller holds a lock
	}
}

// closeIdle closes the connections that carry no call.
func (a *activity) closeIdle() {
	a.mu.Lock()
	var pools []*http1.Pool
	for _, s := range a.slots {
		if pool := s.pool.Load(); pool != nil {
			pools = append(pools, pool)
		}
	}
	a.mu.Unlock()
	for _, pool := range pools {
		pool.CloseIdle()
	}
}
