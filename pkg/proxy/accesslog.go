package proxy

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// maxLogged bounds each text in the access log that is the caller's choice.
const maxLogged = 256

// accessEntry is what the access log tells of a call and the call does not know otherwise. A call has one only if it is to
// be logged.
type accessEntry struct {
	callID, method, path string
	caller, forwardedFor string
	endpoint             function.Endpoint
	bytes                int64
	err                  error
}

// newEntry returns the entry of a request if it is among the share that is logged, else nil. The query is left out: it is
// where secrets are.
func (p *Proxy) newEntry(r *http.Request, callID string) *accessEntry {
	if !p.logs() {
		return nil
	}
	caller, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		caller = r.RemoteAddr
	}
	return &accessEntry{
		callID: bounded(callID), method: bounded(r.Method), path: bounded(r.URL.EscapedPath()),
		caller: caller, forwardedFor: bounded(r.Header.Get("X-Forwarded-For")),
	}
}

// logs draws whether a request is among the share that is logged.
func (p *Proxy) logs() bool {
	return p.cfg.AccessLog != nil && rand.Float64() < p.cfg.AccessLogShare
}

func bounded(s string) string { return s[:min(len(s), maxLogged)] }

// logCall writes the line of a call that has ended.
func (e *accessEntry) logCall(log *slog.Logger, c *call, now time.Time) {
	e.log(log, c.f.Ref, c.status, now.Sub(c.came),
		slog.Int64("bytes", e.bytes),
		slog.Float64("queue_seconds", c.phases[phaseQueue].Seconds()),
		slog.Float64("wake_seconds", c.phases[phaseWake].Seconds()),
		slog.Float64("connect_seconds", c.phases[phaseConnect].Seconds()),
		slog.Float64("function_seconds", c.phases[phaseFunction].Seconds()),
		slog.String("endpoint", e.endpoint.Address),
		slog.String("replica", e.endpoint.Replica),
	)
}

// log writes a line.
func (e *accessEntry) log(log *slog.Logger, ref function.Ref, status int, took time.Duration, more ...slog.Attr) {
	attrs := append([]slog.Attr{
		slog.String("function", bounded(ref.Name)),
		slog.String("namespace", bounded(ref.Namespace)),
		slog.String("call_id", e.callID),
		slog.String("method", e.method),
		slog.String("path", e.path),
		slog.Int("status", status),
		slog.String("caller", e.caller),
		slog.Float64("duration_seconds", took.Seconds()),
	}, more...)
	if e.forwardedFor != "" && e.forwardedFor != e.caller { // the last hop is always in it
		attrs = append(attrs, slog.String("forwarded_for", e.forwardedFor))
	}
	if e.err != nil {
		attrs = append(attrs, slog.Any("err", e.err))
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, "call", attrs...)
}

// loggedBody counts the bytes of an answer.
type loggedBody struct {
	io.ReadCloser
	entry *accessEntry
}

func (b loggedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.entry.bytes += int64(n)
	return n, err
}
