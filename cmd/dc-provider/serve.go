package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/dragonchain/dc-provider/pkg/http1"
)

const (
	// readHeaderTimeout ends connections that send their header a byte at a time.
	readHeaderTimeout = 10 * time.Second
	// idleTimeout is longer than that of the load balancers in front, so that they close first and no request is lost
	// on a connection that we close at the same moment.
	idleTimeout = 2 * time.Minute
	// firstBytes is how long the request of a connection that was just taken may be on its way.
	firstBytes = 300 * time.Millisecond
	// drainPause is between two looks at a server that drains: calls, of which there are far more, then need not tell.
	drainPause = 10 * time.Millisecond
	// frontSpin is what a call that is alone asks for its answer again and again, rather than sleep, where the function has been quick
	// before: above what one takes that wakes a processor and answers at once. A caller of one call at a time then waits a third less for
	// what is added to its function, for a fifth more of our processor time, see scenario proxy/c1. Among others no call does it.
	frontSpin = 250 * time.Microsecond
	// headBytes and headFields bound a request's head, as net/http does or nearly so.
	headBytes  = 1 << 20
	headFields = 1 << 10
)

// server answers on one listener. There are no read and write timeouts: bodies are streams of any length, and each call
// carries its own deadline.
//
// Where functions are called, front takes the connections, serves plain calls, and hands connections that carry anything else
// to net/http for good. Elsewhere net/http takes them.
//
// http.Server.Shutdown would lose calls: a request that was read and not handed over yet is dropped (Go 1.26, conn.serve), and
// upgraded connections are not waited for.
type server struct {
	http     http.Server
	front    *http1.Server // nil if no functions are called here
	listener net.Listener
	log      *slog.Logger
	handler  http.Handler
	ending   atomic.Bool
	inFlight atomic.Int64
	// failed gets what ended the listener.
	failed chan error
}

// listen begins to answer on address by handler and, unless it is nil, by calls, which passes on to handler what is not for it.
func listen(log *slog.Logger, address string, handler http.Handler, calls func(*http1.Exchange)) (*server, error) {
	s, err := open(log, address, handler)
	if err != nil {
		return nil, err
	}
	serve := s.http.Serve
	if calls != nil {
		if s.front, err = s.newFront(calls); err != nil {
			return nil, errors.Join(err, s.listener.Close())
		}
		serve = s.front.Serve
	}
	go func() { s.failed <- serve(s.listener) }()
	s.log.Info("listening")
	return s, nil
}

// listenTLS is listen behind TLS, with the certificate of a folder. All of it is net/http's.
func listenTLS(log *slog.Logger, address string, handler http.Handler, folder string) (*server, error) {
	cert, err := newCertificate(log, folder)
	if err != nil {
		return nil, err
	}
	s, err := open(log, address, handler)
	if err != nil {
		return nil, err
	}
	s.http.TLSConfig = &tls.Config{GetCertificate: cert.get, MinVersion: tls.VersionTLS12}
	go func() { s.failed <- s.http.ServeTLS(s.listener, "", "") }()
	s.log.Info("listening with TLS")
	return s, nil
}

// open takes the address, and answers nobody yet.
func open(log *slog.Logger, address string, handler http.Handler) (*server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s := &server{listener: listener, log: log.With("address", listener.Addr().String()), handler: handler, failed: make(chan error, 1)}
	s.http = http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		Protocols:         new(http.Protocols),
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetHTTP2(true)            // with TLS, where the client asks for it
	s.http.Protocols.SetUnencryptedHTTP2(true) // without, where the client begins with it
	return s, nil
}

