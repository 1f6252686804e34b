package forward

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// start runs a forwarder to target and returns its address. It must end with the test, and all its connections with it.
func start(t *testing.T, target func(ctx context.Context, again bool) (string, error)) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	listener := listen(t)
	f := &Forwarder{Name: "test", Target: target, Dial: dial, Log: slog.New(slog.DiscardHandler)}
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("forwarder: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the forwarder does not end")
		}
	})
	return listener.Addr().String()
}

func always(address string) func(context.Context, bool) (string, error) {
	return func(context.Context, bool) (string, error) { return address, nil }
}

func connect(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func accept(t *testing.T, listener net.Listener) *net.TCPConn {
	t.Helper()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func exchange(t *testing.T, from, to net.Conn, message string) {
	t.Helper()
	if _, err := io.WriteString(from, message+"\n"); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReader(to).ReadString('\n')
	if err != nil || got != message+"\n" {
		t.Fatalf("got %q, %v, want %q", got, err, message)
	}
}

func TestForwarder_BytesGoBothWaysAsTheyCome(t *testing.T) {
	target := listen(t)
	client := connect(t, start(t, always(target.Addr().String())))
	server := accept(t, target)
	for range 3 { // each before the next: nothing waits for a buffer to fill
		exchange(t, client, server, "question")
		exchange(t, server, client, "answer")
	}
}

func TestForwarder_HalfAConnectionMayEnd(t *testing.T) {
	target := listen(t)
	client := connect(t, start(t, always(target.Addr().String())))
	server := accept(t, target)
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(server); err != nil || len(rest) > 0 {
		t.Fatalf("the server read %q, %v, want the end", rest, err)
	}
	exchange(t, server, client, "answer after the end of the question")
}

func TestForwarder_AnEndOfTheServerReachesTheClient(t *testing.T) {
	target := listen(t)
	client := connect(t, start(t, always(target.Addr().String())))
	accept(t, target).Close()
	if _, err := io.ReadAll(client); err != nil {
		t.Errorf("the client read %v, want the end", err)
	}
}

// A server that dies resets its connections; the client must not be left waiting for the rest.
func TestForwarder_AResetReachesTheClient(t *testing.T) {
	target := listen(t)
	client := connect(t, start(t, always(target.Addr().String())))
	server := accept(t, target)
	if err := server.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	server.Close()
	io.ReadAll(client) // ends, with whatever error; the deadline would be the failure
	if _, err := client.Read(make([]byte, 1)); errors.Is(err, context.DeadlineExceeded) || err == nil {
		t.Errorf("the client read on: %v", err)
	}
}

func TestForwarder_WaitsForATargetThatIsAwayForAMoment(t *testing.T) {
	target := listen(t)
	var asked atomic.Int32
	address := start(t, func(_ context.Context, again bool) (string, error) {
		n := asked.Add(1)
		if again != (n > 1) {
			t.Errorf("question %d: again is %v", n, again)
		}
		if n < 3 {
			return "", errors.New("not there yet")
		}
		return target.Addr().String(), nil
	})
	client := connect(t, address)
	exchange(t, client, accept(t, target), "hello")
	if asked.Load() != 3 {
		t.Errorf("asked %d times, want 3", asked.Load())
	}
}

func TestForwarder_ItsEndEndsItsConnections(t *testing.T) {
	target := listen(t)
	var client net.Conn
	t.Run("open connection", func(t *testing.T) {
		address := start(t, always(target.Addr().String())) // ends with this subtest, whose cleanup checks that
		var err error
		if client, err = net.Dial("tcp", address); err != nil {
			t.Fatal(err)
		}
		exchange(t, client, accept(t, target), "hello")
	})
	defer client.Close()
	client.SetDeadline(time.Now().Add(10 * time.Second)) // an error shows in the read
	if _, err := client.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("read %v, want the connection ended", err)
	}
}
