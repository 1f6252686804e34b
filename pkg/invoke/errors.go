package invoke

import "errors"

// Why an invocation ended without a commit, beside the errors of Config's hooks. A request's body that is too large is
// an *http.MaxBytesError, and a request that can never be served wraps function.ErrInvalid.
var (
	// ErrSlowRequest: the request's body did not arrive in BodyTimeout.
	ErrSlowRequest = errors.New("the request's body did not arrive in time")
	// ErrCallReused: the call id belongs to another request, with another method, path, query or body.
	ErrCallReused = errors.New("the call id was used for another request: give each call its own, and the same only to repeat it")
	// ErrLineFull: as many callers wait for their turn at a serial contract as may.
	ErrLineFull = errors.New("too many callers wait for their turn at this contract")
	// ErrAnswerTooLarge: the contract answered more than MaxAnswerBytes, or an object with more than 65,536 members.
	ErrAnswerTooLarge = errors.New("the contract's answer is too large")
	// ErrUnstorable: the contract's answer cannot be kept in a heap as it is.
	ErrUnstorable = errors.New("the contract's answer cannot be stored")
	// ErrBrokenAnswer: the contract's answer ended early.
	ErrBrokenAnswer = errors.New("the contract's answer ended early")
)
