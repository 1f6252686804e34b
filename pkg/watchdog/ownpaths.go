package watchdog

import (
	"bytes"
	"context"
	"net/http"
	"net/url"

	"github.com/dragonchain/dc-provider/pkg/function/readypush"
	"github.com/dragonchain/dc-provider/pkg/http1"
)

// ownPath is what serves a path, without escapes, if that is one of our own; else nil, and it is the function's.
func (w *Watchdog) ownPath(path string) http.HandlerFunc {
	switch path {
	case "/_/health":
		return w.serveHealth
	case readypush.ReadyPath:
		return w.serveReady
	case readypush.UsagePath:
		return w.serveUsage
	}
	return nil
}

// ownTarget is ownPath for a target as it was sent. Our own paths all begin with /_, which may be escaped.
func (w *Watchdog) ownTarget(target []byte) http.HandlerFunc {
	if len(target) < 2 || target[1] != '_' && target[1] != '%' {
		return nil
	}
	raw, _, _ := bytes.Cut(target, []byte("?"))
	path, err := url.PathUnescape(string(raw))
	if err != nil {
		return nil
	}
	return w.ownPath(path)
}

// serveOwn answers an exchange with one of our own paths, so that no caller gets a connection to net/http by asking for it.
func serveOwn(x *http1.Exchange, serve http.HandlerFunc) {
	header := http.Header{}
	for _, f := range x.Fields {
		header.Add(string(f.Name), string(f.Value))
	}
	r := (&http.Request{Method: string(x.Method), Header: header}).WithContext(
		context.WithValue(x.Context(), http.LocalAddrContextKey, x.LocalAddr()))
	answer := ownAnswer{header: http.Header{}}
	serve(&answer, r)
	if len(answer.body) > 0 && answer.header.Get("Content-Type") == "" {
		answer.header.Set("Content-Type", http.DetectContentType(answer.body))
	}
	for name, values := range answer.header {
		for _, value := range values {
			x.ToClient.Add(name, value)
		}
	}
	if answer.status == 0 {
		answer.status = http.StatusOK
	}
	// A prober that went away needs no answer.
	_ = x.Answer(answer.status, answer.body)
}

// ownAnswer keeps an answer, which is short, until it is whole.
type ownAnswer struct {
	header http.Header
	status int
	body   []byte
}

func (a *ownAnswer) Header() http.Header { return a.header }

func (a *ownAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *ownAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, p...)
	return len(p), nil
}
