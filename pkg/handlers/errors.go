package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"unicode"

	"github.com/dragonchain/dc-provider/pkg/dc1"
	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/invoke"
	"github.com/dragonchain/dc-provider/pkg/proxy"
)

// internalHeader marks answers that the platform made; retry logic tells them by it from a function's own.
const internalHeader = "X-OpenFaaS-Internal"

var (
	// errQuery: a parameter of a query cannot be read and OpenFaaS answers so with 422.
	errQuery = errors.New("bad query")
	// ErrUnhealthy: the provider cannot do its work.
	ErrUnhealthy = errors.New("unhealthy")
)

// statusClientGone is nginx's: nobody reads it but logs and metrics.
const statusClientGone = 499

// wakeSeconds is about how long a wake takes.
const wakeSeconds = 1

// freeSeconds is when a function whose replicas are busy may be tried again: nobody knows, and soon is what callers hope for.
const freeSeconds = 1

// storeSeconds is about how long a database takes to come back.
const storeSeconds = 5

// queueSeconds is when a full queue may be tried again: it moves by invocations.
const queueSeconds = 5

// signedSeconds is when more signed requests may be let in: the memory of them ends by minutes.
const signedSeconds = 60

// row says how an error is answered.
type row struct {
	is     error
	status int
	// text is the body in place of the error's own text, where that is not meant for callers.
	text string
	// retry is the Retry-After header, in seconds; 0 sends none.
	retry int
}

// shuttingDown is also the row for a context that ended though its caller is still there.
var shuttingDown = row{is: heapstore.ErrClosed, status: http.StatusServiceUnavailable, text: "the provider is shutting down"}

// table is the one place where errors become statuses. The first row that fits counts: an error of ours may have the end of
// a context for its cause.
var table = []row{
	{is: proxy.ErrNoEndpoint, status: http.StatusServiceUnavailable, retry: wakeSeconds},
	{is: proxy.ErrBusy, status: http.StatusTooManyRequests, retry: freeSeconds},
	{is: proxy.ErrUnreachable, status: http.StatusBadGateway},
	{is: proxy.ErrTimeout, status: http.StatusGatewayTimeout},
	{is: proxy.ErrCanceled, status: statusClientGone},
	{is: invoke.ErrSlowRequest, status: http.StatusRequestTimeout},
	{is: invoke.ErrCallReused, status: http.StatusUnprocessableEntity},
	{is: invoke.ErrAnswerTooLarge, status: http.StatusRequestEntityTooLarge},
	{is: invoke.ErrUnstorable, status: http.StatusBadGateway},
	{is: invoke.ErrBrokenAnswer, status: http.StatusBadGateway, text: invoke.ErrBrokenAnswer.Error()},
	{is: invoke.ErrContended, status: http.StatusConflict, retry: wakeSeconds},
	{is: invoke.ErrViewEnded, status: http.StatusGone},
	{is: invoke.ErrViewFull, status: http.StatusRequestEntityTooLarge},
	{is: heapstore.ErrKeyTooLarge, status: http.StatusRequestEntityTooLarge},
	{is: heapstore.ErrValueTooLarge, status: http.StatusRequestEntityTooLarge},
	{is: heapstore.ErrQuota, status: http.StatusRequestEntityTooLarge},
	{is: heapstore.ErrCondition, status: http.StatusPreconditionFailed},
	{is: heapstore.ErrNoSnapshot, status: http.StatusNotImplemented},
	// The contract chose the key, and not the caller.
	{is: heapstore.ErrBadKey, status: http.StatusBadGateway},
	{is: heapstore.ErrLocked, status: http.StatusServiceUnavailable, retry: wakeSeconds,
		text: "another provider has the contracts' heaps still"},
	shuttingDown,
	// It wraps the next one.
	{is: heapstore.ErrUnknown, status: http.StatusServiceUnavailable, text: heapstore.ErrUnknown.Error()},
	{is: heapstore.ErrUnavailable, status: http.StatusServiceUnavailable, text: heapstore.ErrUnavailable.Error(), retry: storeSeconds},
	{is: heapstore.ErrQueueFull, status: http.StatusTooManyRequests, text: heapstore.ErrQueueFull.Error(), retry: queueSeconds},
	{is: invoke.ErrLineFull, status: http.StatusTooManyRequests, retry: freeSeconds},
	{is: errCredentials, status: http.StatusUnauthorized},
	{is: dc1.ErrRefused, status: http.StatusUnauthorized},
	{is: dc1.ErrTooMany, status: http.StatusTooManyRequests, retry: signedSeconds},
	{is: errNotARead, status: http.StatusMethodNotAllowed},
	{is: errQuery, status: http.StatusUnprocessableEntity},
	{is: errRefused, status: http.StatusUnauthorized, text: errRefused.Error()},
	{is: errNotReady, status: http.StatusServiceUnavailable, text: errNotReady.Error()},
	{is: errTooManyPushes, status: http.StatusTooManyRequests, retry: pushAgainSeconds},
	{is: ErrUnhealthy, status: http.StatusServiceUnavailable},
	{is: function.ErrInvalid, status: http.StatusBadRequest},
	{is: function.ErrNotFound, status: http.StatusNotFound},
	{is: function.ErrExists, status: http.StatusConflict},
	{is: function.ErrConflict, status: http.StatusConflict},
	{is: context.Canceled, status: statusClientGone, text: proxy.ErrCanceled.Error()},
	{is: context.DeadlineExceeded, status: http.StatusGatewayTimeout, text: proxy.ErrTimeout.Error()},
}

