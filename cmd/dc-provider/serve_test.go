package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// A call in flight when the end is asked for is answered, while new connections are refused.
func TestServe_DrainsCallsInFlight(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		io.WriteString(w, "done")
	})
	ctx, stop := context.WithCancel(t.Context())
	draining := make(chan struct{})
	ended := make(chan error, 1)
	address := freeAddress(t)
	go func() {
		ended <- serve(ctx, slog.New(slog.DiscardHandler), address, handler, inAMinute, func() { close(draining) })
	}()

	answered := make(chan string, 1)
	go func() {
		response, err := get(address)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body) // a cut body is not "done"
		answered <- string(body)
	}()
	<-arrived
	stop()
	<-draining
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("a new connection was accepted while draining")
	}
	close(release)
	if body := <-answered; body != "done" {
		t.Errorf("the call in flight was answered %q", body)
	}
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestServe_AddressInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	err = serve(t.Context(), slog.New(slog.DiscardHandler), listener.Addr().String(), http.NotFoundHandler(), inAMinute, func() {})
	if err == nil {
		t.Error("served on an address that is taken")
	}
}

func inAMinute() time.Time { return time.Now().Add(time.Minute) }

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// get asks until the address accepts connections.
func get(address string) (*http.Response, error) {
	for {
		response, err := http.Get("http://" + address)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return response, err
		}
	}
}
