package forward

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// patience is how long a connection waits for a target that refuses.
	patience   = 5 * time.Second
	retryEvery = 100 * time.Millisecond
	dialLimit  = 2 * time.Second
)

// Forwarder forwards every connection of one listener.
type Forwarder struct {
	// Name is for the log.
	Name string
	// Target gives the address to dial. It is asked before every dial and may fail; again says that this connection's last
	// dial did.
	Target func(ctx context.Context, again bool) (string, error)
	// Dial connects to that address.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	Log  *slog.Logger
}

// Run serves the listener until ctx ends, closes it and all connections, and returns once they are done.
func (f *Forwarder) Run(ctx context.Context, listener net.Listener) error {
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		client, err := listener.Accept()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("accept for %s: %w", f.Name, err)
		}
		conns.Go(func() {
			if err := f.forward(ctx, client); err != nil {
				f.Log.Warn("connection not forwarded", "target", f.Name, "err", err)
			}
		})
	}
}

// forward carries one connection to its end. The error says why there was nothing to carry it to.
func (f *Forwarder) forward(ctx context.Context, client net.Conn) error {
	defer client.Close()
	server, err := f.dial(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { client.Close(); server.Close() })()
	var up sync.WaitGroup
	up.Go(func() { carry(server, client) })
	carry(client, server)
	up.Wait()
	return nil
}

func (f *Forwarder) dial(ctx context.Context) (net.Conn, error) {
	deadline := time.Now().Add(patience)
	for again := false; ; again = true {
		conn, err := f.dialOnce(ctx, again)
		if err == nil || time.Now().After(deadline) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retryEvery):
		}
	}
}

func (f *Forwarder) dialOnce(ctx context.Context, again bool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	address, err := f.Target(ctx, again)
	if err != nil {
		return nil, err
	}
	return f.Dial(ctx, address)
}

// carry copies until the source ends, then ends the destination's inward side. A broken source or destination ends the whole
// connection: the other direction must not wait for a peer that will never speak again.
func carry(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		to.Close()
		from.Close()
	}
}
