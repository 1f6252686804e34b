package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// How a call ends without an answer of its function's, besides function.ErrNotFound, function.ErrInvalid and
// *http.MaxBytesError for a body that could not be read. The text of such an error is one line for the caller; its cause
// is logged by log/slog and reached by errors.As.
var (
	// ErrNoEndpoint: until the wake deadline no endpoint was there, or the function could not be woken. The call reached
	// nobody and may be made again.
	ErrNoEndpoint = errors.New("no endpoint available")
	// ErrBusy: every endpoint has as many calls as its limit lets it have, or none is there, and as many calls wait as may;
	// or none was free until the wait's deadline. The call reached nobody and may be made again.
	ErrBusy = errors.New("too many calls")
	// ErrUnreachable: an endpoint broke off after it may have got the call.
	ErrUnreachable = errors.New("endpoint broke off")
	// ErrTimeout: an endpoint got the call and did not answer by the call's deadline.
	ErrTimeout = errors.New("no answer in time")
	// ErrCanceled: the caller went away.
	ErrCanceled = errors.New("caller went away")
)

// failure is one of the conditions above with the line that the caller is told and, for the log, the cause.
type failure struct {
	kind  error
	text  string
	cause error
}

func (f *failure) Error() string { return f.text }

func (f *failure) Unwrap() []error {
	if f.cause == nil {
		return []error{f.kind}
	}
	return []error{f.kind, f.cause}
}

// LogValue adds the cause, which may name addresses that are not the caller's business.
func (f *failure) LogValue() slog.Value {
	if f.cause == nil {
		return slog.StringValue(f.text)
	}
	return slog.StringValue(f.text + ": " + f.cause.Error())
}

func notFound(ref function.Ref) error {
	return function.NotFoundf("no function %q", ref)
}

// noEndpoint tells a waiter why its wait was in vain. reason is the cluster's word and may be empty.
func noEndpoint(ref function.Ref, reason string, cause error) error {
	text := fmt.Sprintf("no endpoint available for %q", ref)
	if reason != "" {
		text += ": " + reason
	}
	return &failure{kind: ErrNoEndpoint, text: text, cause: cause}
}

// queueFull tells a call that it may not even wait.
func queueFull(ref function.Ref, waiting int) error {
	return &failure{kind: ErrBusy, text: fmt.Sprintf("function %q is busy: %d calls wait already", ref, waiting)}
}

func queueTooSlow(ref function.Ref) error {
	return &failure{kind: ErrBusy, text: fmt.Sprintf("function %q is busy: no replica was free in time", ref)}
}

func unreachable(ref function.Ref, cause error) error {
	return &failure{kind: ErrUnreachable, text: fmt.Sprintf("function %q broke off before it answered", ref), cause: cause}
}

func timedOut(ref function.Ref) error {
	return &failure{kind: ErrTimeout, text: fmt.Sprintf("function %q gave no answer in time", ref)}
}

func canceled(cause error) error {
	return &failure{kind: ErrCanceled, text: ErrCanceled.Error(), cause: cause}
}

// bodyFailure tells what was wrong with a caller's body: it left, it sent too much, or it sent nonsense.
func bodyFailure(ctx context.Context, cause error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(cause, &tooLarge):
		return cause
	case ctx.Err() != nil, errors.Is(cause, io.ErrUnexpectedEOF):
		return canceled(cause)
	default:
		return unreadable(cause)
	}
}

func unreadable(cause error) error {
	return &failure{kind: function.ErrInvalid, text: "the request's body cannot be read", cause: cause}
}
