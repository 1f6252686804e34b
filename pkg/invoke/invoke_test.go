package invoke_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
	"github.com/dragonchain/dc-provider/pkg/invoke"
)

// statusOfErrors is what the tests' Error hook answers; the real one has a table.
const statusOfErrors = 599

// bench is a contract behind an Invoker, between two real servers, with a real store.
type bench struct {
	t        testing.TB
	store    *bolt.Store
	contract *function.Function
	gateway  *httptest.Server
	invoker  *invoke.Invoker
	// failed gets the error of every invocation that failed.
	failed chan error
	// made says that call ids are not the callers'.
	made bool
}

// newBench serves a contract. change may change what joins the Invoker to the rest.
func newBench(t testing.TB, contract http.HandlerFunc, change func(*invoke.Config)) *bench {
	t.Helper()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "heap.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{t: t, store: store, failed: make(chan error, 1024), contract: &function.Function{
		Spec: function.Spec{Ref: function.Ref{Name: "ledger", Namespace: "openfaas-fn"}}, ID: "1",
	}}
	if err := store.Create(t.Context(), b.contract.Heap()); err != nil {
		t.Fatal(err)
	}
	endpoint := httptest.NewServer(contract)
	t.Cleanup(endpoint.Close)
	cfg := invoke.Config{Store: store, Call: callTo(t, endpoint.URL), Error: func(w http.ResponseWriter, _ *http.Request, err error) {
		b.failed <- err
		w.WriteHeader(statusOfErrors)
	}}
	if change != nil {
		change(&cfg)
	}
	invoker, err := invoke.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.invoker = invoker
	b.gateway = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		invoker.ServeContract(w, r, b.contract, !b.made && r.Header.Get("X-Call-Id") != "")
	}))
	t.Cleanup(b.gateway.Close)
	return b
}

// callTo is a Call that sends every request to one address.
func callTo(t testing.TB, address string) func(context.Context, *function.Function, *http.Request) (*http.Response, error) {
	to, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return func(ctx context.Context, _ *function.Function, r *http.Request) (*http.Response, error) {
		r = r.WithContext(ctx)
		r.URL.Scheme, r.URL.Host = to.Scheme, to.Host
		return transport.RoundTrip(r)
	}
}

// do sends a request and reads the answer to its end.
func (b *bench) do(r *http.Request) (*http.Response, string) {
	b.t.Helper()
	answer, err := b.gateway.Client().Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer, string(body)
}

func (b *bench) request(method, body string) *http.Request {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.gateway.URL+"/transfer?x=1", strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// wantRefused checks that an answer is an error's, for the reason given.
func (b *bench) wantRefused(answer *http.Response, want error) {
	b.t.Helper()
	if answer.StatusCode != statusOfErrors {
		b.t.Errorf("status %d, want an error", answer.StatusCode)
		return
	}
	if err := <-b.failed; !errors.Is(err, want) {
		b.t.Errorf("refused with %v, want %v", err, want)
	}
}

// wantHeap checks all that is in the contract's heap.
func (b *bench) wantHeap(want map[string]string) {
	b.t.Helper()
	keys, _, err := b.store.List(b.t.Context(), b.contract.Heap(), "", "", heapstore.MaxListLimit)
	if err != nil {
		b.t.Error(err)
		return
	}
	got := map[string]string{}
	for _, key := range keys {
		value, err := b.store.Get(b.t.Context(), b.contract.Heap(), key)
		if err != nil {
			b.t.Error(err)
		}
		got[key] = string(value.Value)
	}
	if !maps.Equal(got, want) {
		b.t.Errorf("the heap has %.300q, want %.300q", got, want)
	}
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text)) // a buffer takes everything
	_ = w.Close()
	return b.String()
}

