package handlers

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/invoke"
)

// ContractHeap answers the watchdogs of contracts, which hand on what a contract asks for in the course of a call. Package
// readypush has the protocol. It is safe for concurrent use.
type ContractHeap struct {
	key  []byte
	view func(call string) (*invoke.View, bool)
}

// NewContractHeap derives functions' tokens from key. view finds the heap of a call under way.
func NewContractHeap(key []byte, view func(call string) (*invoke.View, bool)) (*ContractHeap, error) {
	if len(key) == 0 {
		return nil, errors.New("handlers: key of contracts' tokens missing")
	}
	return &ContractHeap{key: key, view: view}, nil
}

func (c *ContractHeap) routes() []route {
	var routes []route
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		routes = append(routes, route{method: method, path: readypush.HeapPath, prefix: true, serve: c.serve, open: true})
	}
	return routes
}

// serve lets in nobody but a pod of the function whose call it is. There is one answer for every other, so that nobody learns which
// calls there are.
func (c *ContractHeap) serve(w http.ResponseWriter, r *http.Request) error {
	call := r.Header.Get(readypush.HeapCallHeader)
	view, found := c.view(call)
	if !found {
		return invoke.ErrViewEnded
	}
	f := view.Function()
	if !readypush.DeriveToken(c.key, f.Ref.String(), f.ID).CheckHeapProof(call, r.Header.Get(readypush.HeapProofHeader)) {
		return invoke.ErrViewEnded
	}
	escaped, found := strings.CutPrefix(r.URL.EscapedPath(), readypush.HeapPath)
	if !found {
		return function.NotFoundf("page not found")
	}
	key, err := url.PathUnescape(escaped)
	switch {
	case err != nil:
		return function.Invalidf("the key cannot be decoded: %v", err)
	case key == "" && r.Method == http.MethodGet:
		return c.list(w, r, view)
	case key == "":
		return function.Invalidf("name a key: heap/KEY")
	case r.Method == http.MethodGet:
		return c.get(w, r, view, key)
	default:
		return c.write(w, r, view, key)
	}
}

func (c *ContractHeap) get(w http.ResponseWriter, r *http.Request, view *invoke.View, key string) error {
	entry, err := view.Get(r.Context(), key)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("ETag", etag(entry.Version))
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(entry.Value)))
	_, _ = w.Write(entry.Value) // a caller that is gone needs no answer
	return nil
}

func (c *ContractHeap) list(w http.ResponseWriter, r *http.Request, view *invoke.View) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	limit, err := parseLimit(query.last("limit"))
	if err != nil {
		return err
	}
	keys, next, err := view.List(r.Context(), query.last("prefix"), query.last("after"), limit)
	if err != nil {
		return err
	}
	// Not nil: clients need [] where there is none.
	return answerJSON(w, keyList{Keys: append([]string{}, keys...), Next: next})
}

func (c *ContractHeap) write(w http.ResponseWriter, r *http.Request, view *invoke.View, key string) error {
	write := function.HeapWrite{Key: key, Delete: r.Method == http.MethodDelete}
	if !write.Delete {
		body, err := readBody(w, r, heapstore.MaxValueBytes, bodyTimeout)
		if err != nil {
			return err
		}
		if write.Value, err = compactJSON(body); err != nil {
			return err
		}
	}
	// Here, where the contract can mend it: at the commit it would cost the whole call.
	if err := heapstore.CheckKey(key); err != nil {
		return operatorsError(err)
	}
	conditions, err := parseConditions(r.Header, key)
	if err != nil {
		return err
	}
	var condition *function.HeapCondition
	if len(conditions) > 0 {
		condition = &conditions[0]
	}
	version, err := view.Write(r.Context(), write, condition)
	if err != nil {
		return err
	}
	if !write.Delete {
		w.Header().Set("ETag", etag(version))
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
