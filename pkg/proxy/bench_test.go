package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// BenchmarkServeHTTP compares a call through the proxy with the same call made to the endpoint itself.
func BenchmarkServeHTTP(b *testing.B) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
	}))
	defer endpoint.Close()
	f := &function.Function{Spec: function.Spec{Ref: echo}, ID: "1", Replicas: 1}
	p, err := New(Config{
		Lookup: func(function.Ref) (*function.Function, bool) { return f, true },
		Endpoints: func(function.Ref) []function.Endpoint {
			return []function.Endpoint{{Address: endpoint.Listener.Addr().String()}}
		},
		Error: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	listener := httptest.NewServer(p)
	defer listener.Close()
	for _, size := range []int{0, 1 << 10, 1 << 20} {
		for _, tt := range []struct{ name, url string }{{"direct", endpoint.URL}, {"proxy", listener.URL + "/function/echo"}} {
			b.Run(fmt.Sprintf("body=%d/%s", size, tt.name), func(b *testing.B) {
				body := make([]byte, size)
				b.SetBytes(int64(2 * size))
				b.ReportAllocs()
				for b.Loop() {
					answer, err := http.Post(tt.url, "text/plain", bytes.NewReader(body))
					if err != nil {
						b.Fatal(err)
					}
					n, err := io.Copy(io.Discard, answer.Body)
					answer.Body.Close()
					if err != nil || n != int64(size) || answer.StatusCode != http.StatusOK {
						b.Fatalf("status %d, %d bytes, %v", answer.StatusCode, n, err)
					}
				}
			})
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// BenchmarkServeExchange is one call after the other on one connection, by a client and an endpoint that cost next to nothing.
// What is allocated is allocated by the proxy.
func BenchmarkServeExchange(b *testing.B) {
	for _, tt := range []struct{ name, head string }{
		{"bare", "GET /function/echo HTTP/1.1\r\nHost: h\r\n\r\n"},
		{"browser", "GET /function/echo/a/b?x=1 HTTP/1.1\r\nHost: h.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0)\r\n" +
			"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: a=b; c=d\r\n\r\n"},
		{"gateway", "POST /function/echo HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nX-Forwarded-For: 10.0.0.1\r\n" +
			"X-Forwarded-Host: h\r\nX-Forwarded-Proto: https\r\nX-Call-Id: 0f8fad5b-d9cb-469f-a165-70867728950e\r\n" +
			"X-Start-Time: 1700000000000000000\r\nContent-Length: 4\r\n\r\nbody"},
	} {
		b.Run(tt.name, func(b *testing.B) {
			call := hotCall(b, tt.head)
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
		})
	}
}

// hotCall returns what makes one call of a hot function and waits for its answer, and allocates nothing itself.
func hotCall(tb testing.TB, text string) func() {
	endpoint := cannedEndpoint(tb)
	f := &function.Function{Spec: function.Spec{Ref: echo}, ID: "1", Replicas: 1}
	p, err := New(Config{
		Lookup:    func(function.Ref) (*function.Function, bool) { return f, true },
		Endpoints: func(function.Ref) []function.Endpoint { return []function.Endpoint{{Address: endpoint}} },
		Error: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	front := newFront(tb, p, p, false)
	tb.Cleanup(front.Close)
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	request, buf := []byte(text), make([]byte, 4<<10)
	return func() {
		if _, err := conn.Write(request); err != nil {
			tb.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil || !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200 ")) || !bytes.HasSuffix(buf[:n], []byte("hello")) {
			tb.Fatalf("%q, %v", buf[:n], err)
		}
	}
}

// cannedEndpoint answers whatever comes in one piece.
func cannedEndpoint(b testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Length: 5\r\n\r\nhello")
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 4<<10)
				for {
					if _, err := conn.Read(buf); err != nil {
						return
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