func TestServeContract_AnswerIsCommittedAndPassedOn(t *testing.T) {
	object := map[string]string{"a": "1"}
	for _, test := range []struct {
		name   string
		method string
		status int
		header http.Header
		body   string
		want   map[string]string
	}{
		{name: "object", status: 200, body: "{\"a\": 1}\n", want: object},
		{name: "text", status: 200, body: "bacon\n", want: map[string]string{"rawResponse": `"bacon\n"`}},
		{name: "nothing", status: 200, want: map[string]string{"rawResponse": `""`}},
		{name: "kept out of the heap", status: 200, body: `{"a":1,"OUTPUT_TO_HEAP":false}`},
		{name: "object without members", status: 200, body: `{}`},
		{name: "created", status: 201, body: `{"a":1}`, want: object},
		{name: "headers", status: 200, body: `{"a":1}`, want: object, header: http.Header{
			"Content-Type": {"application/json; charset=utf-8"}, "X-Two": {"1", "2"}, "Set-Cookie": {"a=b"}, "Content-Encoding": {"identity"},
		}},
		{name: "a GET", method: "GET", status: 200, body: `{"a":1}`, want: object},
		{name: "a HEAD has no answer to commit", method: "HEAD", status: 200},
		{name: "no content", status: 204},
		{name: "reset content", status: 205},
		{name: "redirect", status: 302, header: http.Header{"Location": {"/elsewhere"}}, body: `{"a":1}`},
		{name: "not modified", status: 304, header: http.Header{"Etag": {`"1"`}}},
		{name: "its own 404", status: 404, body: `{"a":1}`},
		{name: "its own 500", status: 500, header: http.Header{"Content-Type": {"text/plain"}}, body: "exit status 1\n"},
		{name: "gzip", status: 200, header: http.Header{"Content-Encoding": {"GZIP"}}, body: gzipped(`{"a":1}`), want: object},
		{name: "failed with an unknown encoding", status: 500, header: http.Header{"Content-Encoding": {"br"}}, body: "x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, func(w http.ResponseWriter, _ *http.Request) {
				maps.Copy(w.Header(), test.header)
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body)) // refused where the status has no body
			}, nil)
			b.gateway.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			r := b.request(test.method, "{}")
			r.Header.Set("Accept-Encoding", "br, gzip")
			answer, body := b.do(r)
			if answer.StatusCode != test.status || body != test.body {
				t.Errorf("status %d, body %q, want %d, %q", answer.StatusCode, body, test.status, test.body)
			}
			for name := range test.header {
				if got, want := answer.Header.Values(name), test.header.Values(name); strings.Join(got, "|") != strings.Join(want, "|") {
					t.Errorf("header %s is %q, want %q", name, got, want)
				}
			}
			if test.body != "" && answer.ContentLength != int64(len(test.body)) {
				t.Errorf("Content-Length is %d, want %d", answer.ContentLength, len(test.body))
			}
			b.wantHeap(test.want)
		})
	}
}

func TestServeContract_AnswerWithoutContentTypeGetsNone(t *testing.T) {
	b := newBench(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		_, _ = w.Write([]byte("<html>"))
	}, nil)
	if answer, _ := b.do(b.request("POST", "")); answer.Header["Content-Type"] != nil {
		t.Errorf("Content-Type is %q, want none", answer.Header["Content-Type"])
	}
}

func TestServeContract_Trailers(t *testing.T) {
	b := newBench(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = w.Write([]byte(`{"a":1}`))
		w.Header().Set("X-Sum", "7")
	}, nil)
	answer, body := b.do(b.request("POST", ""))
	if body != `{"a":1}` || answer.Trailer.Get("X-Sum") != "7" || answer.ContentLength != -1 {
		t.Errorf("body %q of length %d, trailers %v", body, answer.ContentLength, answer.Trailer)
	}
	b.wantHeap(map[string]string{"a": "1"})
}

func TestServeContract_HeadersOfTheGatewayGiveWay(t *testing.T) {
	b := newBench(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Served-By", "me")
	}, nil)
	next := b.gateway.Config.Handler
	b.gateway.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served-By", "dc-provider")
		w.Header().Set("X-Call-Id", "1")
		next.ServeHTTP(w, r)
	})
	answer, _ := b.do(b.request("POST", ""))
	if got := answer.Header; strings.Join(got["X-Served-By"], "|") != "me" || got.Get("X-Call-Id") != "1" {
		t.Errorf("headers are %v", got)
	}
}

