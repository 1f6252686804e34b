package handlers_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/handlers"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
	"github.com/dragonchain/dc-provider/pkg/http1"
)

// front answers as the gateway's listener does: by the engine, and by net/http what that passes on, whose requests are counted.
func front(t testing.TB, api *handlers.API) (address string, passed *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gateway, passed := api.Gateway(), new(atomic.Int64)
	rest := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		passed.Add(1)
		gateway.ServeHTTP(w, r)
	})}
	server, err := http1.NewServer(http1.ServerConfig{Rest: rest, Handler: func(x *http1.Exchange) {
		if !api.ServeExchange(x) {
			x.Pass()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := errors.Join(rest.Close(), server.Close()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != http1.ErrServerClosed {
			t.Error(err)
		}
	})
	return listener.Addr().String(), passed
}

// exchange sends one request as it is, over a connection of its own.
func exchange(t testing.TB, address, raw string) (answer *http.Response, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	answer, err = http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	read, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return answer, string(read)
}

// oddHeaps panic at one key, and do not know another for a reason of their own.
type oddHeaps struct{ handlers.Heaps }

func (h oddHeaps) Get(ctx context.Context, heap function.Heap, key string) (function.HeapEntry, error) {
	switch key {
	case "panics":
		panic("a defect")
	case "database":
		return function.HeapEntry{}, fmt.Errorf("read: %w", heapstore.ErrUnavailable)
	}
	return h.Heaps.Get(ctx, heap, key)
}

// However a key is asked for, the engine answers what net/http's server does.
func TestServeExchange_AnswersAsGateway(t *testing.T) {
	w, _ := withHeap(t)
	cfg := w.config(t)
	cfg.Heaps = oddHeaps{cfg.Heaps}
	registry := prometheus.NewRegistry()
	cfg.Metrics = registry
	plain := function.Spec{Ref: function.Ref{Name: "plain", Namespace: "fns"}, Image: "i"}
	w.put(t, plain, function.Status{})
	heap := w.functions[cow("fns").Ref].Heap()
	store := cfg.Heaps.(oddHeaps).Heaps.(*bolt.Store)
	if err := store.Create(t.Context(), heap); err != nil {
		t.Fatal(err)
	}
	var writes []function.HeapWrite
	for _, key := range []string{"k", "a/b", "a//b/", "..", "../x", "a b", "%", "large"} {
		value := []byte(`"` + key + `"`)
		if key == "large" {
			value = fmt.Appendf(nil, "%q", strings.Repeat("v", 100<<10))
		}
		writes = append(writes, function.HeapWrite{Key: key, Value: value})
	}
	if err := store.Commit(t.Context(), heap, function.Commit{Writes: writes, Writer: "caller's ü\n"}); err != nil {
		t.Fatal(err)
	}
	api := newAPI(t, cfg)
	engine, passed := front(t, api)
	server := httptest.NewServer(api.Gateway())
	defer server.Close()
	netHTTP := server.Listener.Addr().String()
	entry, err := store.Get(t.Context(), heap, "k")
	if err != nil {
		t.Fatal(err)
	}

	basic := func(user, password string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
	}
	right := basic(user, password)
	get := func(path, more string) string { return "GET " + path + " HTTP/1.1\r\nHost: h\r\n" + more + "\r\n" }
	expected := map[string]float64{}
	for _, c := range []struct {
		name, raw string
		status    int
		passed    bool
	}{
		{"value", get("/heap/cow/k", right), 200, false},
		{"with its namespace", get("/heap/cow.fns/k", right), 200, false},
		{"namespace of clients", get("/heap/cow.openfaas-fn/k", right), 200, false},
		{"slashes", get("/heap/cow/a/b", right), 200, false},
		{"more slashes", get("/heap/cow/a//b/", right), 200, false},
		{"dots", get("/heap/cow/..", right), 200, false},
		{"more dots", get("/heap/cow/../x", right), 200, false},
		{"large", get("/heap/cow/large", right), 200, false},
		{"unchanged", get("/heap/cow/k", right+fmt.Sprintf("If-None-Match: \"%d\"\r\n", entry.Version)), 304, false},
		{"changed", get("/heap/cow/k", right+"If-None-Match: \"77\"\r\n"), 200, false},
		{"of the first of two headers", get("/heap/cow/k", right+"Authorization: none\r\n"), 200, false},
		{"length of 0", get("/heap/cow/k", right+"Content-Length: 0\r\n"), 200, false},
		{"closing", get("/heap/cow/k", right+"Connection: close\r\n"), 200, false},
		{"HTTP/1.0", "GET /heap/cow/k HTTP/1.0\r\n" + right + "\r\n", 200, false},
		{"no such key", get("/heap/cow/gone", right), 404, false},
		{"empty key", get("/heap/cow/", right), 404, false},
		{"no such heap", get("/heap/cow.dev/k", right), 404, false},
		{"no such function", get("/heap/gone/k", right), 404, false},
		{"no name", get("/heap//k", right), 404, false},
		{"no contract", get("/heap/plain/k", right), 404, false},
		{"defect", get("/heap/cow/panics", right), 500, false},
		{"database", get("/heap/cow/database", right), 503, false},

		{"list", get("/heap/cow", right), 200, true},
		{"escape", get("/heap/cow/a%20b", right), 200, true},
		{"escaped percent", get("/heap/cow/%25", right), 200, true},
		{"query", get("/heap/cow/k?x=1", right), 200, true},
		{"body", get("/heap/cow/k", right+"Content-Length: 2\r\n") + "{}", 200, true},
		{"other case", get("/heap/cow/k", strings.Replace(right, "Basic", "bASIC", 1)), 200, true},
		{"no credentials", get("/heap/cow/k", ""), 401, true},
		{"wrong password", get("/heap/cow/k", basic(user, password+"x")), 401, true},
		{"other user", get("/heap/cow/k", basic("x", password)), 401, true},
		{"of the second of two headers", get("/heap/cow/k", "Authorization: none\r\n"+right), 401, true},
		{"head", "HEAD /heap/cow/k HTTP/1.1\r\nHost: h\r\n" + right + "\r\n", 405, true},
		{"delete of nothing", "DELETE /heap/cow/nothing HTTP/1.1\r\nHost: h\r\nX-Call-Id: id\r\n" + right + "\r\n", 204, true},
		{"not the prefix", get("/heaps/cow/k", right), 404, true},
	} {
		if strings.HasPrefix(c.raw, "GET /heap/") {
			expected[strconv.Itoa(c.status)] += 2 // it is asked twice
		}
		t.Run(c.name, func(t *testing.T) {
			before := passed.Load()
			answer, body := exchange(t, engine, c.raw)
			if isPassed := passed.Load() > before; isPassed != c.passed {
				t.Errorf("passed on: %v", isPassed)
			}
			want, wantBody := exchange(t, netHTTP, c.raw)
			answer.Header.Del("Date")
			want.Header.Del("Date")
			if answer.StatusCode != c.status || want.StatusCode != c.status || body != wantBody || answer.Close != want.Close ||
				!maps.EqualFunc(answer.Header, want.Header, slices.Equal) {
				t.Errorf("%d %v %.200q\nwant %d %v %.200q", answer.StatusCode, answer.Header, body, want.StatusCode, want.Header, wantBody)
			}
		})
	}

	counted := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if family.GetName() == "provider_http_requests_total" && labels["path"] == "/heap" && labels["method"] == "GET" {
				counted[labels["code"]] = m.GetCounter().GetValue()
			}
		}
	}
	if !maps.Equal(counted, expected) {
		t.Errorf("answers counted: %v, want %v", counted, expected)
	}
}