// classify finds the row of err. What no row knows is our fault, or the cluster's, and its text stays in the log.
func classify(err error) row {
	for _, r := range table {
		if errors.Is(err, r.is) {
			return r
		}
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return row{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("the body has more than %d bytes", tooLarge.Limit)}
	}
	return row{status: http.StatusInternalServerError, text: "internal error; the provider's log has the cause"}
}

// form is how the body of an error looks.
type form int

const (
	text          form = iota // one line with its newline
	raw                       // one line without
	empty                     // nothing
	ofDragonchain             // a JSON object, as a Dragonchain's errors
)

// forms says which statuses of a route do not have a line of text. What is said of anyStatus goes for all that are not named.
type forms map[int]form

const anyStatus = 0

func (f forms) of(status int) form {
	if form, named := f[status]; named {
		return form
	}
	return f[anyStatus]
}

// Status is the status that an error is answered with.
func Status(err error) int { return classify(err).status }

// ErrorWriter returns the function that answers for an error, for the packages that are handed it as their hook. What
// callers are not told goes to log.
func ErrorWriter(log *slog.Logger) func(http.ResponseWriter, *http.Request, error) {
	write := errorWriter(log)
	return func(w http.ResponseWriter, r *http.Request, err error) { write(w, r, err, nil) }
}

func errorWriter(log *slog.Logger) func(http.ResponseWriter, *http.Request, error, forms) {
	return func(w http.ResponseWriter, r *http.Request, err error, forms forms) {
		row := classify(err)
		if row.is == context.Canceled && r.Context().Err() == nil {
			row = shuttingDown
		}
		log.Log(r.Context(), level(row.status), "request refused", "method", r.Method, "path", r.URL.Path, "status", row.status, "err", err)
		body := row.text
		if body == "" {
			body = oneLine(err.Error())
		}
		row.write(w, body, forms.of(row.status))
	}
}

func (r row) write(w http.ResponseWriter, body string, form form) {
	h := w.Header()
	if h.Get(internalHeader) == "" {
		h.Set(internalHeader, "dc-provider")
	}
	if r.retry > 0 {
		h.Set("Retry-After", fmt.Sprint(r.retry))
	}
	// Set by a handler for the answer that it did not come to give.
	h.Del("Content-Length")
	h.Del("Content-Type")
	switch form {
	case empty:
		w.WriteHeader(r.status)
	case raw:
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(r.status)
		_, _ = w.Write([]byte(body)) // a caller that is gone needs no answer
	case ofDragonchain:
		h.Set("Content-Type", "application/json")
		w.WriteHeader(r.status)
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(newChainError(r.status, body)) // strings have a JSON, and a caller that is gone needs no answer
	default:
		http.Error(w, body, r.status)
	}
}

// level is Error for what an operator must look at, Warn for what a function or the cluster did not do in time, and Debug
// for what callers are told themselves.
func level(status int) slog.Level {
	switch {
	case status == http.StatusInternalServerError:
		return slog.LevelError
	case status > http.StatusInternalServerError:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

// maxLine bounds the text of an error; it may quote what the caller sent.
const maxLine = 1000

// oneLine makes a text fit for one line of plain text.
func oneLine(s string) string {
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + "..."
	}
	if plainLine(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

// plainLine tells whether a text is printable ASCII, as nearly all are.
func plainLine(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= unicode.MaxASCII {
			return false
		}
	}
	return true
}
