package lambda

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

const (
	headerAWSRequestID  = "X-Amzn-Requestid"
	headerFunctionError = "X-Amz-Function-Error"
	unhandled           = "Unhandled"

	clientContextBytes = 3583
)

// serveInvoke is Lambda's Invoke API: POST /2015-03-31/functions/NAME/invocations.
func (p *Pool) serveInvoke(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	inv, release, err := p.newInvocation(w, r)
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	defer release()
	if err := inv.addContext(r); err != nil {
		p.refuse(w, r, err)
		return
	}
	h := w.Header()
	h.Set(headerAWSRequestID, inv.id)
	h.Set("X-Amz-Executed-Version", functionVersion)
	switch wish := r.Header.Get("X-Amz-Invocation-Type"); wish {
	case "", "RequestResponse":
		p.requestResponse(w, r, inv)
	case "Event":
		p.event(w, r, inv)
	case "DryRun":
		w.WriteHeader(http.StatusNoContent)
	default:
		p.refuse(w, r, fmt.Errorf("X-Amz-Invocation-Type %.80q is not one of RequestResponse, Event, DryRun", wish))
	}
}

// addContext takes what only this API can say, and refuses what it refuses.
func (inv *invocation) addContext(r *http.Request) error {
	if !json.Valid(inv.event) {
		return errors.New("could not parse request body into json")
	}
	encoded := r.Header.Get("X-Amz-Client-Context")
	if encoded == "" {
		return nil
	}
	if len(encoded) > clientContextBytes {
		return fmt.Errorf("client context must be at most %d bytes", clientContextBytes)
	}
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !json.Valid(text) {
		return errors.New("client context must be a valid Base64-encoded JSON object")
	}
	// Outside of strings line breaks are blanks, and inside of them there can be none.
	inv.clientContext = strings.NewReplacer("\r", " ", "\n", " ").Replace(string(text))
	return nil
}

// requestResponse answers 200 once the function was invoked, even with an error: a header tells.
func (p *Pool) requestResponse(w http.ResponseWriter, r *http.Request, inv *invocation) {
	o, err := p.invoke(r.Context(), inv)
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	defer o.done()
	if o.stream != nil {
		o.body, o.kind, err = p.gather(r, inv, &o)
		if err != nil {
			p.refuse(w, r, err)
			return
		}
	}
	if o.kind != answered {
		w.Header().Set(headerFunctionError, unhandled)
	}
	p.note(inv, http.StatusOK)
	sendReply(w, inv, http.StatusOK, "application/json", o.body)
}

// gather reads a streamed answer as a whole. The error is the caller's departure.
func (p *Pool) gather(r *http.Request, inv *invocation, o *outcome) ([]byte, kind, error) {
	limit := p.cfg.PayloadBytes
	body, err := p.replies.read(r.Context(), o.stream, -1, limit, p.cfg.StreamBytes)
	switch {
	case r.Context().Err() != nil:
		body.release()
		return nil, 0, context.Cause(r.Context())
	case err != nil:
		failed := brokenAnswer(inv, err)
		return failed.body, failed.kind, nil
	case body.size > limit:
		return sizeError(body.size, limit), functionErr, nil
	}
	o.release = body.release
	return body.data, answered, nil
}

// event answers before the function was invoked, but not before the invocation has a process or a place in the queue. The request
// goes on without its caller, so that whoever waits for requests in flight before ending waits for the invocation too. It is
// invoked once: Lambda would try again after an error.
func (p *Pool) event(w http.ResponseWriter, r *http.Request, inv *invocation) {
	if err := p.admit(inv); err != nil {
		p.refuse(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Length", "0")
	h.Set("Connection", "close") // or the next request on it would wait
	w.WriteHeader(http.StatusAccepted)
	_ = http.NewResponseController(w).Flush() // a caller that has left needs no answer
	o, err := p.wait(detached(r), inv)
	if err != nil {
		p.log.Warn("an event was accepted and not handled", "call_id", inv.id, "err", err)
		return
	}
	defer o.done()
	if o.stream != nil {
		var body []byte
		if body, o.kind, err = p.gather(r.WithContext(detached(r)), inv, &o); err == nil {
			o.body = body
		}
	}
	if o.kind != answered {
		p.log.Warn("an event has ended in an error", "call_id", inv.id, "bytes", len(o.body))
	}
	p.note(inv, http.StatusAccepted)
}
