package http1

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultHeadTimeout = 30 * time.Second
	defaultIdleTimeout = 2 * time.Minute
	defaultHeadBytes   = 64 << 10
	defaultTargetBytes = 16 << 10
	defaultMostFields  = 256
	firstBytes         = 200 * time.Millisecond // for the request of a connection that was just taken, or answered, when the end began
	endPause           = 20 * time.Millisecond  // between two looks for connections that have waited for it in vain
	writeGrace         = time.Second            // after an exchange's deadline, for the answer that says so
)

// ServerConfig is what a Server needs and may be told.
type ServerConfig struct {
	// Handler serves one exchange, and has answered, forwarded or passed it when it returns; else the connection is closed. It is
	// called from many goroutines. Needed.
	Handler func(*Exchange)
	// Rest takes over connections that carry what the engine does not serve: HTTP/2, upgrades, CONNECT, targets that are no path,
	// and what the Handler passes on. nil refuses such requests with 501. Whoever made it shuts it down, after this Server.
	Rest *http.Server
	// HeadTimeout is what a request's head may take from its first byte, and a new connection's first byte from its opening. 0
	// means 30 s; negative means no limit.
	HeadTimeout time.Duration
	// ReadTimeout is what a whole request may take from the end of its head. 0 or less means no limit.
	ReadTimeout time.Duration
	// IdleTimeout is how long a connection is kept between two requests. 0 means 2 minutes; negative means no limit.
	IdleTimeout time.Duration
	// StallTimeout is how long a client may send nothing of a body that it owes, or take nothing of its answer. 0 or less means no
	// limit.
	StallTimeout time.Duration
	// Spin is how long an exchange that is the only one may ask a connection again and again for what comes at once, rather than sleep
	// until it does, where it has come so soon before: see spinner. 0 or less means not at all, and so does having one processor.
	Spin time.Duration
	// HeadBytes is how long a head may be, else 431. 0 means 64 KiB.
	HeadBytes int
	// TargetBytes is how long a target may be, else 414. 0 means 16 KiB.
	TargetBytes int
	// Fields is how many fields a head may have, else 431. 0 means 256.
	Fields int
	// Log gets what nobody else is told, at level Debug, and panics of the Handler. nil means none.
	Log *slog.Logger
}

// Server serves HTTP/1.1 on TCP connections. All methods may be called from any goroutine.
type Server struct {
	cfg       ServerConfig
	rest      *handover // nil without ServerConfig.Rest
	exchanges sync.Pool // of *Exchange
	copies    sync.Pool // of *[copyBytes]byte
	date      atomic.Pointer[date]
	epoch     time.Time
	spin      spinner
	ending    atomic.Bool // answers close their connections

	drowsy atomic.Bool   // the sweeper looks seldom, and wants to be woken when an exchange begins
	kick   chan struct{} // wakes it

	mu        sync.Mutex
	conns     []*conn
	listeners map[net.Listener]struct{}
	closed    bool          // no connection is taken any more
	changed   chan struct{} // closed when a connection has gone, if somebody waits
	tasks     sync.WaitGroup
	sweeping  bool
}

// NewServer returns a Server. It starts nothing.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Handler == nil {
		return nil, errors.New("http1: a Handler is needed")
	}
	if cfg.HeadBytes < 0 || cfg.TargetBytes < 0 || cfg.Fields < 0 {
		return nil, errors.New("http1: a limit is negative")
	}
	setDefault(&cfg.HeadTimeout, defaultHeadTimeout)
	setDefault(&cfg.IdleTimeout, defaultIdleTimeout)
	setDefault(&cfg.HeadBytes, defaultHeadBytes)
	setDefault(&cfg.TargetBytes, defaultTargetBytes)
	setDefault(&cfg.Fields, defaultMostFields)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, kick: make(chan struct{}, 1), listeners: map[net.Listener]struct{}{}, epoch: time.Now()}
	if runtime.GOMAXPROCS(0) > 1 {
		s.spin.limit = cfg.Spin
	}
	if cfg.Rest != nil {
		s.rest = newHandover()
	}
	return s, nil
}

func setDefault[T int | time.Duration](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// Serve takes connections from ln until it is closed, and closes it. It returns ErrServerClosed after Shutdown or Close, else
// what broke ln.
func (s *Server) Serve(ln net.Listener) error {
	defer ln.Close()
	if !s.begin(ln) {
		return ErrServerClosed
	}
	defer s.forget(ln)
	for pause := time.Duration(0); ; {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
			s.take(nc)
		case s.isClosed():
			return ErrServerClosed
		case isTemporary(err):
			// Out of descriptors, or a connection that was gone before it was taken.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.cfg.Log.Warn("taking a connection", "err", err)
			time.Sleep(pause)
		default:
			return err
		}
	}
}

