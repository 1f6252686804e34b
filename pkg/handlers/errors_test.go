package handlers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/handlers"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/invoke"
	"github.com/dragonchain/dc-provider/pkg/proxy"
)

func TestErrorWriter(t *testing.T) {
	cause := errors.New("dial tcp 10.1.2.3:8080: refused")
	for _, c := range []struct {
		err    error
		status int
		tells  string
		level  string
	}{
		{function.Invalidf("mend this"), 400, "mend this", "DEBUG"},
		{fmt.Errorf("deploy: %w", function.Invalidf("mend this")), 400, "deploy: mend this", "DEBUG"},
		{function.NotFoundf("no cow"), 404, "no cow", "DEBUG"},
		{function.Existsf("cow is there"), 409, "cow is there", "DEBUG"},
		{fmt.Errorf("update: %w", function.ErrConflict), 409, "changed by somebody else", "DEBUG"},
		{fmt.Errorf("%w: image not found", proxy.ErrNoEndpoint), 503, "image not found", "WARN"},
		{fmt.Errorf("%w: 3 wait already", proxy.ErrBusy), 429, "3 wait already", "DEBUG"},
		{proxy.ErrUnreachable, 502, "broke off", "WARN"},
		{proxy.ErrTimeout, 504, "in time", "WARN"},
		{proxy.ErrCanceled, 499, "", "DEBUG"},
		{fmt.Errorf("%w: %w", proxy.ErrNoEndpoint, context.DeadlineExceeded), 503, "no endpoint", "WARN"},
		{fmt.Errorf("%w: %w", proxy.ErrNoEndpoint, function.ErrNotFound), 503, "no endpoint", "WARN"},
		{context.Canceled, 503, "shutting down", "WARN"},
		{context.DeadlineExceeded, 504, "in time", "WARN"},
		{&http.MaxBytesError{Limit: 7}, 413, "7 bytes", "DEBUG"},
		{heapstore.ErrNoHeap, 404, "no such heap", "DEBUG"},
		{heapstore.ErrNoKey, 404, "no such key", "DEBUG"},
		{heapstore.ErrKeyTooLarge, 413, "key", "DEBUG"},
		{heapstore.ErrValueTooLarge, 413, "value", "DEBUG"},
		{invoke.ErrCallReused, 422, "used for another request", "DEBUG"},
		{heapstore.ErrQuota, 413, "quota", "DEBUG"},
		{fmt.Errorf("%w: %w: broken pipe", heapstore.ErrUnknown, heapstore.ErrUnavailable), 503, "not known", "WARN"},
		{fmt.Errorf("%w: broken pipe", heapstore.ErrUnavailable), 503, "not available\n", "WARN"},
		{heapstore.ErrBadKey, 502, "key", "WARN"},
		{heapstore.ErrClosed, 503, "shutting down", "WARN"},
		{fmt.Errorf("commit: %w", heapstore.ErrLocked), 503, "another provider", "WARN"},
		{invoke.ErrSlowRequest, 408, "in time", "DEBUG"},
		{invoke.ErrAnswerTooLarge, 413, "too large", "DEBUG"},
		{invoke.ErrUnstorable, 502, "cannot be stored", "WARN"},
		{fmt.Errorf("%w: %w", invoke.ErrBrokenAnswer, cause), 502, "ended early", "WARN"},
		{cause, 500, "internal error", "ERROR"},
		{function.Invalidf("a\nb\r\x00c\u2028d"), 400, "a b  c d", "DEBUG"},
		{function.Invalidf("%s", strings.Repeat("ü", 10000)), 400, "üüü", "DEBUG"},
	} {
		t.Run(c.err.Error()[:min(len(c.err.Error()), 60)], func(t *testing.T) {
			var log bytes.Buffer
			write := handlers.ErrorWriter(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
			got := httptest.NewRecorder()
			got.Header().Set("Content-Length", "12345")
			got.Header().Set("Content-Type", "application/json")
			write(got, httptest.NewRequest("GET", "/function/cow", nil), c.err)
			wantLine(t, got, c.status, c.tells)
			if got.Header().Get("X-OpenFaaS-Internal") != "dc-provider" || got.Header().Get("Content-Length") != "" {
				t.Errorf("headers %v", got.Header())
			}
			if strings.Contains(got.Body.String(), "10.1.2.3") {
				t.Errorf("the cause is told: %q", got.Body)
			}
			if !strings.Contains(log.String(), "level="+c.level) || strings.Count(log.String(), "\n") != 1 {
				t.Errorf("log %q, want one line at %s", log.String(), c.level)
			}
		})
	}
}

func TestErrorWriter_LeavesTheProxysMark(t *testing.T) {
	for _, err := range []error{proxy.ErrNoEndpoint, proxy.ErrBusy} {
		got := httptest.NewRecorder()
		got.Header().Set("X-OpenFaaS-Internal", "proxy")
		handlers.ErrorWriter(slog.New(slog.DiscardHandler))(got, httptest.NewRequest("GET", "/", nil), err)
		if h := got.Header(); h.Get("X-OpenFaaS-Internal") != "proxy" || h.Get("Retry-After") != "1" {
			t.Errorf("%v: headers %v", err, h)
		}
	}
}

func TestErrorWriter_CallerGone(t *testing.T) {
	gone, leave := context.WithCancel(t.Context())
	leave()
	got := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil).WithContext(gone)
	handlers.ErrorWriter(slog.New(slog.DiscardHandler))(got, r, fmt.Errorf("create: %w", context.Canceled))
	wantLine(t, got, 499, "went away")
}
