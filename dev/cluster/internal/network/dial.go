package network

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial connects to a TCP address, an IP and a port, as seen from inside the namespace held open by nsFile.
func Dial(ctx context.Context, nsFile, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := dialInside(ctx, nsFile, address)
		done <- result{conn, err}
	}()
	r := <-done // ends with ctx, because the dial does
	return r.conn, r.err
}

// dialInside needs a goroutine of its own: it moves the thread under it. A socket belongs to the namespace of the thread
// that made it, for good, and Go makes it on the calling thread when the address needs no resolving.
func dialInside(ctx context.Context, nsFile, address string) (net.Conn, error) {
	inside, err := os.Open(nsFile)
	if err != nil {
		return nil, err
	}
	defer inside.Close()
	runtime.LockOSThread()
	outside, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer outside.Close()
	if err := unix.Setns(int(inside.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("enter %s: %w", nsFile, err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	// Without the way back the thread stays locked, and Go throws it away with the goroutine.
	if backErr := unix.Setns(int(outside.Fd()), unix.CLONE_NEWNET); backErr == nil {
		runtime.UnlockOSThread()
	}
	return conn, err
}
