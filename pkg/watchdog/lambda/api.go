package lambda

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

const (
	headerRequestID     = "Lambda-Runtime-Aws-Request-Id"
	headerDeadline      = "Lambda-Runtime-Deadline-Ms"
	headerARN           = "Lambda-Runtime-Invoked-Function-Arn"
	headerTraceID       = "Lambda-Runtime-Trace-Id"
	headerClientContext = "Lambda-Runtime-Client-Context"
	headerMode          = "Lambda-Runtime-Function-Response-Mode"
	headerErrorType     = "Lambda-Runtime-Function-Error-Type"
	headerErrorBody     = "Lambda-Runtime-Function-Error-Body"
)

var errTruncated = errors.New("the body ended before its end")

// handler serves the Runtime API to the process.
func (r *runtime) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/ping", func(w http.ResponseWriter, _ *http.Request) { send(w, http.StatusOK, "text/plain", []byte("pong")) })
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", r.serveNext)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", r.serveResponse)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", r.serveError)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", r.serveInitError)
	r.handleExtensions(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !r.enter() {
			refuse(w, http.StatusInternalServerError, "ServiceException", "the runtime process has ended")
			return
		}
		defer r.requests.Done()
		mux.ServeHTTP(w, req)
	})
}

// enter counts a request in, unless the process is no more. Something that it left behind may still hold a connection.
func (r *runtime) enter() bool {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	if r.machine.state == dead {
		return false
	}
	r.requests.Add(1)
	return true
}

// serveNext answers with an event as soon as there is one, however long that takes.
func (r *runtime) serveNext(w http.ResponseWriter, req *http.Request) {
	po, err := r.next()
	if err != nil {
		refuseReply(w, err)
		return
	}
	select {
	case inv := <-po.given:
		r.logStart(inv)
		r.sendEvent(w, inv)
	case <-po.over:
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "another request for an event has taken the place of this one")
	case <-req.Context().Done():
		r.hungUp(po)
	}
}

func (r *runtime) sendEvent(w http.ResponseWriter, inv *invocation) {
	h := w.Header()
	h.Set(headerRequestID, inv.id)
	h.Set(headerDeadline, strconv.FormatInt(inv.deadline.UnixMilli(), 10))
	h.Set(headerARN, r.pool.arn())
	// Absent rather than empty: Node parses an empty client context, and fails.
	if inv.traceID != "" {
		h.Set(headerTraceID, inv.traceID)
	}
	if inv.clientContext != "" {
		h.Set(headerClientContext, inv.clientContext)
	}
	send(w, http.StatusOK, "application/json", inv.event)
}

func (p *Pool) arn() string {
	return "arn:aws:lambda:us-east-1:" + accountID + ":function:" + p.cfg.Name
}

// serveError takes the error of an invocation.
func (r *runtime) serveError(w http.ResponseWriter, req *http.Request) {
	inv, err := r.reply(req.PathValue("id"))
	if err != nil {
		refuseReply(w, err)
		return
	}
	r.collect(w, req, inv, functionErr)
}

func (r *runtime) serveInitError(w http.ResponseWriter, req *http.Request) {
	limit := r.pool.cfg.PayloadBytes
	body, err := r.pool.replies.read(r.ctx, req.Body, req.ContentLength, limit, limit, nil)
	if err != nil {
		refuse(w, http.StatusBadRequest, "TruncatedHTTPRequest", errTruncated.Error())
		return
	}
	defer body.release()
	if body.size > limit {
		refuseSize(w, limit)
		return
	}
	if err := r.initError(body.data); err != nil {
		refuseReply(w, err)
		return
	}
	accept(w)
}

// collect reads a reply as a whole. A response may turn out to be an error at its end: trailers say so.
func (r *runtime) collect(w http.ResponseWriter, req *http.Request, inv *invocation, is kind) {
	cfg := &r.pool.cfg
	body, err := r.pool.replies.read(r.ctx, req.Body, req.ContentLength, cfg.PayloadBytes, cfg.StreamBytes, nil)
	if err != nil {
		r.brokeOff()
		refuse(w, http.StatusBadRequest, "TruncatedHTTPRequest", errTruncated.Error())
		return
	}
	if body.size > cfg.PayloadBytes {
		r.answered(inv, &outcome{kind: functionErr, body: sizeError(body.size, cfg.PayloadBytes)})
		refuseSize(w, cfg.PayloadBytes)
		return
	}
	o := outcome{kind: is, body: body.data, release: body.release}
	if fault := trailerError(req.Trailer); fault != nil {
		body.release()
		o = outcome{kind: functionErr, body: fault}
	}
	r.answered(inv, &o)
	accept(w)
}

func accept(w http.ResponseWriter) {
	send(w, http.StatusAccepted, "application/json", []byte(`{"status":"OK"}`))
}

func refuse(w http.ResponseWriter, status int, errorType, message string) {
	send(w, status, "application/json", errorJSON(errorType, message))
}

func refuseSize(w http.ResponseWriter, limit int64) {
	refuse(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", limit))
}

// refuseReply answers what has no place in the state of the process.
func refuseReply(w http.ResponseWriter, err error) {
	if errors.Is(err, errRequestID) {
		refuse(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
		return
	}
	refuse(w, http.StatusForbidden, "InvalidStateTransition", err.Error())
}

// send answers with a length: not every runtime can read a body without one.
func send(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	// Whoever has left needs no answer.
	_, _ = w.Write(body)
}