func TestServeContract_RequestArrivesWhole(t *testing.T) {
	body := strings.Repeat(`{"payload":"1"}`, 10_000)
	for _, test := range []struct {
		name string
		body io.Reader
	}{
		{"with a length", strings.NewReader(body)},
		{"chunked", struct{ io.Reader }{strings.NewReader(body)}},
		{"empty", strings.NewReader("")},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := body
			if test.name == "empty" {
				want = ""
			}
			b := newBench(t, func(_ http.ResponseWriter, r *http.Request) {
				got, err := io.ReadAll(r.Body)
				if err != nil || string(got) != want || r.ContentLength != int64(len(want)) || len(r.TransferEncoding) > 0 {
					t.Errorf("body of %d bytes, length %d, %v, %v, want %d", len(got), r.ContentLength, r.TransferEncoding, err, len(want))
				}
				if r.Method != "PATCH" || r.URL.RequestURI() != "/transfer?x=1" || r.Header.Get("X-Mine") != "1" {
					t.Errorf("%s %s, headers %v", r.Method, r.URL, r.Header)
				}
				if r.Header.Get("Expect") != "" || r.Header.Get("Accept-Encoding") != "identity" {
					t.Errorf("headers %v", r.Header)
				}
			}, func(cfg *invoke.Config) {
				call := cfg.Call
				cfg.Call = func(ctx context.Context, f *function.Function, r *http.Request) (*http.Response, error) {
					// As after an endpoint that could not be reached.
					if _, err := io.ReadAll(r.Body); err != nil {
						t.Error(err)
					}
					var err error
					if r.Body, err = r.GetBody(); err != nil {
						t.Error(err)
					}
					return call(ctx, f, r)
				}
			})
			r, err := http.NewRequestWithContext(t.Context(), "PATCH", b.gateway.URL+"/transfer?x=1", test.body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{"X-Mine": {"1"}, "Expect": {"100-continue"}, "Accept-Encoding": {"gzip"}}
			if answer, _ := b.do(r); answer.StatusCode != http.StatusOK {
				t.Errorf("status %d: %v", answer.StatusCode, <-b.failed)
			}
		})
	}
}

func TestServeContract_RefusedAnswerWritesNothing(t *testing.T) {
	long := strings.Repeat("k", heapstore.MaxKeyBytes+1)
	large := strings.Repeat("v", heapstore.MaxValueBytes)
	for _, test := range []struct {
		name   string
		header http.Header
		body   string
		want   error
	}{
		{name: "empty key", body: `{"kept":2,"":1}`, want: heapstore.ErrBadKey},
		{name: "key too long", body: `{"kept":2,"` + long + `":1}`, want: heapstore.ErrKeyTooLarge},
		{name: "value too large", body: `{"kept":2,"v":"` + large + `"}`, want: heapstore.ErrValueTooLarge},
		{name: "text too large", body: large, want: heapstore.ErrValueTooLarge},
		{name: "above quota", body: `{"kept":2,"a":"` + large[:600] + `","b":"` + large[:600] + `"}`, want: heapstore.ErrQuota},
		{name: "not UTF-8", body: "caf\xe9", want: invoke.ErrUnstorable},
		{name: "half a surrogate pair", body: `{"kept":2,"\ud800":1}`, want: invoke.ErrUnstorable},
		{name: "larger than an answer may be", body: strings.Repeat(" ", 3<<20), want: invoke.ErrAnswerTooLarge},
		{name: "unknown encoding", header: http.Header{"Content-Encoding": {"br"}}, body: `{"a":1}`, want: invoke.ErrUnstorable},
		{name: "encoded twice", header: http.Header{"Content-Encoding": {"gzip", "gzip"}}, body: gzipped(gzipped(`{"a":1}`)), want: invoke.ErrUnstorable},
		{name: "no gzip", header: http.Header{"Content-Encoding": {"gzip"}}, body: `{"a":1}`, want: invoke.ErrUnstorable},
		{name: "half a gzip", header: http.Header{"Content-Encoding": {"gzip"}}, body: gzipped(`{"a":1}`)[:20], want: invoke.ErrUnstorable},
		{name: "gzip bomb", header: http.Header{"Content-Encoding": {"gzip"}}, body: gzipped(strings.Repeat(" ", 64<<20)), want: invoke.ErrAnswerTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, func(w http.ResponseWriter, _ *http.Request) {
				maps.Copy(w.Header(), test.header)
				_, _ = w.Write([]byte(test.body)) // cut off where it is too large
			}, func(cfg *invoke.Config) { cfg.MaxAnswerBytes = 2 << 20 })
			b.contract.Policy.HeapQuotaBytes = 1000
			if test.want == heapstore.ErrValueTooLarge {
				b.contract.Policy.HeapQuotaBytes = 0
			}
			if err := b.store.Commit(t.Context(), b.contract.Heap(), function.Commit{Writes: []heapstore.Write{{Key: "kept", Value: []byte("1")}}}); err != nil {
				t.Fatal(err)
			}
			answer, body := b.do(b.request("POST", ""))
			b.wantRefused(answer, test.want)
			if body != "" || answer.Header.Get("Content-Encoding") != "" {
				t.Errorf("the contract's answer shows: %q, %v", body, answer.Header)
			}
			b.wantHeap(map[string]string{"kept": "1"})
		})
	}
}