func (s *server) newFront(calls func(*http1.Exchange)) (*http1.Server, error) {
	return http1.NewServer(http1.ServerConfig{
		Handler:     calls,
		Rest:        &s.http,
		HeadTimeout: readHeaderTimeout,
		IdleTimeout: idleTimeout,
		Spin:        frontSpin,
		HeadBytes:   headBytes,
		TargetBytes: headBytes,
		Fields:      headFields,
		Log:         s.log,
	})
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.inFlight.Add(1)
	defer s.inFlight.Add(-1)
	if s.ending.Load() && r.Header.Get("Upgrade") == "" {
		w.Header().Set("Connection", "close")
	}
	s.handler.ServeHTTP(w, r)
}

// announce has callers leave: every answer to a request that comes from now on closes its connection.
func (s *server) announce() {
	s.ending.Store(true)
	if s.front != nil {
		s.front.EndKeepAlive()
	}
}

// drain takes no new connections, and returns when no call is in flight, or cuts off those that are when ctx ends.
func (s *server) drain(ctx context.Context) error {
	err := s.listener.Close()
	// This closes idle connections, which have not been used since the end was announced, and others behind their answer.
	s.http.SetKeepAlivesEnabled(false)
	if s.front != nil {
		// When it has returned, no connection is handed over any more.
		if s.front.Shutdown(ctx) != nil {
			s.log.Warn("calls were cut off at the drain's deadline")
			return errors.Join(err, s.end())
		}
	}
	look := time.NewTicker(drainPause)
	defer look.Stop()
	for quiet := time.Duration(0); quiet < firstBytes; quiet += drainPause {
		if s.inFlight.Load() > 0 {
			quiet = 0
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			s.log.Warn("calls were cut off at the drain's deadline", "in_flight", s.inFlight.Load())
			return errors.Join(err, s.end())
		}
	}
	return errors.Join(err, s.end())
}

// end closes all that is open.
func (s *server) end() error {
	err := s.http.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // the listener, by drain
	}
	if s.front != nil {
		err = errors.Join(err, s.front.Close())
	}
	return err
}

// listeners are the gateway's and the provider's, and the gateway's with TLS, or nil.
type listeners struct{ gateway, provider, secure *server }

// openListeners begins to answer on all or on none.
func openListeners(log *slog.Logger, cfg config, gateway, provider http.Handler, calls func(*http1.Exchange)) (l listeners, err error) {
	if l.gateway, err = listen(log, cfg.gatewayListen, gateway, calls); err != nil {
		return listeners{}, err
	}
	if l.provider, err = listen(log, cfg.providerListen, provider, calls); err != nil {
		return listeners{}, errors.Join(err, l.gateway.end())
	}
	if cfg.tlsListen == "" {
		return l, nil
	}
	if l.secure, err = listenTLS(log, cfg.tlsListen, gateway, cfg.tlsDir); err != nil {
		return listeners{}, errors.Join(err, l.gateway.end(), l.provider.end())
	}
	return l, nil
}

// wait returns when ctx ends, or an error when a listener breaks.
func (l listeners) wait(ctx context.Context) error {
	var secureFailed chan error
	if l.secure != nil {
		secureFailed = l.secure.failed
	}
	select {
	case err := <-secureFailed:
		return fmt.Errorf("serve clients with TLS: %w", err)
	case err := <-l.gateway.failed:
		return fmt.Errorf("serve clients: %w", err)
	case err := <-l.provider.failed:
		return fmt.Errorf("serve as a provider: %w", err)
	case <-ctx.Done():
		return nil
	}
}

func (l listeners) announce() {
	if l.secure != nil {
		l.secure.announce()
	}
	l.gateway.announce()
	l.provider.announce()
}

// drain ends the gateway's first, that with TLS before the other: calls that wait on it for a replica go on when the replica's watchdog tells the provider's
// listener that it is ready.
func (l listeners) drain(ctx context.Context) error {
	if l.gateway == nil {
		return nil // never opened
	}
	var err error
	if l.secure != nil {
		err = l.secure.drain(ctx)
	}
	return errors.Join(err, l.gateway.drain(ctx), l.provider.drain(ctx))
}
