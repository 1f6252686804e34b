package proxy

import (
	"bytes"
	"fmt"
	"io"
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