func TestServeContract_RefusedRequestIsNotCalled(t *testing.T) {
	var tooLarge *http.MaxBytesError
	large := strings.Repeat("x", 1001)
	for _, test := range []struct {
		name   string
		body   io.Reader
		header http.Header
		want   func(error) bool
	}{
		{"body too large, told before", strings.NewReader(large), nil, func(err error) bool { return errors.As(err, &tooLarge) }},
		{"body too large, found out", struct{ io.Reader }{strings.NewReader(large)}, nil, func(err error) bool { return errors.As(err, &tooLarge) }},
		{"websocket", nil, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"WebSocket"}}, func(err error) bool { return errors.Is(err, function.ErrInvalid) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, func(http.ResponseWriter, *http.Request) { t.Error("the contract was called") },
				func(cfg *invoke.Config) { cfg.MaxBodyBytes = 1000 })
			r, err := http.NewRequestWithContext(t.Context(), "POST", b.gateway.URL, test.body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = maps.Clone(test.header)
			if r.Header == nil {
				r.Header = http.Header{}
			}
			if answer, _ := b.do(r); answer.StatusCode != statusOfErrors {
				t.Fatalf("status %d, want an error", answer.StatusCode)
			}
			if err := <-b.failed; !test.want(err) {
				t.Errorf("refused with %v", err)
			}
			b.wantHeap(nil)
		})
	}
	t.Run("as large as allowed", func(t *testing.T) {
		b := newBench(t, func(http.ResponseWriter, *http.Request) {}, func(cfg *invoke.Config) { cfg.MaxBodyBytes = 1000 })
		if answer, _ := b.do(b.request("POST", large[:1000])); answer.StatusCode != http.StatusOK {
			t.Errorf("status %d: %v", answer.StatusCode, <-b.failed)
		}
	})
	t.Run("an offer of HTTP/2 is passed over", func(t *testing.T) {
		b := newBench(t, func(http.ResponseWriter, *http.Request) {}, nil)
		r := b.request("POST", "")
		r.Header.Set("Upgrade", "h2c")
		if answer, _ := b.do(r); answer.StatusCode != http.StatusOK {
			t.Errorf("status %d: %v", answer.StatusCode, <-b.failed)
		}
	})
}

func TestServeContract_RequestThatDoesNotEnd(t *testing.T) {
	for name, head := range map[string]string{
		"with a length": "Content-Length: 100\r\n\r\nx",
		"chunked":       "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(http.ResponseWriter, *http.Request) { t.Error("the contract was called") },
				func(cfg *invoke.Config) { cfg.BodyTimeout = 10 * time.Millisecond })
			conn, err := net.Dial("tcp", b.gateway.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: h\r\n"+head); err != nil {
				t.Fatal(err)
			}
			// To its end, for the server has to let go of the connection as well.
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(answer), fmt.Sprintf("HTTP/1.1 %d", statusOfErrors)) {
				t.Errorf("answered %.60q, %v", answer, err)
			}
			if err := <-b.failed; !errors.Is(err, invoke.ErrSlowRequest) {
				t.Errorf("refused with %v", err)
			}
			b.wantHeap(nil)
		})
	}
}

func TestServeContract_BrokenAnswer(t *testing.T) {
	for name, head := range map[string]string{
		"shorter than its length": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":1}",
		"without its last chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				if _, err := io.WriteString(conn, head); err != nil {
					t.Error(err)
				}
			}, nil)
			answer, _ := b.do(b.request("POST", ""))
			b.wantRefused(answer, invoke.ErrBrokenAnswer)
			b.wantHeap(nil)
		})
	}
}

