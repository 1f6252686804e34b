package load

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// post is a request that an echo answers with its own body.
func post(body string) Request {
	r := NewRequest("POST", "test", "/", []byte(body))
	r.Body = []byte(body)
	return r
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func echo(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).EnableFullDuplex()
	io.Copy(w, r.Body)
}

func mustRun(t *testing.T, cfg Config) *Result {
	t.Helper()
	result, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestRun_ClosedLoopCounts(t *testing.T) {
	var calls atomic.Int64
	address := serve(t, func(w http.ResponseWriter, r *http.Request) { calls.Add(1); echo(w, r) })
	result := mustRun(t, Config{Address: address, Requests: []Request{post("moo")}, Conns: 4, Count: 1000})
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	if calls.Load() != 1000 || result.Requests != 1000 || result.InTime != 1000 || result.Bytes != 3000 || result.Latency.TotalCount() != 1000 {
		t.Errorf("%d calls, result %+v", calls.Load(), result)
	}
	if result.Quantile(0.5) <= 0 || result.Quantile(0.5) > result.Elapsed || result.CPU <= 0 {
		t.Errorf("p50 %v of %v, cpu %v", result.Quantile(0.5), result.Elapsed, result.CPU)
	}
}

func TestRun_WarmupIsNotCounted(t *testing.T) {
	var calls atomic.Int64
	address := serve(t, func(w http.ResponseWriter, r *http.Request) { calls.Add(1); echo(w, r) })
	result := mustRun(t, Config{Address: address, Requests: []Request{post("moo")}, Warmup: 100 * time.Millisecond, Duration: time.Second})
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	if result.Requests >= calls.Load() {
		t.Errorf("%d of %d calls counted", result.Requests, calls.Load())
	}
}

// In an open loop the wait for a stalled server is part of the latency of every request that was due meanwhile; in a closed
// loop it is that of one alone.
func TestRun_OpenLoopLatencyCountsTheQueue(t *testing.T) {
	const stall = 300 * time.Millisecond
	run := func(cfg Config) *Result {
		var once sync.Once
		cfg.Address = serve(t, func(w http.ResponseWriter, r *http.Request) {
			once.Do(func() { <-time.After(stall) })
			echo(w, r)
		})
		cfg.Requests = []Request{post("moo")}
		result := mustRun(t, cfg)
		if err := result.Err(); err != nil {
			t.Fatal(err)
		}
		return result
	}
	open := run(Config{Rate: 100, Duration: 400 * time.Millisecond})
	if open.Requests != 40 {
		t.Errorf("%d requests in 400 ms at 100/s", open.Requests)
	}
	// Request k is due at 10k ms and sent after 300: at least 21 of 40 wait more than 90 ms, and half wait for 100 or more.
	if p50 := open.Quantile(0.5); p50 < stall/3 {
		t.Errorf("p50 of the open loop is %v", p50)
	}
	closed := run(Config{Count: 40})
	if longest, p50 := closed.Quantile(1), closed.Quantile(0.5); longest < stall || p50 >= stall/3 {
		t.Errorf("closed loop: longest %v, p50 %v", longest, p50)
	}
}

func TestRun_OpenLoopKeepsItsRate(t *testing.T) {
	address := serve(t, echo)
	result := mustRun(t, Config{Address: address, Requests: []Request{post("moo")}, Conns: 8, Rate: 500, Warmup: 100 * time.Millisecond, Duration: 400 * time.Millisecond})
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	if result.Requests != 200 {
		t.Errorf("%d requests in 400 ms at 500/s", result.Requests)
	}
}

func TestRun_Thinks(t *testing.T) {
	address := serve(t, echo)
	started := time.Now()
	result := mustRun(t, Config{Address: address, Requests: []Request{post("moo")}, Count: 6, Think: 20 * time.Millisecond})
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took < 100*time.Millisecond {
		t.Errorf("6 requests with 20 ms between them took %v", took)
	}
}

func TestRun_LargeBodiesBothWays(t *testing.T) {
	address := serve(t, echo)
	body := strings.Repeat("0123456789abcdef", 1<<16)
	result := mustRun(t, Config{Address: address, Requests: []Request{post(body)}, Conns: 3, Count: 12})
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	if result.Bytes != 12<<20 {
		t.Errorf("%d bytes", result.Bytes)
	}
}

func TestRun_ConnectionsTakeTurns(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	var now, most atomic.Int64
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.RemoteAddr] = true
		most.Store(max(most.Load(), now.Add(1)))
		mu.Unlock()
		defer now.Add(-1)
		echo(w, r)
	})
	result := mustRun(t, Config{Address: address, Requests: []Request{post("moo")}, Conns: 50, InFlight: 5, Count: 200})
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 50 || most.Load() > 5 {
		t.Errorf("%d connections, %d at once", len(seen), most.Load())
	}
}

