package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// Heaps reads the heaps of contracts. The errors are those of package heapstore.
type Heaps interface {
	// Get returns a key as it stands.
	Get(ctx context.Context, heap function.Heap, key string) (function.HeapEntry, error)
	// List returns, in order, keys that begin with prefix and come after the key after; 0 is the store's own limit. next is
	// where to go on, and empty at the end.
	List(ctx context.Context, heap function.Heap, prefix, after string, limit int) (keys []string, next string, err error)
}

const heapPrefix = "/heap/"

func (a *API) heapRoutes() []route {
	return []route{{method: "GET", path: heapPrefix, prefix: true, serve: a.readHeap}}
}

// readHeap answers /heap/NAME[.NAMESPACE]/KEY with the value of the key, and /heap/NAME[.NAMESPACE] with a list of keys.
func (a *API) readHeap(w http.ResponseWriter, r *http.Request) error {
	path, err := parseHeapPath(r.URL.EscapedPath())
	if err != nil {
		return err
	}
	ref := function.ParseRef(path.name, a.cfg.DefaultNamespace)
	ref.Namespace = a.alias(ref.Namespace)
	f, err := a.find(ref)
	if err != nil {
		return err
	}
	if !f.Policy.Heap {
		return function.NotFoundf("function %q has no heap; the annotation %s gives it one", ref, function.AnnotationHeap)
	}
	if path.isKey {
		return a.readKey(w, r, f.Heap(), path.key)
	}
	return a.listKeys(w, r, f.Heap())
}

func (a *API) readKey(w http.ResponseWriter, r *http.Request, heap function.Heap, key string) error {
	entry, err := a.cfg.Heaps.Get(r.Context(), heap, key)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(entry.Value)))
	// A contract chose the value: no browser shall take it for a page.
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(entry.Value) // a caller that is gone needs no answer
	return nil
}

// keyList is the answer to a list. Next is what to give as after to go on.
type keyList struct {
	Keys []string `json:"keys"`
	Next string   `json:"next,omitempty"`
}

func (a *API) listKeys(w http.ResponseWriter, r *http.Request, heap function.Heap) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	limit, err := parseLimit(query.last("limit"))
	if err != nil {
		return err
	}
	keys, next, err := a.cfg.Heaps.List(r.Context(), heap, query.last("prefix"), query.last("after"), limit)
	// A contract's heap is made before its first replica, which is after its deploy was answered.
	if err != nil && !errors.Is(err, heapstore.ErrNoHeap) {
		return err
	}
	// Not nil: clients need [] where there is none.
	return answerJSON(w, keyList{Keys: append([]string{}, keys...), Next: next})
}

func parseLimit(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	limit, err := strconv.Atoi(s)
	if err != nil || limit < 1 {
		return 0, function.Invalidf("limit=%.40q: give a whole number from 1 up", s)
	}
	return limit, nil
}

type heapPath struct {
	name string
	key  string
	// isKey tells /heap/NAME/ from /heap/NAME.
	isKey bool
}

// parseHeapPath reads the path as it was sent. A key is whatever follows the name and its slash, decoded once: it may
// contain slashes, and %2F means the same in it.
func parseHeapPath(escaped string) (heapPath, error) {
	rest, found := strings.CutPrefix(escaped, heapPrefix)
	if !found {
		// The router knew the prefix in a decoded path; spelled with escapes it is no one's.
		return heapPath{}, function.NotFoundf("page not found")
	}
	name, key, isKey := strings.Cut(rest, "/")
	p := heapPath{isKey: isKey}
	var err error
	if p.name, err = url.PathUnescape(name); err != nil {
		return heapPath{}, function.Invalidf("the function's name cannot be decoded: %v", err)
	}
	if p.key, err = url.PathUnescape(key); err != nil {
		return heapPath{}, function.Invalidf("the key cannot be decoded: %v", err)
	}
	return p, nil
}
