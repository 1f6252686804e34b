package lambda

import (
	"encoding/json"
	"net/http"
	"slices"
)

const (
	headerExtensionName  = "Lambda-Extension-Name"
	headerExtensionID    = "Lambda-Extension-Identifier"
	headerExtensionEvent = "Lambda-Extension-Event-Identifier"
	headerAcceptFeature  = "Lambda-Extension-Accept-Feature"

	extensionBodyBytes = 64 << 10
	maxExtensions      = 10 // as in Lambda
	accountID          = "012345678912"
)

// extension is a part of the process that wants to know of more than its events. Registering is also what makes the process be
// sent SIGTERM before SIGKILL.
type extension struct {
	events chan []byte // what it has subscribed to; one waits, and those that find it waiting are not told
	invoke bool        // it has subscribed to invocations
}

// handleExtensions serves what runtimes need of the Extensions API. The processes that Lambda starts from /opt/extensions are not.
func (r *runtime) handleExtensions(mux *http.ServeMux) {
	mux.HandleFunc("POST /2020-01-01/extension/register", r.serveRegister)
	mux.HandleFunc("GET /2020-01-01/extension/event/next", r.known(r.serveExtensionNext))
	accepted := r.known(func(w http.ResponseWriter, _ *http.Request, _ *extension) { accept(w) })
	mux.HandleFunc("POST /2020-01-01/extension/init/error", accepted)
	mux.HandleFunc("POST /2020-01-01/extension/exit/error", accepted)
	mux.HandleFunc("PUT /2022-07-01/telemetry", unsupported("Telemetry"))
	mux.HandleFunc("PUT /2020-08-15/logs", unsupported("Logs"))
}

func unsupported(api string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusAccepted, api+".NotSupported", api+" API is not supported")
	}
}

func (r *runtime) serveRegister(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get(headerExtensionName) == "" {
		refuse(w, http.StatusForbidden, "Extension.InvalidExtensionName", "the header "+headerExtensionName+" is missing")
		return
	}
	var wish struct {
		Events []string `json:"events"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, extensionBodyBytes)).Decode(&wish); err != nil {
		refuse(w, http.StatusBadRequest, "Extension.InvalidRequestFormat", "the body is not JSON: "+err.Error())
		return
	}
	id := newUUID()
	if !r.register(id, &extension{events: make(chan []byte, 1), invoke: slices.Contains(wish.Events, "INVOKE")}) {
		refuse(w, http.StatusForbidden, "Extension.TooManyExtensions", "there are too many extensions")
		return
	}
	w.Header().Set(headerExtensionID, id)
	answer := map[string]string{"functionName": r.pool.cfg.Name, "functionVersion": functionVersion, "handler": r.pool.cfg.Handler}
	if req.Header.Get(headerAcceptFeature) == "accountId" {
		answer["accountId"] = accountID
	}
	sendJSON(w, http.StatusOK, answer)
}

func (r *runtime) register(id string, e *extension) bool {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	if len(r.extensions) == maxExtensions {
		return false
	}
	if r.extensions == nil {
		r.extensions = map[string]*extension{}
	}
	r.extensions[id] = e
	return true
}

// known is serve for an extension that has registered.
func (r *runtime) known(serve func(http.ResponseWriter, *http.Request, *extension)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		id := req.Header.Get(headerExtensionID)
		if id == "" {
			refuse(w, http.StatusForbidden, "Extension.MissingExtensionIdentifier", "the header "+headerExtensionID+" is missing")
			return
		}
		r.pool.mu.Lock()
		e := r.extensions[id]
		r.pool.mu.Unlock()
		if e == nil {
			refuse(w, http.StatusForbidden, "Extension.InvalidExtensionIdentifier", "no extension has this identifier")
			return
		}
		serve(w, req, e)
	}
}

func (r *runtime) serveExtensionNext(w http.ResponseWriter, req *http.Request, e *extension) {
	select {
	case event := <-e.events:
		w.Header().Set(headerExtensionEvent, newUUID())
		send(w, http.StatusOK, "application/json", event)
	case <-req.Context().Done():
	}
}

// tellExtensionsLocked tells those who want to know that the process is given an invocation.
func (r *runtime) tellExtensionsLocked(inv *invocation) {
	for _, e := range r.extensions {
		if !e.invoke {
			continue
		}
		select {
		case e.events <- r.invokeEvent(inv):
		default: // it has not asked for the last one yet
		}
	}
}

func (r *runtime) invokeEvent(inv *invocation) []byte {
	type tracing struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	return mustJSON(struct {
		EventType  string  `json:"eventType"`
		DeadlineMs int64   `json:"deadlineMs"`
		RequestID  string  `json:"requestId"`
		ARN        string  `json:"invokedFunctionArn"`
		Tracing    tracing `json:"tracing"`
	}{"INVOKE", inv.deadline.UnixMilli(), inv.id, r.pool.arn(), tracing{"X-Amzn-Trace-Id", inv.traceID}})
}

func sendJSON(w http.ResponseWriter, status int, value any) {
	send(w, status, "application/json", mustJSON(value))
}

func mustJSON(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic("lambda: an answer of ours has no JSON: " + err.Error())
	}
	return text
}
