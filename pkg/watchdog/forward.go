package watchdog

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dragonchain/dc-provider/pkg/http1"
)

const (
	frontHeadBytes = 1 << 20 // as net/http
	// frontSpin is the time in which a function is quick, and so is a caller with its next request: above what the two wakes of a processor
	// that sleeps take that come between. It is spent in vain on one request of nine at most.
	frontSpin   = 250 * time.Microsecond
	frontFields = 1 << 10
	readAhead   = 4 << 10 // of a body
	mostAgain   = 3       // for a request that has met the end of an idle connection
)

// newFront returns the server of HTTPMode, in front of rest, which gets what is rare: upgrades, CONNECT and absolute targets.
func (w *Watchdog) newFront(m *httpMode, rest *http.Server) (*http1.Server, error) {
	return http1.NewServer(http1.ServerConfig{
		Handler:     func(x *http1.Exchange) { w.exchange(m, x) },
		Rest:        rest,
		HeadTimeout: lesser(headerTimeout, w.cfg.ReadTimeout),
		ReadTimeout: w.cfg.ReadTimeout,
		IdleTimeout: idleTimeout,
		Spin:        frontSpin,
		HeadBytes:   frontHeadBytes,
		TargetBytes: frontHeadBytes,
		Fields:      frontFields,
		Log:         w.log,
	})
}

// exchange is invoke, without net/http.
func (w *Watchdog) exchange(m *httpMode, x *http1.Exchange) {
	if serve := w.ownTarget(x.Target); serve != nil {
		serveOwn(x, serve)
		return
	}
	w.metrics.begin()
	status := statusCallerGone
	defer func() { w.metrics.observe(string(x.Method), status, time.Since(x.Started)) }()
	if !w.inFlight.enter() {
		status = http.StatusTooManyRequests
		x.ToClient.Add("Content-Type", "text/plain")
		x.ToClient.Add("X-OpenFaaS-Internal", "faas-middleware")
		x.ToClient.Add("Retry-After", "1")
		// A caller that went away needs no answer.
		_ = x.Answer(status, w.overLimit())
		return
	}
	defer w.inFlight.leave()
	m.forward(x)
	if sent := x.Status(); sent != 0 {
		status = sent
	}
}

// forward is ServeHTTP, without net/http.
func (m *httpMode) forward(x *http1.Exchange) {
	limit, answered := lesser(lesser(m.cfg.ExecTimeout, m.cfg.WriteTimeout), parseLimit(string(x.Get("X-Timeout")))), stamp
	if wantsStream(x) {
		limit, answered = parseLimit(string(x.Get("X-Timeout"))), nil
		if m.cfg.WriteTimeout > 0 {
			limit = lesser(limit, m.cfg.WriteTimeout+writeGrace)
		}
	}
	if limit > 0 {
		x.SetDeadline(x.Started.Add(limit))
	}
	err := m.relay(x, answered)
	if err != nil {
		m.explain(x, err)
	}
	m.noteExchange(x, err)
}

// noteExchange is note, without net/http.
func (m *httpMode) noteExchange(x *http1.Exchange, err error) {
	level := m.level(bytes.HasPrefix(x.Get("User-Agent"), []byte(prober)))
	if !m.log.Enabled(context.Background(), level) {
		return
	}
	status := x.Status()
	if status == 0 {
		status = statusCallerGone
	}
	m.log.Log(context.Background(), level, "invocation ended", "method", string(x.Method), "path", pathOf(x),
		"call_id", string(x.Get("X-Call-Id")), "status", status, errAttr(err), "duration_seconds", time.Since(x.Started).Seconds())
}

func (m *httpMode) relay(x *http1.Exchange, answered func(*http1.Exchange, *http1.Response)) error {
	if m.cfg.BufferBody {
		body, err := m.spoolExchange(x)
		if err != nil {
			return err
		}
		defer body.close()
	}
	if m.up.park > 0 {
		defer m.up.leave()
		if err := m.up.enter(x.Context()); err != nil {
			return err
		}
	}
	var target []byte
	if m.base != "" {
		target = append([]byte(m.base), x.Target...)
	}
	err := x.Forward(m.pool, target, answered)
	for again := 0; again < mostAgain && errors.Is(err, http1.ErrClosedIdle) && replayable(x); again++ {
		m.pool.CloseIdle() // what is left is as old, or from a process that is gone
		err = x.Forward(m.pool, target, answered)
	}
	return err
}

// replayable tells a request that may reach the function twice, as net/http's client, and so the of-watchdog, has it.
func replayable(x *http1.Exchange) bool {
	switch string(x.Method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return x.Length() == 0
	}
	return false
}

// spoolExchange is spoolRequest. A body that is short, and says so, needs no place of its own.
func (m *httpMode) spoolExchange(x *http1.Exchange) (*spooled, error) {
	if _, ok, err := x.ReadBody(readAhead); ok || err != nil {
		return &spooled{}, err
	}
	body, err := m.spool(x.Body(), x.Length())
	if err == nil {
		x.SetBody(body, body.length)
	}
	return body, err
}

// wantsStream is isStream. An upgrade does not come here.
func wantsStream(x *http1.Exchange) bool {
	for _, f := range x.Fields {
		if len(f.Name) != len("Accept") || !strings.EqualFold(string(f.Name), "Accept") || len(f.Value) < len("text/event-stream") {
			continue
		}
		accept := bytes.ToLower(f.Value)
		if bytes.Contains(accept, []byte("text/event-stream")) || bytes.Contains(accept, []byte("application/x-ndjson")) {
			return true
		}
	}
	return false
}

// stamp is stampDuration.
func stamp(x *http1.Exchange, _ *http1.Response) {
	var b [24]byte
	x.ToClient.Drop("X-Duration-Seconds")
	x.ToClient.AddBytes("X-Duration-Seconds", strconv.AppendFloat(b[:0], time.Since(x.Started).Seconds(), 'f', 6, 64))
}

// explain answers a request for which the function gave no answer, or logs why it was not given whole.
func (m *httpMode) explain(x *http1.Exchange, err error) {
	switch {
	case errors.Is(err, http1.ErrClientGone) || errors.Is(err, http1.ErrServerClosed):
		m.log.Debug("caller went away", "path", pathOf(x), "status", statusCallerGone)
		return
	case x.Begun():
		m.log.Debug("the answer was cut short", "path", pathOf(x), "err", err)
		return
	}
	f := m.failureOf(err, errors.Is(err, http1.ErrDeadline))
	if f.unexplained {
		m.log.Warn("the function gave no answer", "path", pathOf(x), "call_id", string(x.Get("X-Call-Id")), "err", err)
	}
	status, internal, body := m.wording(f)
	x.ToClient.Add("X-OpenFaaS-Internal", internal)
	if f.later {
		x.ToClient.Add("Retry-After", "1")
	}
	x.ToClient.Add("X-Duration-Seconds", seconds(time.Since(x.Started)))
	if body != "" {
		x.ToClient.Add("Content-Type", "text/plain; charset=utf-8")
		x.ToClient.Add("X-Content-Type-Options", "nosniff")
	}
	// A caller that went away needs no answer.
	_ = x.Answer(status, []byte(body))
}

func pathOf(x *http1.Exchange) string {
	path, _, _ := bytes.Cut(x.Target, []byte("?"))
	return string(path)
}
