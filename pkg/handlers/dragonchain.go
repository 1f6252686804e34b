package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// What a Dragonchain answers of its contracts, where its clients look for it.
const (
	chainPrefix = "/v1/"
	chainGet    = "/v1/get/"
	chainList   = "/v1/list/"
)

// maxSignedBody bounds the body of a request that reads, which has none but for its signature's sake.
const maxSignedBody = 64 << 10

// Signatures tell whether a request was signed with a key of Dragonchain's. The errors are those of package dc1.
type Signatures interface {
	Verify(r *http.Request, body []byte, now time.Time) error
}

// errNoRoute: nothing is at the path. errNotARead: what is there is only read.
var (
	errNoRoute  = function.NotFoundf("The requested route was not found.")
	errNotARead = errors.New("contracts are only read here: deploy, update and delete them by the OpenFaaS API")
)

func (a *API) chainRoutes() []route {
	chain := forms{anyStatus: ofDragonchain}
	routes := []route{
		{method: "GET", path: chainGet, prefix: true, serve: a.chainObject},
		{method: "GET", path: chainList, prefix: true, serve: a.chainObjects},
		{method: "GET", path: "/v1/contract", serve: a.chainContracts},
		{method: "GET", path: "/v1/contract/txn_type/{type}", serve: a.chainContractOfType},
		{method: "GET", path: "/v1/contract/{id}", serve: a.chainContract},
		{method: "GET", path: "/v1/contract/{id}/logs", serve: a.chainLogs},
	}
	for i := range routes {
		routes[i].forms, routes[i].signed = chain, true
	}
	// Its clients read JSON whatever they are answered.
	return append(routes, route{path: chainPrefix, prefix: true, serve: a.chainNothing, forms: chain, open: true})
}

func (a *API) chainNothing(_ http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return errNotARead
	}
	return errNoRoute
}

// signed lets through who signs with a key of Dragonchain's scheme, or gives the API's user and password.
func (a *API) signed(rt route, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.checkSignature(w, r); err != nil {
			a.fail(w, r, err, rt.forms)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *API) checkSignature(w http.ResponseWriter, r *http.Request) error {
	if _, _, basic := r.BasicAuth(); basic || a.cfg.Signatures == nil {
		if !a.authentic(r) {
			w.Header().Set("WWW-Authenticate", realm)
			return errCredentials
		}
		return nil
	}
	body, err := readBody(w, r, maxSignedBody, bodyTimeout)
	if err != nil {
		return err
	}
	return a.cfg.Signatures.Verify(r, body, time.Now())
}

// chainPath reads the path as it was sent: a contract's id and, behind the first slash after it, what is asked for. usage is what to
// say of a path that has no such slash.
func chainPath(r *http.Request, prefix, usage string) (id, rest string, err error) {
	escaped, found := strings.CutPrefix(r.URL.EscapedPath(), prefix)
	if !found {
		// The router knew the prefix in a decoded path; spelled with escapes it is no one's.
		return "", "", errNoRoute
	}
	if id, rest, found = strings.Cut(escaped, "/"); !found {
		return "", "", function.Invalidf("Path must look like %s", usage)
	}
	if id, err = url.PathUnescape(id); err == nil {
		rest, err = url.PathUnescape(rest)
	}
	if err != nil {
		return "", "", function.Invalidf("the path cannot be decoded: %v", err)
	}
	return id, rest, nil
}

// chainObject answers /v1/get/ID/KEY with the value of a key as it is kept.
func (a *API) chainObject(w http.ResponseWriter, r *http.Request) error {
	id, key, err := chainPath(r, chainGet, chainGet+"<contract_id>/<object_key>")
	if err != nil {
		return err
	}
	f, err := a.contractOf(id)
	if err != nil {
		return err
	}
	entry, err := a.cfg.Heaps.Get(r.Context(), f.Heap(), strings.TrimLeft(key, "/"))
	if err != nil {
		return err
	}
	h := w.Header()
	// Dragonchain says text/html, and a contract chose the value: no browser shall take it for a page.
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(entry.Value)))
	_, _ = w.Write(entry.Value) // a caller that is gone needs no answer
	return nil
}

// chainObjects answers /v1/list/ID/PREFIX with all keys that begin with the prefix, each behind a slash. A contract that is not there
// has none.
func (a *API) chainObjects(w http.ResponseWriter, r *http.Request) error {
	id, prefix, err := chainPath(r, chainList, chainList+"<contract_id>/<object_folder> or "+chainList+"<contract_id>/ to search the root of the heap")
	if err != nil {
		return err
	}
	f, err := a.contractOf(id)
	if errors.Is(err, function.ErrNotFound) {
		return answerJSON(w, []string{})
	} else if err != nil {
		return err
	}
	stream := newJSONStream(w, "[")
	for more, after := true, ""; more; more = after != "" {
		keys, next, err := a.cfg.Heaps.List(r.Context(), f.Heap(), prefix, after, heapstore.MaxListLimit)
		if err := unmade(err); err != nil {
			return brokenStream(stream.begun, err)
		}
		for _, key := range keys {
			stream.add("/" + key)
		}
		if err := stream.flush(); err != nil {
			return brokenStream(true, err)
		}
		after = next
	}
	return stream.end("]")
}

