package proxy

import (
	"context"
	"time"
)

// way is how the bytes of a call travel: through net/http (trip) or package http1 (hop). Who gets them, when, and what is told of
// it is the call's to decide, whichever way it goes.
type way interface {
	// caller ends with the call's caller. It is asked for only when the call has to wait, because making it may cost something.
	caller() context.Context
	// readAhead reads a small body, once, by the deadline. The error is one for the caller.
	readAhead(deadline time.Time) error
	// attempt sends the request to the endpoint where the call is. It tells the call by answered of the head of an answer.
	attempt(c *call) outcome
}

// outcome is how an attempt has ended. The zero value means with an answer.
type outcome struct {
	// ended is why the call is over, as its caller is told, for something that is not the endpoint's fault.
	ended error
	// failed is what was wrong with the endpoint.
	failed error
	// again tells that nothing of the call can have reached the endpoint, and that another can be sent all of it.
	again bool
}