func TestRun_RequestsTakeTurns(t *testing.T) {
	address := serve(t, echo)
	result := mustRun(t, Config{Address: address, Requests: []Request{post("a"), post("bb")}, Conns: 2, Count: 10})
	if err := result.Err(); err != nil || result.Bytes != 15 {
		t.Errorf("%d bytes, %v", result.Bytes, err)
	}
}

func TestRun_ServerThatClosesConnections(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		echo(w, r)
	})
	result := mustRun(t, Config{Address: address, Requests: []Request{post("moo")}, Conns: 2, Count: 50})
	if err := result.Err(); err != nil || result.Requests != 50 {
		t.Errorf("%d requests, %v", result.Requests, err)
	}
}

func TestRun_ErrorsFailTheRun(t *testing.T) {
	tests := []struct {
		name, want string
		handler    http.HandlerFunc
	}{
		{"status", "status 500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }},
		{"body", "wrong body", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "mau") }},
		{"broken off", errClosed.Error(), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			w.WriteHeader(200)
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		{"silent", errTimeout.Error(), func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // or the server does not notice that the caller has gone
			<-r.Context().Done()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var calls atomic.Int64
			good := func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) == 3 {
					tt.handler(w, r)
					return
				}
				echo(w, r)
			}
			result := mustRun(t, Config{Address: serve(t, good), Requests: []Request{post("moo")}, Count: 10, Timeout: 2 * time.Second})
			if err := result.Err(); err == nil || !strings.Contains(err.Error(), "1 × "+tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if result.Requests != 9 || result.Latency.TotalCount() != 9 {
				t.Errorf("%d of 10 requests are in the result, the failed one among them?", result.Requests)
			}
		})
	}
}

func TestRun_GivesUp(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	result := mustRun(t, Config{Address: address, Requests: []Request{post("moo")}, Conns: 10, Duration: time.Hour})
	if result.Err() == nil || result.Errors["status 500"] < maxErrors {
		t.Errorf("%v", result.Errors)
	}
}

func TestRun_NobodyListens(t *testing.T) {
	const nobodys = "127.0.0.1:1" // a port that the kernel gives to nobody
	if _, err := Run(t.Context(), Config{Address: nobodys, Requests: []Request{post("moo")}, Count: 1}); err == nil {
		t.Error("no error")
	}
}

func TestRun_Cancelled(t *testing.T) {
	address := serve(t, echo)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, Config{Address: address, Requests: []Request{post("moo")}, Duration: time.Hour}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestRun_RefusesNonsense(t *testing.T) {
	ask := []Request{post("moo")}
	for name, cfg := range map[string]Config{
		"no request":       {Count: 1},
		"no end":           {Requests: ask},
		"negative":         {Requests: ask, Count: 1, Conns: -1},
		"thinks in a rush": {Requests: ask, Count: 1, Rate: 1, Think: 1},
	} {
		if _, err := Run(t.Context(), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestParseURL(t *testing.T) {
	tests := []struct{ url, address, path string }{
		{"http://a:8080/function/b?c", "a:8080", "/function/b?c"},
		{"http://a", "a:80", "/"},
		{"https://a/", "", ""},
		{"a:80", "", ""},
		{"http://u:p@a/", "", ""},
	}
	for _, tt := range tests {
		address, path, err := ParseURL(tt.url)
		if address != tt.address || path != tt.path || (err != nil) != (tt.address == "") {
			t.Errorf("%s: %q %q %v", tt.url, address, path, err)
		}
	}
}

func TestRing(t *testing.T) {
	var r ring[int]
	next := 0
	for i := range 100 {
		r.push(i)
		if i%3 == 0 {
			if got := r.pop(); got != next {
				t.Fatalf("got %d, want %d", got, next)
			}
			next++
		}
	}
	if first, any := r.peek(); !any || first != next || r.len() != 100-next {
		t.Errorf("first %d, %d left", first, r.len())
	}
}

// What one request costs the generator, against a server that does nothing but answer.
func BenchmarkRun(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	ask := post("moo")
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nmoo")
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for buffer := make([]byte, len(ask.Raw)); ; {
					if _, err := io.ReadFull(c, buffer); err != nil || !bytes.Equal(buffer, ask.Raw) {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	b.ReportAllocs()
	result, err := Run(b.Context(), Config{Address: listener.Addr().String(), Requests: []Request{ask}, Conns: 64, Count: max(b.N, 1)})
	if err != nil {
		b.Fatal(err)
	}
	if err := result.Err(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(result.CPU.Nanoseconds())/float64(result.Requests), "cpu-ns/op")
}