// contractOf finds a contract by its id at a Dragonchain: what follows contract- in the name that Dragonchain gives it, if that is a
// UUID; else NAME[.NAMESPACE].
func (a *API) contractOf(id string) (*function.Function, error) {
	ref := function.ParseRef(id, a.cfg.DefaultNamespace)
	ref.Namespace = a.alias(ref.Namespace)
	if isUUID(ref.Name) {
		ref.Name = chainName + ref.Name
	}
	f, err := a.find(ref)
	if err != nil {
		return nil, err
	}
	if !f.Policy.Heap {
		return nil, function.NotFoundf("function %q is no contract; the annotation %s makes it one", ref, function.AnnotationHeap)
	}
	return f, nil
}

// contracts are those of a namespace, by name.
func (a *API) contracts(namespace string) []*function.Function {
	var contracts []*function.Function
	for _, f := range a.cfg.Functions.List(namespace) {
		if f.Policy.Heap {
			contracts = append(contracts, f)
		}
	}
	slices.SortFunc(contracts, func(x, y *function.Function) int { return strings.Compare(x.Name, y.Name) })
	return contracts
}

func (a *API) chainContracts(w http.ResponseWriter, r *http.Request) error {
	namespace, err := a.namespace(r, "")
	if err != nil {
		return err
	}
	list := struct {
		Contracts []chainContract `json:"smart_contracts"`
	}{Contracts: []chainContract{}}
	for _, f := range a.contracts(namespace) {
		list.Contracts = append(list.Contracts, a.describe(f))
	}
	return answerJSON(w, list)
}

func (a *API) chainContract(w http.ResponseWriter, r *http.Request) error {
	f, err := a.contractOf(mux.Vars(r)["id"])
	if err != nil {
		return err
	}
	return answerJSON(w, a.describe(f))
}

func (a *API) chainContractOfType(w http.ResponseWriter, r *http.Request) error {
	namespace, err := a.namespace(r, "")
	if err != nil {
		return err
	}
	for _, f := range a.contracts(namespace) {
		if transactionType(f) == mux.Vars(r)["type"] {
			return answerJSON(w, a.describe(f))
		}
	}
	return function.NotFoundf("no contract of this transaction type")
}

// chainLogTail is how many lines are answered where a client names no number.
const chainLogTail = 100

func (a *API) chainLogs(w http.ResponseWriter, r *http.Request) error {
	f, err := a.contractOf(mux.Vars(r)["id"])
	if err != nil {
		return err
	}
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	ask := function.LogQuery{Ref: f.Ref, Tail: chainLogTail}
	if v := query.last("tail"); v != "" {
		tail, err := strconv.Atoi(v)
		if err != nil {
			return function.Invalidf("Invalid parameter for tail")
		}
		if tail > 0 {
			ask.Tail = tail
		}
	}
	if v := query.last("since"); v != "" {
		since, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return function.Invalidf("Invalid parameter for since: give a time such as 2006-01-02T15:04:05Z")
		}
		ask.Since = &since
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	lines, err := a.cfg.Logs.Logs(ctx, ask)
	if err != nil {
		return err
	}
	stream := newJSONStream(w, `{"logs":[`)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.draining:
			return brokenStream(stream.begun, heapstore.ErrClosed)
		case line, more := <-lines:
			if !more {
				return stream.end("]}")
			}
			stream.add(messageOf(f.Ref, line))
			if err := stream.flush(); err != nil {
				return brokenStream(true, err)
			}
		}
	}
}

// jsonStream writes a list of any length.
type jsonStream struct {
	w       io.Writer
	control *http.ResponseController
	header  http.Header
	pending []byte
	items   int
	begun   bool
	err     error
}

// newJSONStream begins with open; nothing is sent before the first flush.
func newJSONStream(w http.ResponseWriter, open string) *jsonStream {
	return &jsonStream{w: w, control: http.NewResponseController(w), header: w.Header(), pending: []byte(open)}
}

func (s *jsonStream) add(v any) {
	item, err := json.Marshal(v)
	if err != nil {
		s.err = err
		return
	}
	if s.items++; s.items > 1 {
		s.pending = append(s.pending, ',')
	}
	s.pending = append(s.pending, item...)
}

// jsonStreamChunk is what is worth a write.
const jsonStreamChunk = 16 << 10

// flush sends what is worth it.
func (s *jsonStream) flush() error {
	if s.err != nil || len(s.pending) < jsonStreamChunk {
		return s.err
	}
	return s.send()
}

func (s *jsonStream) send() error {
	s.header.Set("Content-Type", "application/json")
	s.begun = true
	// A writer that cannot set deadlines is a test's.
	_ = s.control.SetWriteDeadline(time.Now().Add(streamPatience))
	_, err := s.w.Write(s.pending)
	s.pending = s.pending[:0]
	return err
}

// end sends the rest.
func (s *jsonStream) end(closing string) error {
	if s.err != nil {
		return brokenStream(s.begun, s.err)
	}
	s.pending = append(s.pending, closing...)
	begun := s.begun
	if err := s.send(); err != nil {
		return brokenStream(begun, err)
	}
	// The connection may have another request after this one.
	_ = s.control.SetWriteDeadline(time.Time{})
	return nil
}
