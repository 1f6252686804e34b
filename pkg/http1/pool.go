package http1

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	defaultMostIdle  = 256
	defaultPoolIdle  = time.Second
	ticksPerIdleTime = 4
)

// PoolConfig is what a Pool needs and may be told.
type PoolConfig struct {
	// Address is the endpoint's, host:port. It is also the Host of requests that have none.
	Address string
	// Dial opens a TCP connection to the endpoint. nil dials Address.
	Dial func(context.Context) (net.Conn, error)
	// MostIdle is how many connections are kept between two requests. 0 means 256; negative means none.
	MostIdle int
	// IdleTimeout is for how long. It must be less than the endpoint's: a request that meets its close is lost. 0 means 1 s.
	IdleTimeout time.Duration
	// HeadBytes is how long the head of an answer may be. 0 means 1 MiB.
	HeadBytes int
}

// Pool keeps the connections to one endpoint. All methods may be called from any goroutine.
type Pool struct {
	cfg  PoolConfig
	tick atomic.Uint32 // counts quarters of IdleTimeout while connections are idle

	mu    sync.Mutex
	idle  []*endpointConn // the last one is used next
	timer *time.Timer     // nil until it is needed
	ticks bool            // the timer runs
}

// NewPool returns a Pool. It connects to nobody before the first request.
func NewPool(cfg PoolConfig) (*Pool, error) {
	if cfg.Address == "" || cfg.IdleTimeout < 0 || cfg.HeadBytes < 0 {
		return nil, errors.New("http1: a pool needs an address, and limits that are not negative")
	}
	setDefault(&cfg.MostIdle, defaultMostIdle)
	setDefault(&cfg.IdleTimeout, defaultPoolIdle)
	setDefault(&cfg.HeadBytes, 1<<20)
	if cfg.Dial == nil {
		var dialer net.Dialer
		cfg.Dial = func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", cfg.Address) }
	}
	return &Pool{cfg: cfg}, nil
}

// CloseIdle closes the connections that carry no request.
func (p *Pool) CloseIdle() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, e := range idle {
		e.close()
	}
}

// take returns the connection that was used last, or nil.
func (p *Pool) take() *endpointConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	e := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return e
}

func (p *Pool) dial(ctx context.Context) (*endpointConn, error) {
	nc, err := p.cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		_ = nc.Close() // nothing was sent on it
		return nil, fmt.Errorf("http1: %T is no TCP connection", nc)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		_ = tcp.Close() // it is closed
		return nil, err
	}
	e := &endpointConn{tcp: tcp, raw: raw}
	e.steps = e.step
	return e, nil
}

// put keeps a connection for the next request.
func (p *Pool) put(e *endpointConn) {
	e.used = true
	e.tick = p.tick.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= p.cfg.MostIdle {
		e.close()
		return
	}
	p.idle = append(p.idle, e)
	if !p.ticks {
		p.ticks = true
		if p.timer == nil {
			p.timer = time.AfterFunc(p.cfg.IdleTimeout/ticksPerIdleTime, p.age)
		} else {
			p.timer.Reset(p.cfg.IdleTimeout / ticksPerIdleTime)
		}
	}
}

// age closes the connections that have been idle for too long. It runs while there are any.
func (p *Pool) age() {
	now := p.tick.Add(1)
	p.mu.Lock()
	old := 0
	for old < len(p.idle) && now-p.idle[old].tick >= ticksPerIdleTime {
		old++
	}
	aged := append([]*endpointConn(nil), p.idle[:old]...)
	n := copy(p.idle, p.idle[old:])
	clear(p.idle[n:])
	p.idle = p.idle[:n]
	if p.ticks = len(p.idle) > 0; p.ticks {
		p.timer.Reset(p.cfg.IdleTimeout / ticksPerIdleTime)
	} else {
		p.idle = nil // a burst may have made it long
	}
	p.mu.Unlock()
	for _, e := range aged {
		e.close()
	}
}

// endpointConn is a connection to an endpoint. It belongs to one exchange, or to its pool.
type endpointConn struct {
	tcp  *net.TCPConn
	raw  syscall.RawConn
	used bool // it has carried a request before
	tick uint32

	steps  func(fd uintptr) bool // step, made once
	out    []byte                // what is left to write
	in     []byte                // where the first of the answer goes
	wait   bool                  // for the answer
	wrote  int
	n      int
	err    error
	waited bool

	answers waits
	spin    *spinner // of the exchange
}

// close is safe to be called by anybody, and ends what waits for the connection.
func (e *endpointConn) close() {
	_ = e.tcp.Close() // nothing that counts is on its way
}

// errStale is given for a connection that the endpoint has closed, or has sent something on that nobody asked for.
var errStale = errors.New("the connection is stale")

// begin writes a head and, if wait is set, reads the first of what comes into in. It returns how much of it was read. wrote tells
// whether any byte may have reached the endpoint.
//
// Writing is done within the read, and the answer is not looked for before the poller tells of it, which saves a system call that
// would find nothing. That is safe because the read has reset the poller's edge before the look for something received, so that
// what comes after the look gives a new one: see BenchmarkForward. What a spinner takes before leaves an edge behind, which wakes the
// next wait once too early.
func (e *endpointConn) begin(out, in []byte, wait bool, spin *spinner) (n int, err error) {
	e.out, e.in, e.wait, e.spin = out, in, wait, spin
	e.wrote, e.n, e.err, e.waited = 0, 0, nil, false
	err = e.raw.Read(e.steps)
	if wait {
		e.answers.end(spin)
	}
	rest := e.out
	e.out, e.in = nil, nil
	if err == nil {
		err = e.err
	}
	if err != nil || len(rest) == 0 {
		return e.n, err
	}
	// The connection takes no more for now.
	if n, err := e.tcp.Write(rest); err != nil {
		e.wrote += n
		return 0, err
	}
	return 0, nil
}

func (e *endpointConn) step(fd uintptr) bool {
	if e.waited {
		e.n, e.err = readFD(fd, e.in)
		return e.err != syscall.EAGAIN || e.again()
	}
	if _, err := peekFD(fd); err != syscall.EAGAIN {
		e.err = errStale
		return true
	}
	for len(e.out) > 0 {
		n, err := writeFD(fd, e.out)
		e.out = e.out[n:]
		e.wrote += n
		if err == syscall.EAGAIN {
			return true
		}
		if err != nil {
			e.err = err
			return true
		}
	}
	e.waited = true
	if !e.wait {
		return true
	}
	e.answers.begin(e.spin, 1)
	e.n, e.err = e.spin.read(fd, e.in, &e.answers, 1)
	return e.err != syscall.EAGAIN || e.again()
}

// again forgets that there was nothing yet.
func (e *endpointConn) again() bool {
	e.n, e.err = 0, nil
	return false
}
