package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// readHeaderTimeout ends connections that send their header a byte at a time.
	readHeaderTimeout = 10 * time.Second
	// idleTimeout is longer than that of the load balancers in front, so that they close first and no request is lost
	// on a connection that we close at the same moment.
	idleTimeout = 2 * time.Minute
)

// serve answers on address until ctx ends, then drains: no new connections, and calls in flight have until the deadline,
// which is asked for then, to finish. onDrain is called when draining begins. There are no read and write timeouts: bodies
// are streams of any length, and each call carries its own deadline.
func serve(ctx context.Context, log *slog.Logger, address string, handler http.Handler, deadline func() time.Time, onDrain func()) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	server.RegisterOnShutdown(onDrain)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("listening", "address", listener.Addr().String())
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", address, err)
	case <-ctx.Done():
	}
	until, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline())
	defer cancel()
	if err := server.Shutdown(until); err != nil {
		log.Warn("calls were cut off at the drain's deadline", "address", address, "err", err)
		return errors.Join(server.Close(), drained(<-served))
	}
	return drained(<-served)
}

// drained turns the error that Serve always ends with into nil when it is the one that Shutdown causes.
func drained(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
