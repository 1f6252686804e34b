package kube

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAwait_EndsAsATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := new(Cluster).await(t.Context(), make(chan struct{}))
		// Callers are told to try again, and not that the provider is at fault.
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != departureTimeout {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
	})
}
