package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const slicesPath = "/apis/discovery.k8s.io/v1/endpointslices"

// putEndpoints puts the one slice of a Service; each endpoint is a pod's name and its conditions.
func (w *world) putEndpoints(service string, endpoints ...string) {
	var list []string
	for _, e := range endpoints {
		pod, conditions, _ := strings.Cut(e, " ")
		list = append(list, fmt.Sprintf(`{"addresses":["10.0.0.1"],"conditions":{%s},"targetRef":{"kind":"Pod","name":%q}}`, conditions, pod))
	}
	w.api.put(slicesPath, "openfaas", fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"kubernetes.io/service-name":%q}},"addressType":"IPv4","endpoints":[%s]}`,
		service+"-1", service, strings.Join(list, ",")))
}

func TestAwaitSuccessor(t *testing.T) {
	const ending = ` "ready":false,"serving":true,"terminating":true`
	w := newWorld(t, nil)
	await := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return w.cluster.AwaitSuccessor(ctx, "openfaas", "gateway", "old")
	}
	if err := await(20 * time.Second); err != nil {
		t.Errorf("with the Service gone: %v", err)
	}
	w.putEndpoints("other", `new "ready":true`)
	w.putEndpoints("gateway", "old"+ending, "older"+ending, `new "ready":false`)
	if err := await(10 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with nobody else ready: %v", err)
	}
	w.putEndpoints("gateway", `old "ready":true`)
	if err := await(10 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("before the cluster knows that we end: %v", err)
	}

	// The API server is away for a moment, and then there is another.
	w.api.refuseIf(func(r *http.Request) int {
		if strings.Contains(r.URL.Path, "endpointslices") {
			return http.StatusServiceUnavailable
		}
		return 0
	})
	if err := await(2 * time.Second); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "gateway") {
		t.Errorf("with the API server away: %v", err)
	}
	succeeded := make(chan error)
	go func() { succeeded <- await(20 * time.Second) }()
	w.api.refuseIf(func(*http.Request) int { return 0 })
	select {
	case err := <-succeeded:
		t.Fatalf("ended with nobody else ready: %v", err)
	case <-time.After(2 * successorLook): // not for what is to happen, but for what is not
	}
	w.putEndpoints("gateway", "old"+ending, `new "ready":true`)
	if err := <-succeeded; err != nil {
		t.Errorf("with another one ready: %v", err)
	}

	w.putEndpoints("gateway", "old"+ending)
	w.api.refuseIf(func(*http.Request) int { return http.StatusForbidden })
	if err := await(20 * time.Second); err != nil {
		t.Errorf("without leave to look: %v", err)
	}
}

func TestEnding(t *testing.T) {
	w := newWorld(t, nil)
	put := func(name, more string) {
		w.api.put(podsPath, "openfaas", fmt.Sprintf(`{"metadata":{"name":%q%s},"spec":{},"status":{}}`, name, more))
	}
	put("stays", "")
	put("goes", `,"deletionTimestamp":"2026-01-01T00:00:00Z"`)
	for pod, want := range map[string]bool{"stays": false, "goes": true, "unknown": false} {
		if got := w.cluster.Ending(t.Context(), "openfaas", pod); got != want {
			t.Errorf("pod that %s: %t", pod, got)
		}
	}

	var asked atomic.Int32
	w.api.refuseIf(func(r *http.Request) int {
		if strings.HasSuffix(r.URL.Path, "/goes") && asked.Add(1) < 3 {
			return http.StatusServiceUnavailable
		}
		return 0
	})
	if !w.cluster.Ending(t.Context(), "openfaas", "goes") || asked.Load() < 3 {
		t.Errorf("an API server that was away was asked %d times", asked.Load())
	}
	w.api.refuseIf(func(*http.Request) int { return http.StatusServiceUnavailable })
	ctx, cancel := context.WithTimeout(t.Context(), 2*successorLook)
	defer cancel()
	if w.cluster.Ending(ctx, "openfaas", "goes") {
		t.Error("nobody said so")
	}
	w.api.refuseIf(func(*http.Request) int { return http.StatusForbidden })
	if w.cluster.Ending(t.Context(), "openfaas", "goes") {
		t.Error("nobody may say so")
	}
}
