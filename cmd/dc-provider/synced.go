package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/dragonchain/dc-provider/pkg/handlers"
	"github.com/dragonchain/dc-provider/pkg/http1"
)

// A provider that has just started, perhaps because it crashed, does not know its functions yet, and those who held connections
// to the one before come at once, whatever Kubernetes takes it for. To them a 404 would say that a function is gone, and to a
// contract that looks into its heap that it runs for the first time. So they wait.

// afterSync lets requests wait until synced is closed, for patience at most. Probes are answered at once.
func afterSync(synced <-chan struct{}, patience time.Duration, fail func(http.ResponseWriter, *http.Request, error), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			if err := awaitSync(r.Context(), synced, patience); err != nil {
				fail(w, r, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// callsAfterSync is afterSync for what http1 serves, which is passed on as long as it would have to wait.
func callsAfterSync(synced <-chan struct{}, next func(*http1.Exchange)) func(*http1.Exchange) {
	return func(x *http1.Exchange) {
		select {
		case <-synced:
			next(x)
		default:
			x.Pass()
		}
	}
}

func awaitSync(ctx context.Context, synced <-chan struct{}, patience time.Duration) error {
	select {
	case <-synced: // as it nearly always is
		return nil
	default:
	}
	waiting, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%w: the functions are not known yet", handlers.ErrUnhealthy))
	defer cancel()
	select {
	case <-synced:
		return nil
	case <-waiting.Done():
		return context.Cause(waiting)
	}
}
