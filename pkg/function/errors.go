package function

import (
	"errors"
	"fmt"
)

// The conditions that callers act on. pkg/handlers maps them to HTTP statuses.
var (
	// ErrInvalid: the input is malformed or refused; the error's text is one line that says what to mend.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound: no function, secret, namespace or key of that name.
	ErrNotFound = errors.New("not found")
	// ErrExists: the name is taken.
	ErrExists = errors.New("already exists")
	// ErrConflict: somebody else changed the same thing first, more often than we retried.
	ErrConflict = errors.New("changed by somebody else meanwhile")
	// ErrUnavailable: what keeps the functions does not answer now, or is too busy; the same may succeed in a moment.
	ErrUnavailable = errors.New("unavailable")
	// ErrCondition: a condition of a commit does not hold; a key of the heap is not as its writer had seen it.
	ErrCondition = errors.New("a key of the heap has been changed")
)

// Invalidf returns an error that wraps ErrInvalid and whose text is the formatted line alone, fit to be shown to the
// caller.
func Invalidf(format string, args ...any) error {
	return told{kind: ErrInvalid, text: fmt.Sprintf(format, args...)}
}

// NotFoundf is Invalidf for ErrNotFound.
func NotFoundf(format string, args ...any) error {
	return told{kind: ErrNotFound, text: fmt.Sprintf(format, args...)}
}

// Existsf is Invalidf for ErrExists.
func Existsf(format string, args ...any) error {
	return told{kind: ErrExists, text: fmt.Sprintf(format, args...)}
}

// told is an error whose text is meant for the caller's eyes.
type told struct {
	kind error
	text string
}

func (e told) Error() string { return e.text }
func (e told) Unwrap() error { return e.kind }
