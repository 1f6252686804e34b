package http1

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"
)

// BenchmarkForward compares a forwarder made of this package with httputil.ReverseProxy, and with no forwarder at all: one client,
// one connection, over loopback. The client and the endpoint allocate nothing.
func BenchmarkForward(b *testing.B) {
	for _, size := range []int{0, 1 << 10, 1 << 20} {
		for _, kind := range []string{"direct", "http1", "httputil"} {
			b.Run(fmt.Sprintf("body=%d/%s", size, kind), func(b *testing.B) { benchmarkForward(b, size, kind) })
		}
	}
}

func benchmarkForward(b *testing.B, size int, kind string) {
	endpoint := cannedEndpoint(b, size)
	address := endpoint
	switch kind {
	case "http1":
		address = forwarderTo(b, endpoint)
	case "httputil":
		target, _ := url.Parse("http://" + endpoint)
		proxy := httputil.NewSingleHostReverseProxy(target)
		transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100}
		proxy.Transport = transport
		defer transport.CloseIdleConnections()
		ln := listen(b)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex()
			proxy.ServeHTTP(w, r)
		})}
		go srv.Serve(ln)
		defer srv.Close()
		address = ln.Addr().String()
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	head := "POST /function/echo?x=1 HTTP/1.1\r\nHost: example.org\r\nUser-Agent: bench\r\nAccept: */*\r\n"
	request := append(fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n", head, size), make([]byte, size)...)
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(2 * size))
	b.ReportAllocs()
	for b.Loop() {
		wrote := make(chan error, 1)
		if size > 32<<10 {
			go func() {
				_, err := conn.Write(request)
				wrote <- err
			}()
		} else {
			_, err := conn.Write(request)
			wrote <- err
		}
		if err := <-wrote; err != nil {
			b.Fatal(err)
		}
		if err := readCanned(conn, buf, size); err != nil {
			b.Fatal(err)
		}
	}
}

// readCanned reads one answer, whose head comes whole.
func readCanned(conn net.Conn, buf []byte, size int) error {
	n, err := conn.Read(buf)
	if err != nil {
		return err
	}
	end := bytes.Index(buf[:n], []byte("\r\n\r\n"))
	if end < 0 || !bytes.HasPrefix(buf, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("answer %q", buf[:n])
	}
	_, err = io.CopyN(io.Discard, conn, int64(size-(n-end-4)))
	return err
}

// cannedEndpoint reads requests with a body of that size and answers them with one.
func cannedEndpoint(tb testing.TB, size int) string {
	ln := listen(tb)
	answer := append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Length: %d\r\n\r\n",
		size), make([]byte, size)...)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 64<<10)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					end := bytes.Index(buf[:n], []byte("\r\n\r\n"))
					for left := size - (n - end - 4); left > 0; left -= n {
						if n, err = conn.Read(buf[:min(left, len(buf))]); err != nil {
							return
						}
					}
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

func listen(tb testing.TB) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { ln.Close() })
	return ln
}

// forwarderTo serves a forwarder to an endpoint, until the test ends.
func forwarderTo(tb testing.TB, endpoint string) string {
	pool, err := NewPool(PoolConfig{Address: endpoint})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.CloseIdle)
	s := startServer(tb, ServerConfig{Handler: func(x *Exchange) {
		if err := x.Forward(pool, nil, nil); err != nil && !x.Begun() {
			x.Answer(http.StatusBadGateway, []byte(err.Error()))
		}
	}})
	return s.address
}

type testServer struct {
	*Server
	address string
}

func startServer(tb testing.TB, cfg ServerConfig) testServer {
	tb.Helper()
	s, err := NewServer(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	ln := listen(tb)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(ctx)
		s.Close()
		if err := <-served; err != ErrServerClosed {
			tb.Errorf("Serve: %v", err)
		}
	})
	return testServer{s, ln.Addr().String()}
}
