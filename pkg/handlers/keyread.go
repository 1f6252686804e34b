package handlers

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/http1"
)

// ServeExchange answers a read of a heap's key, GET /heap/NAME/KEY, as Gateway does but without net/http's server, which takes longer
// than the read: see heap/get in bench. It reports false, and has done nothing, for all that is not plain: other paths and methods,
// escapes, queries, bodies, credentials that are wrong or spelled in another way.
func (a *API) ServeExchange(x *http1.Exchange) (answered bool) {
	name, key, plain := cutHeapKey(x)
	if !plain || !a.currentKey().opens(x.Get("Authorization")) {
		return false
	}
	defer func() {
		switch cause := recover(); {
		case cause == nil:
			a.keyReads.count(x.Status(), x.Started)
		case x.Begun():
			panic(cause)
		default:
			a.failExchange(x, fmt.Errorf("panic: %v: %s", cause, debug.Stack()))
			a.keyReads.count(x.Status(), x.Started)
			answered = true
		}
	}()
	f, err := a.heapOwner(string(name))
	if err != nil {
		a.failExchange(x, err)
		return true
	}
	entry, err := a.cfg.Heaps.Get(x.Context(), f.Heap(), string(key))
	if err != nil {
		a.failExchange(x, err)
		return true
	}
	answerKey(x, entry)
	return true
}

// answerKey is the answer of readKey.
func answerKey(x *http1.Exchange, entry function.HeapEntry) {
	var text [len(http.TimeFormat) + 1]byte
	to := &x.ToClient
	version := appendETag(text[:0], entry.Version)
	to.AddBytes("Etag", version)
	unchanged := bytes.Equal(x.Get("If-None-Match"), version)
	if !entry.At.IsZero() {
		to.AddBytes("Last-Modified", entry.At.UTC().AppendFormat(text[:0], http.TimeFormat))
		to.Add(headerWriter, oneLine(entry.CallID))
	}
	if unchanged {
		_ = x.Answer(http.StatusNotModified, nil) // a caller that is gone needs no answer
		return
	}
	to.Add("Content-Type", jsonType[0])
	// A contract chose the value: no browser shall take it for a page.
	to.Add("X-Content-Type-Options", nosniff[0])
	_ = x.Answer(http.StatusOK, entry.Value) // as above
}

// failExchange answers for an error as a handler's is answered for.
func (a *API) failExchange(x *http1.Exchange, err error) {
	r := &http.Request{Method: string(x.Method), URL: &url.URL{Path: string(x.Target)}}
	w := &collected{header: http.Header{}}
	a.fail(w, r.WithContext(x.Context()), err, nil)
	for _, name := range slices.Sorted(maps.Keys(w.header)) {
		for _, value := range w.header[name] {
			x.ToClient.Add(name, value)
		}
	}
	_ = x.Answer(w.status, w.body) // a caller that is gone needs no answer
}

// collected is a short answer in memory.
type collected struct {
	header http.Header
	status int
	body   []byte
}

func (c *collected) Header() http.Header { return c.header }

func (c *collected) WriteHeader(status int) { c.status = status }

func (c *collected) Write(p []byte) (int, error) {
	c.body = append(c.body, p...)
	return len(p), nil
}

// cutHeapKey takes the name of a function and a key from a GET of /heap/NAME/KEY, if all of it is plain.
func cutHeapKey(x *http1.Exchange) (name, key []byte, plain bool) {
	if len(x.Target) < len(heapPrefix) || string(x.Target[:len(heapPrefix)]) != heapPrefix || string(x.Method) != http.MethodGet || x.Length() != 0 {
		return nil, nil, false
	}
	rest := x.Target[len(heapPrefix):]
	for _, c := range rest {
		if !plainInKey[c] {
			return nil, nil, false
		}
	}
	return bytes.Cut(rest, []byte("/"))
}

// plainInKey are the characters of a path that mean themselves, and that no client need escape.
var plainInKey = func() (t [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~:@/" {
		t[c] = true
	}
	return t
}()

func appendETag(b []byte, version uint64) []byte {
	return append(strconv.AppendUint(append(b, '"'), version, 10), '"')
}