func TestServeContract_AnswerThatDoesNotEnd(t *testing.T) {
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"a":1}`))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, func(cfg *invoke.Config) { cfg.AnswerTimeout = 10 * time.Millisecond })
	answer, _ := b.do(b.request("POST", ""))
	b.wantRefused(answer, context.DeadlineExceeded)
	b.wantHeap(nil)
}

func TestServeContract_CallFails(t *testing.T) {
	unreachable := errors.New("no endpoint")
	b := newBench(t, nil, func(cfg *invoke.Config) {
		cfg.Call = func(context.Context, *function.Function, *http.Request) (*http.Response, error) {
			return nil, unreachable
		}
	})
	answer, _ := b.do(b.request("POST", ""))
	b.wantRefused(answer, unreachable)
}

func TestServeContract_CallerLeavesDuringTheCall(t *testing.T) {
	for name, begin := range map[string]string{"before the answer": "", "during the answer": `{"a":`} {
		t.Run(name, func(t *testing.T) {
			called, ended := make(chan struct{}), make(chan struct{})
			b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if begin != "" {
					_, _ = w.Write([]byte(begin))
					_ = http.NewResponseController(w).Flush()
				}
				close(called)
				<-r.Context().Done()
				close(ended)
			}, nil)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-called
				cancel()
			}()
			if answer, err := b.gateway.Client().Do(b.request("POST", "{}").WithContext(ctx)); err == nil {
				_ = answer.Body.Close()
				t.Errorf("status %d, want none", answer.StatusCode)
			}
			<-ended
			if err := <-b.failed; !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v, want context.Canceled", err)
			}
			b.wantHeap(nil)
		})
	}
}

// storeFunc is a Store whose commits go through a function.
type storeFunc func(ctx context.Context, heap function.Heap, c function.Commit) error

func (storeFunc) Recorded(context.Context, function.Heap, string) (r function.Record, found bool, err error) {
	return r, false, nil
}

func (storeFunc) Get(context.Context, function.Heap, string) (function.HeapEntry, error) {
	return function.HeapEntry{}, function.ErrNotFound
}

func (storeFunc) List(context.Context, function.Heap, string, string, int) (keys []string, next string, err error) {
	return nil, "", function.ErrNotFound
}

func (s storeFunc) Commit(ctx context.Context, heap function.Heap, c function.Commit) error {
	return s(ctx, heap, c)
}

func TestServeContract_CallerLeavesBeforeTheCommit(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := newBench(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"a":1}`)) },
		func(cfg *invoke.Config) {
			store := cfg.Store
			cfg.Store = storeFunc(func(gone context.Context, heap function.Heap, c function.Commit) error {
				cancel()
				<-gone.Done()
				return store.Commit(gone, heap, c)
			})
		})
	if answer, err := b.gateway.Client().Do(b.request("POST", "{}").WithContext(ctx)); err == nil {
		_ = answer.Body.Close()
		t.Errorf("status %d, want none", answer.StatusCode)
	}
	if err := <-b.failed; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v, want context.Canceled", err)
	}
	b.wantHeap(nil)
}

func TestServeContract_CallerLeavesAfterTheCommit(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	b := newBench(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"a":1}`)) },
		func(cfg *invoke.Config) {
			store := cfg.Store
			cfg.Store = storeFunc(func(gone context.Context, heap function.Heap, c function.Commit) error {
				defer close(done)
				err := store.Commit(gone, heap, c)
				cancel()
				<-gone.Done()
				return err
			})
		})
	if answer, err := b.gateway.Client().Do(b.request("POST", "{}").WithContext(ctx)); err == nil {
		_ = answer.Body.Close()
		t.Errorf("status %d, want none", answer.StatusCode)
	}
	<-done
	b.wantHeap(map[string]string{"a": "1"})
}

func TestServeContract_CommitFails(t *testing.T) {
	broken := errors.New("disk is broken")
	b := newBench(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"a":1}`)) },
		func(cfg *invoke.Config) {
			cfg.Store = storeFunc(func(context.Context, function.Heap, function.Commit) error { return broken })
		})
	answer, body := b.do(b.request("POST", ""))
	b.wantRefused(answer, broken)
	if body != "" {
		t.Errorf("the contract's answer shows: %q", body)
	}
}

