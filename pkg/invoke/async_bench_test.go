package invoke_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
	"github.com/dragonchain/dc-provider/pkg/invoke"
)

// newQueueBench is an Invoker on a real file, whose function answers at once.
func newQueueBench(b *testing.B, f *function.Function) *invoke.Invoker {
	store, err := bolt.Open(filepath.Join(b.TempDir(), "heap.db"), bolt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	if err := store.Create(b.Context(), f.Heap()); err != nil {
		b.Fatal(err)
	}
	i, err := invoke.New(invoke.Config{
		Store: store, Queue: store,
		Call: func(context.Context, *function.Function, *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"a": 1}`)), ContentLength: 8}, nil
		},
		Error:  func(_ http.ResponseWriter, _ *http.Request, err error) { b.Error(err) },
		Lookup: func(function.Ref) (*function.Function, bool) { return f, true },
		Bounds: function.QueueBounds{Items: 1 << 30, TotalItems: 1 << 30, Bytes: 1 << 40, TotalBytes: 1 << 40},
	})
	if err != nil {
		b.Fatal(err)
	}
	return i
}

func newQueueFunction(serial bool) *function.Function {
	return &function.Function{
		Spec: function.Spec{Ref: function.Ref{Name: "ledger", Namespace: "openfaas-fn"}}, ID: "1", Policy: function.Policy{Heap: true, Serial: serial},
	}
}

// BenchmarkServeAsync accepts invocations of 64 callers at once, each durable when it is answered.
func BenchmarkServeAsync(b *testing.B) {
	f := newQueueFunction(false)
	i := newQueueBench(b, f)
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := httptest.NewRequest("POST", "/", strings.NewReader(`{"amount": 1}`))
			r.Header.Set("X-Call-Id", fmt.Sprint(n.Add(1)))
			w := httptest.NewRecorder()
			if i.ServeAsync(w, r, f, "ledger"); w.Code != http.StatusAccepted {
				b.Error(w.Code)
			}
		}
	})
}

// BenchmarkServeContract_Serial has 64 callers take their turns at one contract that answers at once.
func BenchmarkServeContract_Serial(b *testing.B) {
	f := newQueueFunction(true)
	i := newQueueBench(b, f)
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			w := httptest.NewRecorder()
			if i.ServeContract(w, httptest.NewRequest("POST", "/", strings.NewReader("{}")), f, false); w.Code != http.StatusOK {
				b.Error(w.Code)
			}
		}
	})
}
