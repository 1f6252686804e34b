package handlers

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/invoke"
)

// DeadLetters keeps what was tried as often as it may be. The errors are those of package heapstore.
type DeadLetters interface {
	DeadLetters(ctx context.Context, h function.Heap, after uint64, limit int) (items []function.Item, next uint64, err error)
	DeadLetter(ctx context.Context, h function.Heap, id uint64) (function.Item, error)
	Replay(ctx context.Context, h function.Heap, id uint64) error
	Discard(ctx context.Context, h function.Heap, id uint64) error
}

func (a *API) asyncRoutes() []route {
	const (
		all = "/system/dead-letters/{name:[-a-zA-Z_0-9.]+}"
		one = all + "/{id:[0-9]+}"
	)
	var routes []route
	if a.cfg.Async != nil {
		routes = append(routes, route{method: "POST", path: asyncPrefix, prefix: true, serve: a.serveAsync, open: true})
	}
	if a.cfg.DeadLetters != nil {
		routes = append(routes,
			route{method: "GET", path: all, serve: a.listDeadLetters},
			route{method: "GET", path: one, serve: a.showDeadLetter},
			route{method: "DELETE", path: one, serve: a.discardDeadLetter},
			route{method: "POST", path: one + "/replay", serve: a.replayDeadLetter},
		)
	}
	return routes
}

const asyncPrefix = "/async-function/"

// serveAsync has what names no function answered as the stock gateway's router does.
func (a *API) serveAsync(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path == asyncPrefix {
		http.NotFound(w, r)
		return nil
	}
	a.cfg.Async.ServeHTTP(w, r)
	return nil
}

// deadLetter is one of them in a list, and with what is to be done when it is shown alone.
type deadLetter struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	CallID   string    `json:"callId"`
	Accepted time.Time `json:"accepted"`
	Attempts int       `json:"attempts"`
	Reason   string    `json:"reason"`

	Method   string              `json:"method,omitempty"`
	Path     string              `json:"path,omitempty"`
	Query    string              `json:"query,omitempty"`
	Callback string              `json:"callbackUrl,omitempty"`
	URL      string              `json:"url,omitempty"`
	Header   map[string][]string `json:"header,omitempty"`
	Body     []byte              `json:"body,omitempty"`
}

type deadLetterList struct {
	DeadLetters []deadLetter `json:"deadLetters"`
	Next        string       `json:"next,omitempty"`
}

var kindNames = map[function.ItemKind]string{function.ItemInvocation: "invocation", function.ItemMessage: "message"}

func newDeadLetter(i function.Item) deadLetter {
	return deadLetter{
		ID: strconv.FormatUint(i.ID, 10), Kind: kindNames[i.Kind], CallID: i.CallID, Accepted: i.Accepted.UTC(), Attempts: i.Attempts, Reason: i.Reason,
	}
}

func (a *API) listDeadLetters(w http.ResponseWriter, r *http.Request) error {
	f, err := a.lookup(r, "")
	if err != nil {
		return err
	}
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	limit, err := parseLimit(query.last("limit"))
	if err != nil {
		return err
	}
	var after uint64
	if text := query.last("after"); text != "" {
		if after, err = strconv.ParseUint(text, 10, 63); err != nil {
			return function.Invalidf("after=%.40q: give the id of a dead letter", text)
		}
	}
	items, next, err := a.cfg.DeadLetters.DeadLetters(r.Context(), f.Heap(), after, limit)
	if err != nil {
		return err
	}
	list := deadLetterList{DeadLetters: []deadLetter{}}
	for _, i := range items {
		list.DeadLetters = append(list.DeadLetters, newDeadLetter(i))
	}
	if next != 0 {
		list.Next = strconv.FormatUint(next, 10)
	}
	return answerJSON(w, list)
}

// oneDeadLetter is the function and the id that a request names.
func (a *API) oneDeadLetter(r *http.Request) (h function.Heap, id uint64, err error) {
	f, err := a.lookup(r, "")
	if err != nil {
		return h, 0, err
	}
	text := mux.Vars(r)["id"]
	if id, err = strconv.ParseUint(text, 10, 63); err != nil {
		return h, 0, function.NotFoundf("no dead letter %.40s", text)
	}
	return f.Heap(), id, nil
}

func (a *API) showDeadLetter(w http.ResponseWriter, r *http.Request) error {
	h, id, err := a.oneDeadLetter(r)
	if err != nil {
		return err
	}
	item, err := a.cfg.DeadLetters.DeadLetter(r.Context(), h, id)
	if err != nil {
		return err
	}
	letter := newDeadLetter(item)
	if item.Kind == function.ItemMessage {
		m, err := invoke.DecodeMessage(item.Payload)
		if err != nil {
			return err
		}
		letter.Method, letter.URL, letter.Header, letter.Body = http.MethodPost, m.URL, m.Header, m.Body
		return answerJSON(w, letter)
	}
	c, err := invoke.DecodeCall(item.Payload)
	if err != nil {
		return err
	}
	letter.Method, letter.Path, letter.Query, letter.Callback = c.Method, c.Path, c.Query, c.Callback
	letter.Header, letter.Body = c.Header, c.Body
	return answerJSON(w, letter)
}

func (a *API) replayDeadLetter(w http.ResponseWriter, r *http.Request) error {
	h, id, err := a.oneDeadLetter(r)
	if err != nil {
		return err
	}
	return answered(w, http.StatusAccepted, a.cfg.DeadLetters.Replay(r.Context(), h, id))
}

func (a *API) discardDeadLetter(w http.ResponseWriter, r *http.Request) error {
	h, id, err := a.oneDeadLetter(r)
	if err != nil {
		return err
	}
	return answered(w, http.StatusAccepted, a.cfg.DeadLetters.Discard(r.Context(), h, id))
}
