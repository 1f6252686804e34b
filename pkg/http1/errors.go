package http1

import (
	"errors"
	"net/http"
)

var (
	// ErrNotReached is given when no byte of a request can have reached an endpoint: the request, its body included, may be
	// forwarded to another.
	ErrNotReached = errors.New("the endpoint was not reached")
	// ErrNoAnswer is given when an endpoint may have got some of a request and gave no valid answer.
	ErrNoAnswer = errors.New("the endpoint gave no answer")
	// ErrClosedIdle is given along with ErrNoAnswer when the endpoint has closed a connection that was used before and had no byte of an
	// answer on it: as a rule the request has met the end of an idle connection and was not read. RFC 9110, section 9.2.2, says what may
	// be forwarded again then.
	ErrClosedIdle = errors.New("the connection was closed while it was idle")
	// ErrCutShort is given when an answer broke off after some of it had been sent on. The client sees it cut short.
	ErrCutShort = errors.New("the endpoint's answer broke off")
	// ErrBody is given when the client's body is malformed.
	ErrBody = errors.New("malformed body")
	// ErrBodyTimeout is given when the client's body did not come in time.
	ErrBodyTimeout = errors.New("the body did not come in time")
	// ErrClientGone is given when the client has closed its connection, or its sending side, or takes no answer.
	ErrClientGone = errors.New("the client went away")
	// ErrDeadline is given when an exchange has passed its deadline.
	ErrDeadline = errors.New("the exchange is out of time")
	// ErrServerClosed is given when Close has ended an exchange, and by Serve after Shutdown or Close.
	ErrServerClosed = errors.New("the server is closed")
)

// refusal is why a message is not accepted, and what a client is told of it.
type refusal struct {
	status int
	reason string
}

func (r *refusal) Error() string { return r.reason }

func bad(reason string) *refusal { return &refusal{http.StatusBadRequest, reason} }

var (
	errLine          = bad("a line must end in CR LF, and nothing else may contain either")
	errRequestLine   = bad("malformed request line")
	errTarget        = bad("malformed request target")
	errStatusLine    = bad("malformed status line")
	errFold          = bad("a field must not be folded")
	errName          = bad("malformed field name")
	errValue         = bad("malformed field value")
	errHost          = bad("there must be one valid Host")
	errLength        = bad("malformed Content-Length")
	errLengths       = bad("more than one Content-Length")
	errCodingLength  = bad("Transfer-Encoding together with Content-Length")
	errCodingVersion = bad("Transfer-Encoding in HTTP/1.0")
	errCodings       = bad("more than one Transfer-Encoding")
	errOptions       = bad("too many options in Connection")
	errCoding        = &refusal{http.StatusNotImplemented, "unknown Transfer-Encoding"}
	errVersion       = &refusal{http.StatusHTTPVersionNotSupported, "unknown version of HTTP"}
	errTargetLong    = &refusal{http.StatusRequestURITooLong, "the target is too long"}
	errHeadLong      = &refusal{http.StatusRequestHeaderFieldsTooLarge, "the head is too long"}
	errManyFields    = &refusal{http.StatusRequestHeaderFieldsTooLarge, "too many fields"}
	errExpect        = &refusal{http.StatusExpectationFailed, "unknown expectation"}
	errRare          = &refusal{http.StatusNotImplemented, "not served here"}
	errChunk         = bad("malformed chunk")
	errTrailer       = bad("malformed or too long trailer")
	errSwitched      = bad("a switch of protocols that nobody asked for")
	errManyInterim   = bad("too many interim answers")
)
