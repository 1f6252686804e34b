package handlers

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Heaps are the heaps of contracts. The errors are those of package heapstore.
type Heaps interface {
	// Get returns a key as it stands.
	Get(ctx context.Context, heap function.Heap, key string) (function.HeapEntry, error)
	// List returns, in order, keys that begin with prefix and come after the key after; 0 is the store's own limit. next is
	// where to go on, and empty at the end. Entries does so too, with what they hold, and fewer at once.
	List(ctx context.Context, heap function.Heap, prefix, after string, limit int) (keys []string, next string, err error)
	Entries(ctx context.Context, heap function.Heap, prefix, after string, limit int) (entries []function.HeapEntry, next string, err error)
	Usage(ctx context.Context, heap function.Heap) (function.HeapUsage, error)
	// Commit makes all writes permanent or none of them.
	Commit(ctx context.Context, heap function.Heap, c function.Commit) error
	// Snapshot returns a copy of all heaps as they were at one moment, for the caller to close.
	Snapshot(ctx context.Context) (*os.File, error)
}

const heapPrefix = "/heap/"

func (a *API) heapRoutes() []route {
	return []route{
		{method: "GET", path: heapPrefix, prefix: true, serve: a.readHeap},
		{method: "PUT", path: heapPrefix, prefix: true, serve: a.putKey},
		{method: "DELETE", path: heapPrefix, prefix: true, serve: a.deleteKey},
		{method: "POST", path: heapPrefix, prefix: true, serve: a.importHeap},
		{method: "GET", path: "/heap-backup", serve: a.backup},
	}
}

// readHeap answers /heap/NAME[.NAMESPACE]/KEY with the value of the key, and /heap/NAME[.NAMESPACE] with one of its views.
func (a *API) readHeap(w http.ResponseWriter, r *http.Request) error {
	f, path, err := a.contract(r)
	if err != nil {
		return err
	}
	if path.isKey {
		return a.readKey(w, r, f.Heap(), path.key)
	}
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	switch view := query.last("view"); view {
	case "", "keys":
		return a.listKeys(w, r, f.Heap(), query)
	case "entries":
		return a.listEntries(w, r, f.Heap(), query)
	case "usage":
		return a.heapUsage(w, r, f)
	case "export":
		return a.exportHeap(w, r, f.Heap(), query)
	default:
		return function.Invalidf("view=%.40q: give keys, entries, usage or export", view)
	}
}

// contract finds the contract that a path below /heap/ is about.
func (a *API) contract(r *http.Request) (*function.Function, heapPath, error) {
	path, err := heapPathOf(r.URL)
	if err != nil {
		return nil, heapPath{}, err
	}
	f, err := a.heapOwner(path.name)
	if err != nil {
		return nil, heapPath{}, err
	}
	return f, path, nil
}

// heapOwner finds the contract that a path names NAME[.NAMESPACE].
func (a *API) heapOwner(name string) (*function.Function, error) {
	ref := function.ParseRef(name, a.cfg.DefaultNamespace)
	ref.Namespace = a.alias(ref.Namespace)
	f, err := a.find(ref)
	if err != nil {
		return nil, err
	}
	if !f.Policy.Heap {
		return nil, function.NotFoundf("function %q has no heap; the annotation %s gives it one", ref, function.AnnotationHeap)
	}
	return f, nil
}

type heapPath struct {
	name string
	key  string
	// isKey tells /heap/NAME/ from /heap/NAME.
	isKey bool
}

// heapPathOf reads the path of a request. One without RawPath was escaped as every path is, and no slash in it was: its decoded
// form says the same.
func heapPathOf(u *url.URL) (heapPath, error) {
	if u.RawPath != "" {
		return parseHeapPath(u.EscapedPath())
	}
	rest, found := strings.CutPrefix(u.Path, heapPrefix)
	if !found {
		return heapPath{}, errNoPage
	}
	var p heapPath
	p.name, p.key, p.isKey = strings.Cut(rest, "/")
	return p, nil
}

// errNoPage: the router knew the prefix in a decoded path; spelled with escapes it is no one's.
var errNoPage = function.NotFoundf("page not found")

// parseHeapPath reads the path as it was sent. A key is whatever follows the name and its slash, decoded once: it may
// contain slashes, and %2F means the same in it.
func parseHeapPath(escaped string) (heapPath, error) {
	rest, found := strings.CutPrefix(escaped, heapPrefix)
	if !found {
		return heapPath{}, errNoPage
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
