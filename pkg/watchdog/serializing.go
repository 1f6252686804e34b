package watchdog

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// serializingMode is forkMode with the answers of the of-watchdog: every method is the function's, and of an invocation that failed its
// output is not shown.
type serializingMode struct{ *forkMode }

// ServeHTTP is one invocation, by the rules of the of-watchdog.
func (m *serializingMode) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.invoke(w, r, m.answer) }

func (m *serializingMode) answer(w http.ResponseWriter, r *http.Request, output []byte, err error, took time.Duration) {
	status := m.status(err)
	defer func() { m.note(r, status, int64(len(output)), err, took) }()
	switch {
	case err == nil:
		m.succeed(w, r, output, took)
	case status == statusCallerGone:
		panic(http.ErrAbortHandler) // so that no empty 200 goes to a client that has only closed its sending side
	default:
		m.fail(w, status, err, took)
	}
}

// status is that of an invocation with this outcome.
func (m *serializingMode) status(err error) int {
	var spawn *spawnError
	var exit *exitError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &spawn):
		return spawnStatus(spawn)
	case errors.As(err, &exit), errors.Is(err, errOutputTooBig):
		return http.StatusInternalServerError
	case errors.Is(err, context.DeadlineExceeded) && m.cfg.Dialect == Of:
		return http.StatusInternalServerError
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	}
	return statusCallerGone
}

// fail answers with the error alone. In the of-watchdog's dialect the type is that of a good answer, and running out of time is told in
// the words of what was done about it.
func (m *serializingMode) fail(w http.ResponseWriter, status int, err error, took time.Duration) {
	body := []byte(err.Error())
	if errors.Is(err, context.DeadlineExceeded) {
		body = []byte("the function ran out of time\n")
		if m.cfg.Dialect == Of {
			body = []byte("signal: killed")
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if ct := m.cfg.ContentType; ct != "" && m.cfg.Dialect == Of {
		h.Set("Content-Type", ct)
	}
	h.Set("X-Duration-Seconds", seconds(took))
	h.Set("Content-Length", strconv.Itoa(len(body)))
	m.debugHeaders("out", h)
	m.send(w, status, body)
}
