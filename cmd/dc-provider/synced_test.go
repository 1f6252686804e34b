package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dragonchain/dc-provider/pkg/handlers"
	"github.com/dragonchain/dc-provider/pkg/http1"
)

func TestAfterSync(t *testing.T) {
	for name, test := range map[string]struct {
		path string
		// sync and leave are when all is known, and when the caller leaves; 0 means never.
		sync, leave time.Duration
		want        error
		after       time.Duration
	}{
		"waits until functions are known": {path: "/function/ledger", sync: time.Second, after: time.Second},
		"and no longer than it may":       {path: "/heap/ledger/n", want: handlers.ErrUnhealthy, after: time.Minute},
		"nor than its caller":             {path: "/system/functions", leave: time.Second, want: context.Canceled, after: time.Second},
		"a probe is answered at once":     {path: "/healthz"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				synced := make(chan struct{})
				if test.sync > 0 {
					time.AfterFunc(test.sync, func() { close(synced) })
				}
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				if test.leave > 0 {
					time.AfterFunc(test.leave, leave)
				}
				served, failed := false, error(nil)
				h := afterSync(synced, time.Minute, func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
					http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true }))
				began := time.Now()
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", test.path, nil))
				if !errors.Is(failed, test.want) || served != (test.want == nil) || time.Since(began) != test.after {
					t.Errorf("served %t, %v, after %v", served, failed, time.Since(began))
				}
			})
		})
	}
}

// Calls that http1 could serve wait behind net/http as long as functions are not known.
func TestServe_CallsWaitForTheFunctions(t *testing.T) {
	p := &provider{log: quietLog, cfg: config{gatewayListen: freeAddress(t), providerListen: freeAddress(t), drainTimeout: time.Minute}}
	synced := make(chan struct{})
	by := make(chan string, 2)
	slow := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { by <- "net/http" })
	fast := func(x *http1.Exchange) {
		by <- "http1"
		x.Pass()
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- p.serve(ctx, afterSync(synced, time.Minute, nil, slow), slow, callsAfterSync(synced, fast), nothing)
	}()
	wantAnswer(t, p.cfg.providerListen)
	<-by
	answered := make(chan error, 1)
	go func() {
		response, err := get(p.cfg.gatewayListen)
		if err == nil {
			err = response.Body.Close()
		}
		answered <- err
	}()
	select {
	case got := <-by:
		t.Errorf("served by %s before functions are known", got)
	case <-time.After(50 * time.Millisecond):
	}
	close(synced)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if got := <-by; got != "net/http" {
		t.Errorf("the call that waited was served by %s", got)
	}
	http.DefaultClient.CloseIdleConnections() // that one is net/http's for good
	wantAnswer(t, p.cfg.gatewayListen)
	if got := <-by; got != "http1" {
		t.Errorf("a call afterwards was served by %s", got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
