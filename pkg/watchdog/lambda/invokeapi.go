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

// api is an operation of Lambda's API that invokes a function.
type api int

const (
	noAPI           api = iota
	invokeAPI           // Invoke
	invokeAsyncAPI      // InvokeAsync, which AWS has deprecated
	invokeStreamAPI     // InvokeWithResponseStream
)

// apiOf tells which operation a path is of. It may name any function, by name or ARN: there is but one here.
func apiOf(path string) api {
	for _, a := range []struct {
		before, after string
		api           api
	}{
		{"/2015-03-31/functions/", "/invocations", invokeAPI},
		{"/2014-11-13/functions/", "/invoke-async", invokeAsyncAPI},
		{"/2014-11-13/functions/", "/invoke-async/", invokeAsyncAPI},
		{"/2021-11-15/functions/", "/response-streaming-invocations", invokeStreamAPI},
	} {
		rest, ok := strings.CutPrefix(path, a.before)
		if !ok {
			continue
		}
		name, ok := strings.CutSuffix(rest, a.after)
		if ok && name != "" && !strings.Contains(name, "/") {
			return a.api
		}
	}
	return noAPI
}

// serveInvoke is Lambda's Invoke API: POST /2015-03-31/functions/NAME/invocations.
func (p *Pool) serveInvoke(w http.ResponseWriter, r *http.Request) {
	p.serveAPI(w, r, func(inv *invocation) error {
		switch wish := r.Header.Get("X-Amz-Invocation-Type"); wish {
		case "", "RequestResponse":
			return p.requestResponse(w, r, inv)
		case "Event":
			return p.event(w, r, inv)
		case "DryRun":
			w.WriteHeader(http.StatusNoContent)
			return nil
		default:
			return fmt.Errorf("X-Amz-Invocation-Type %.80q is not one of RequestResponse, Event, DryRun", wish)
		}
	})
}

// serveInvokeAsync is Invoke with the type Event under an older name.
func (p *Pool) serveInvokeAsync(w http.ResponseWriter, r *http.Request) {
	p.serveAPI(w, r, func(inv *invocation) error { return p.event(w, r, inv) })
}

// serveAPI reads an event with what the API can say of it, and refuses what serve returns.
func (p *Pool) serveAPI(w http.ResponseWriter, r *http.Request, serve func(*invocation) error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	inv, release, err := p.newInvocation(w, r)
	if err == nil {
		defer release()
		h := w.Header()
		h.Set(headerAWSRequestID, inv.id)
		h.Set("X-Amz-Executed-Version", functionVersion)
		if err = p.addContext(inv, r); err == nil {
			err = serve(inv)
		}
	}
	if err != nil {
		p.refuse(w, r, err)
	}
}

// addContext takes what only this API can say, and refuses what it refuses.
func (p *Pool) addContext(inv *invocation, r *http.Request) error {
	if !json.Valid(inv.event) {
		return errors.New("could not parse request body into json")
	}
	switch wish := r.Header.Get("X-Amz-Log-Type"); wish {
	case "", "None":
	case "Tail":
		inv.log = p.newLog(inv.id, true)
	default:
		return fmt.Errorf("X-Amz-Log-Type %.80q is not one of None, Tail", wish)
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
func (p *Pool) requestResponse(w http.ResponseWriter, r *http.Request, inv *invocation) error {
	o, err := p.invoke(r.Context(), inv)
	if err != nil {
		return err
	}
	defer o.done()
	if o.stream != nil {
		o.body, o.kind, err = p.gather(r, inv, &o)
		if err != nil {
			return err
		}
	}
	if o.kind != answered {
		w.Header().Set(headerFunctionError, unhandled)
	}
	if text, ok := inv.logResult(&o); ok {
		w.Header().Set("X-Amz-Log-Result", text)
	}
	p.note(inv, http.StatusOK)
	p.sendReply(w, inv, &o, http.StatusOK, "application/json", o.body)
	return nil
}

// logResult is the tail of the log, if it was asked for, of an invocation whose answer has ended.
func (inv *invocation) logResult(o *outcome) (encoded string, ok bool) {
	if o.kind == timedOut {
		inv.log.end("timeout") // its process is being killed meanwhile, and says so too
	}
	return inv.log.result()
}

// gather reads a streamed answer as a whole. The error is the caller's departure.
func (p *Pool) gather(r *http.Request, inv *invocation, o *outcome) ([]byte, kind, error) {
	limit := p.cfg.PayloadBytes
	body, err := p.replies.read(r.Context(), o.stream, -1, limit, p.cfg.StreamBytes, nil)
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
func (p *Pool) event(w http.ResponseWriter, r *http.Request, inv *invocation) error {
	if err := p.admit(inv); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Length", "0")
	h.Set("Connection", "close") // or the next request on it would wait
	w.WriteHeader(http.StatusAccepted)
	_ = http.NewResponseController(w).Flush() // a caller that has left needs no answer
	o, err := p.wait(detached(r), inv)
	if err != nil {
		p.log.Warn("an event was accepted and not handled", "call_id", inv.id, "err", err)
		return nil
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
	return nil
}