func TestServeContract_DeletedMeanwhile(t *testing.T) {
	var b *bench
	successor := function.Heap{Ref: function.Ref{Name: "ledger", Namespace: "openfaas-fn"}, ID: "2"}
	b = newBench(t, func(w http.ResponseWriter, r *http.Request) {
		if err := errors.Join(b.store.Drop(r.Context(), b.contract.Heap()), b.store.Create(r.Context(), successor)); err != nil {
			t.Error(err)
		}
		_, _ = w.Write([]byte(`{"a":1}`))
	}, nil)
	answer, _ := b.do(b.request("POST", ""))
	b.wantRefused(answer, heapstore.ErrNoHeap)
	b.contract = &function.Function{Spec: b.contract.Spec, ID: "2"}
	b.wantHeap(nil)
}

func TestServeContract_ManyAtOnce(t *testing.T) {
	const callers, calls = 16, 10
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		key, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, `{%q:1,"last":%q}`, key, key)
	}, nil)
	want := map[string]string{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for call := range calls {
				key := fmt.Sprintf("%d-%d", caller, call)
				answer, err := b.gateway.Client().Do(b.request("POST", key))
				if err != nil {
					t.Error(err)
					return
				}
				_ = answer.Body.Close()
				// Whoever was answered reads what it wrote.
				if value, err := b.store.Get(t.Context(), b.contract.Heap(), key); err != nil || string(value.Value) != "1" {
					t.Errorf("status %d, and then key %s is %q, %v", answer.StatusCode, key, value.Value, err)
				}
				mu.Lock()
				want[key] = "1"
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	last, err := b.store.Get(t.Context(), b.contract.Heap(), "last")
	if err != nil {
		t.Fatal(err)
	}
	want["last"] = string(last.Value)
	b.wantHeap(want)
}

func TestNew_Refuses(t *testing.T) {
	whole := invoke.Config{
		Store: storeFunc(nil),
		Call:  func(context.Context, *function.Function, *http.Request) (*http.Response, error) { return nil, nil },
		Error: func(http.ResponseWriter, *http.Request, error) {},
	}
	for name, change := range map[string]func(*invoke.Config){
		"no store":                func(c *invoke.Config) { c.Store = nil },
		"no call":                 func(c *invoke.Config) { c.Call = nil },
		"no error hook":           func(c *invoke.Config) { c.Error = nil },
		"negative body limit":     func(c *invoke.Config) { c.MaxBodyBytes = -1 },
		"negative answer limit":   func(c *invoke.Config) { c.MaxAnswerBytes = -1 },
		"negative body timeout":   func(c *invoke.Config) { c.BodyTimeout = -1 },
		"negative answer timeout": func(c *invoke.Config) { c.AnswerTimeout = -1 },
	} {
		cfg := whole
		change(&cfg)
		if _, err := invoke.New(cfg); err == nil {
			t.Errorf("%s: New takes it", name)
		}
	}
	if _, err := invoke.New(whole); err != nil {
		t.Error(err)
	}
}

// BenchmarkServeContract is an invocation without the network: what is added to a call, commit of four keys included.
func BenchmarkServeContract(b *testing.B) {
	const answer = `{"a":{"balance":1000},"b":{"balance":1000},"c":{"balance":1000},"d":{"balance":1000}}`
	store, err := bolt.Open(filepath.Join(b.TempDir(), "heap.db"), bolt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	contract := &function.Function{Spec: function.Spec{Ref: function.Ref{Name: "ledger", Namespace: "openfaas-fn"}}, ID: "1"}
	if err := store.Create(b.Context(), contract.Heap()); err != nil {
		b.Fatal(err)
	}
	invoker, err := invoke.New(invoke.Config{
		Store: store,
		Call: func(context.Context, *function.Function, *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: int64(len(answer)), Body: io.NopCloser(strings.NewReader(answer))}, nil
		},
		Error: func(_ http.ResponseWriter, _ *http.Request, err error) { b.Error(err) },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), "POST", "/", strings.NewReader("{}"))
		invoker.ServeContract(httptest.NewRecorder(), r, contract, false)
	}
}