func isTemporary(err error) bool {
	var e interface{ Temporary() bool }
	return errors.As(err, &e) && e.Temporary()
}

// begin notes ln and starts what runs beside the connections.
func (s *Server) begin(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[ln] = struct{}{}
	if s.sweeping {
		return true
	}
	s.sweeping = true
	s.tasks.Go(s.sweep)
	if s.rest != nil {
		s.rest.address = ln.Addr()
		s.tasks.Go(func() {
			if err := s.cfg.Rest.Serve(s.rest); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				s.cfg.Log.Error("serving connections that were handed over", "err", err)
			}
		})
	}
	return true
}

func (s *Server) forget(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ln)
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// take serves a connection from now on. What is no TCP socket is left to Rest.
func (s *Server) take(nc net.Conn) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		if s.rest == nil || !s.rest.hand(nc) {
			_ = nc.Close() // there is nobody to serve it
		}
		return
	}
	c, err := newConn(s, tcp)
	if err != nil {
		_ = tcp.Close() // it is gone already
		return
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		_ = tcp.Close() // it came as the port closed
		return
	}
	c.index = len(s.conns)
	s.conns = append(s.conns, c)
	s.tasks.Go(c.serve)
	s.mu.Unlock()
	s.wake()
}

// drop forgets a connection that is served no more.
func (s *Server) drop(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.conns[len(s.conns)-1]
	s.conns[c.index], last.index = last, c.index
	s.conns[len(s.conns)-1] = nil
	s.conns = s.conns[:len(s.conns)-1]
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// EndKeepAlive makes every answer that begins from now on close its connection. Connections that are idle are left, so that no
// request is lost that meets their close: each carries one more, or ends with Shutdown.
func (s *Server) EndKeepAlive() { s.ending.Store(true) }

// Shutdown closes the listeners and idle connections, and waits until every request that was read is answered. A connection that
// was just taken, or answered without a word of the end, gets a moment to carry one. It returns nil, or ctx's error, when Close is left to be called. Rest is not shut down:
// connections that were handed over are its own. It gets no more when Shutdown has returned nil.
func (s *Server) Shutdown(ctx context.Context) error {
	s.ending.Store(true)
	s.closeListeners()
	moment := time.NewTimer(firstBytes)
	defer moment.Stop()
	look := time.NewTicker(endPause)
	defer look.Stop()
	for over := false; ; {
		changed := s.closeIdle(over)
		if changed == nil {
			s.finish()
			return nil
		}
		select {
		case <-changed:
		case <-look.C:
		case <-moment.C:
			over = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// closeIdle closes the connections that carry no request, those that never did only if fresh. It returns a channel that is closed
// when a connection has gone, or nil if there is none.
func (s *Server) closeIdle(fresh bool) <-chan struct{} {
	for _, c := range s.snapshot(nil) {
		c.closeIdle(fresh)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) == 0 {
		return nil
	}
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

func (s *Server) snapshot(into []*conn) []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(into[:0], s.conns...)
}

func (s *Server) closeListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for ln := range s.listeners {
		_ = ln.Close() // Serve closes it too
	}
}

// Close closes the listeners and every connection, whatever it carries, and waits until no Handler runs. Connections that were
// handed over to Rest stay its own.
func (s *Server) Close() error {
	s.ending.Store(true)
	s.closeListeners()
	for _, c := range s.snapshot(nil) {
		c.abort()
	}
	s.finish()
	return nil
}

// finish ends what runs beside the connections, and waits for it and them.
func (s *Server) finish() {
	if s.rest != nil {
		_ = s.rest.Close() // it has nothing to fail
	}
	s.wake()
	s.tasks.Wait()
}

// date is the value of the Date field for one second.
type date struct {
	second int64
	text   []byte
}

// dateAt is made anew once in a second, whoever comes first.
func (s *Server) dateAt(now time.Time) []byte {
	d := s.date.Load()
	if d == nil || d.second != now.Unix() {
		d = &date{now.Unix(), []byte(now.UTC().Format(http.TimeFormat))}
		s.date.Store(d)
	}
	return d.text
}

func (s *Server) lendCopy() *[copyBytes]byte {
	if b, ok := s.copies.Get().(*[copyBytes]byte); ok {
		return b
	}
	return new([copyBytes]byte)
}
