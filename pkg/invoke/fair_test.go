package invoke_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/invoke"
)

// Functions that hang and have much to do leave a place for one that does not, though together they may have all.
func TestRun_SlowFunctionsLeaveRoom(t *testing.T) {
	slow := []string{"slow-1", "slow-2", "slow-3", "slow-4"}
	functions := map[string]*function.Function{}
	for _, name := range append(slow, "quick") {
		functions[name] = &function.Function{Spec: function.Spec{Ref: function.Ref{Name: name, Namespace: "openfaas-fn"}}, ID: name}
	}
	hang, served := make(chan struct{}), make(chan struct{})
	begun := make(chan string, 1000)
	a := newAsyncBenchOn(t, nil, nil, func(c *invoke.Config) {
		c.Workers, c.PerFunction = 64, 16
		c.Bounds.Items = 1000
		c.Lookup = func(ref function.Ref) (*function.Function, bool) {
			f, found := functions[ref.Name]
			return f, found
		}
		c.Call = func(_ context.Context, f *function.Function, _ *http.Request) (*http.Response, error) {
			if f.Name == "quick" {
				close(served)
			} else {
				begun <- f.Name
				<-hang
			}
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))}, nil
		}
	})
	queue := func(name string, calls int) {
		t.Helper()
		for n := range calls {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
			r.Header.Set("X-Call-Id", fmt.Sprint(name, "-", n))
			w := httptest.NewRecorder()
			if a.invoker.ServeAsync(w, r, functions[name], name); w.Code != http.StatusAccepted {
				t.Fatalf("%s: status %d", name, w.Code)
			}
		}
	}
	for _, name := range slow {
		queue(name, 50)
	}
	defer a.work()()
	defer close(hang)
	for range 40 {
		<-begun // most places are taken
	}
	queue("quick", 1)
	select {
	case <-served:
	case <-time.After(time.Minute):
		t.Errorf("the quick one was not called beside %d others", 40+len(begun))
	}
}
