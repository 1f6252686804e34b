package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/proxy"
)

// newTestProvider has a real store and proxy, and one function that has no endpoint.
func newTestProvider(t *testing.T, f *function.Function) *provider {
	t.Helper()
	store, err := heapstore.OpenBolt(filepath.Join(t.TempDir(), "heap.db"), heapstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	calls, err := proxy.New(proxy.Config{
		Lookup:      func(function.Ref) (*function.Function, bool) { return f, true },
		Endpoints:   func(function.Ref) []function.Endpoint { return nil },
		Error:       func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusServiceUnavailable) },
		WakeTimeout: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &provider{store: store, proxy: calls}
}

func newFunction(heap bool) *function.Function {
	return &function.Function{
		Spec:   function.Spec{Ref: function.Ref{Name: "ledger", Namespace: "openfaas-fn"}},
		Policy: function.Policy{Heap: heap},
		ID:     "1",
	}
}

// wantHeap checks the keys of f's heap.
func (p *provider) wantHeap(t *testing.T, f *function.Function, want ...string) {
	t.Helper()
	keys, _, err := p.store.List(t.Context(), f.Heap(), "", "", heapstore.MaxListLimit)
	if err != nil || !slices.Equal(keys, want) {
		t.Errorf("the heap has %q, %v, want %q", keys, err, want)
	}
}

func (p *provider) wantNoHeap(t *testing.T, f *function.Function) {
	t.Helper()
	if keys, _, err := p.store.List(t.Context(), f.Heap(), "", "", heapstore.MaxListLimit); !errors.Is(err, heapstore.ErrNoHeap) {
		t.Errorf("the heap has %q, %v, want %v", keys, err, heapstore.ErrNoHeap)
	}
}

func (p *provider) deploy(t *testing.T, f *function.Function) {
	t.Helper()
	if err := p.onDeploy(t.Context(), f); err != nil {
		t.Fatalf("onDeploy: %v", err)
	}
}

func TestOnDeploy_HeapsAreForContracts(t *testing.T) {
	f := newFunction(false)
	p := newTestProvider(t, f)
	p.deploy(t, f)
	p.wantNoHeap(t, f)
}

func TestOnDeploy_AgainKeepsWhatIsInTheHeap(t *testing.T) {
	f := newFunction(true)
	p := newTestProvider(t, f)
	p.deploy(t, f)
	p.wantHeap(t, f)
	if err := p.store.Commit(t.Context(), f.Heap(), []function.HeapWrite{{Key: "a", Value: []byte("1")}}, 0); err != nil {
		t.Fatal(err)
	}
	p.deploy(t, f)
	p.wantHeap(t, f, "a")
}

func TestOnDelete_LeavesNothing(t *testing.T) {
	for _, test := range []struct {
		name string
		// heap says whether the function is a contract still.
		heap bool
	}{
		{"of a contract", true},
		{"of what was a contract once", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			contract := newFunction(true)
			p := newTestProvider(t, contract)
			p.deploy(t, contract)
			if err := p.store.Commit(t.Context(), contract.Heap(), []function.HeapWrite{{Key: "a", Value: []byte("1")}}, 0); err != nil {
				t.Fatal(err)
			}
			p.proxy.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/function/ledger", nil))
			if p.proxy.Load(contract.Ref).LastActivity.IsZero() {
				t.Fatal("the call was not counted")
			}
			for range 2 { // it is repeated where a delete is cut off
				if err := p.onDelete(t.Context(), newFunction(test.heap)); err != nil {
					t.Fatalf("onDelete: %v", err)
				}
			}
			p.wantNoHeap(t, contract)
			if load := p.proxy.Load(contract.Ref); load != (proxy.Load{}) {
				t.Errorf("the proxy knows it still: %+v", load)
			}
		})
	}
}

func TestOnDelete_HeapThatCannotBeDroppedIsAnError(t *testing.T) {
	f := newFunction(true)
	p := newTestProvider(t, f)
	p.deploy(t, f)
	if err := p.store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.onDelete(t.Context(), f); !errors.Is(err, heapstore.ErrClosed) {
		t.Errorf("onDelete: %v, want %v", err, heapstore.ErrClosed)
	}
}