// A password that was changed is the only one at once, and without one nobody is let in.
func TestServeExchange_Credentials(t *testing.T) {
	w, _ := withHeap(t)
	cfg := w.config(t)
	var now atomic.Pointer[string]
	cfg.Credentials = func() (string, string) { return user, *now.Load() }
	engine, _ := front(t, newAPI(t, cfg))
	for _, step := range []struct {
		now, given string
		status     int
	}{{"one", "one", 404}, {"two", "one", 401}, {"two", "two", 404}, {"", "", 401}, {"", "two", 401}} {
		now.Store(&step.now)
		raw := "GET /heap/cow/k HTTP/1.1\r\nHost: h\r\nAuthorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+step.given)) + "\r\n\r\n"
		if answer, _ := exchange(t, engine, raw); answer.StatusCode != step.status {
			t.Errorf("password %q, given %q: %d", step.now, step.given, answer.StatusCode)
		}
	}
}

// One connection carries reads, and then what the engine passes on.
func TestServeExchange_ThenPassed(t *testing.T) {
	_, api := withHeap(t, "k", "1", "a b", "2")
	engine, passed := front(t, api)
	conn, err := net.Dial("tcp", engine)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for i, step := range []struct {
		key, value string
		passed     int64
	}{{"k", "1", 0}, {"k", "1", 0}, {"a b", "2", 1}, {"k", "1", 2}} {
		r, err := http.NewRequest("GET", "http://"+engine+"/heap/cow/"+url.PathEscape(step.key), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(user, password)
		if err := r.Write(conn); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(in, r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil || string(body) != step.value || passed.Load() != step.passed {
			t.Errorf("step %d: %q, %v, passed %d", i, body, err, passed.Load())
		}
	}
}

// BenchmarkReadKey reads a key over one connection, by the engine and by net/http.
func BenchmarkReadKey(b *testing.B) {
	_, api := withHeap(b, "account", `{"owner":"somebody","balance":1000,"last":"2026-01-02T03:04:05Z"}`)
	address, _ := front(b, api)
	for _, path := range []string{"cow/account", "cow/acc%6Funt"} {
		b.Run(path, func(b *testing.B) {
			r, err := http.NewRequest("GET", "http://"+address+"/heap/"+path, nil)
			if err != nil {
				b.Fatal(err)
			}
			r.SetBasicAuth(user, password)
			var text strings.Builder
			if err := r.Write(&text); err != nil {
				b.Fatal(err)
			}
			conn, err := net.Dial("tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			raw, in := []byte(text.String()), bufio.NewReader(conn)
			send := func() {
				if _, err := conn.Write(raw); err != nil {
					b.Fatal(err)
				}
			}
			send()
			answer, err := http.ReadResponse(in, r)
			if err != nil || answer.StatusCode != 200 {
				b.Fatal(answer, err)
			}
			if _, err := io.ReadAll(answer.Body); err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 4<<10)
			b.ReportAllocs()
			for b.Loop() {
				send()
				if n, err := conn.Read(buf); err != nil || string(buf[:15]) != "HTTP/1.1 200 OK" {
					b.Fatalf("%q, %v", buf[:n], err)
				}
			}
		})
	}
}
