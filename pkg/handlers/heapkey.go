package handlers

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

const (
	headerCallID = "X-Call-Id"
	// headerWriter tells which call wrote a key last.
	headerWriter = "X-Heap-Call-Id"
	// maxCallIDBytes is what package invoke takes, too.
	maxCallIDBytes = 256
)

func (a *API) readKey(w http.ResponseWriter, r *http.Request, heap function.Heap, key string) error {
	entry, err := a.cfg.Heaps.Get(r.Context(), heap, key)
	if err != nil {
		return err
	}
	h := w.Header()
	version := etag(entry.Version)
	// Five fields are set for each key that is read: their names are as http.Header.Set would make them, and their values lie together.
	values := make([]string, 0, 4)
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set("Etag", version)
	if !entry.At.IsZero() {
		set("Last-Modified", entry.At.UTC().Format(http.TimeFormat))
		set(headerWriter, oneLine(entry.CallID))
	}
	if r.Header.Get("If-None-Match") == version {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h["Content-Type"] = jsonType
	set("Content-Length", strconv.Itoa(len(entry.Value)))
	// A contract chose the value: no browser shall take it for a page.
	h["X-Content-Type-Options"] = nosniff
	_, _ = w.Write(entry.Value) // a caller that is gone needs no answer
	return nil
}

// Values of fields that are the same in every answer, and are not changed.
var jsonType, nosniff = []string{"application/json"}, []string{"nosniff"}

// putKey sets a key to the JSON of the body, on the condition of If-Match or If-None-Match.
func (a *API) putKey(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r, heapstore.MaxValueBytes, bodyTimeout)
	if err != nil {
		return err
	}
	value, err := compactJSON(body)
	if err != nil {
		return err
	}
	return a.writeKey(w, r, function.HeapWrite{Value: value})
}

// deleteKey deletes a key, on the condition of If-Match. A key that is not there is no error without one: a delete may be repeated.
func (a *API) deleteKey(w http.ResponseWriter, r *http.Request) error {
	return a.writeKey(w, r, function.HeapWrite{Delete: true})
}

func (a *API) writeKey(w http.ResponseWriter, r *http.Request, write function.HeapWrite) error {
	f, path, err := a.contract(r)
	if err != nil {
		return err
	}
	if !path.isKey {
		return function.Invalidf("name a key: /heap/%s/KEY", f.Name)
	}
	write.Key = path.key
	conditions, err := parseConditions(r.Header, write.Key)
	if err != nil {
		return err
	}
	id, err := callID(r)
	if err != nil {
		return err
	}
	if err := a.cfg.Heaps.Commit(r.Context(), f.Heap(), function.Commit{
		Writes: []function.HeapWrite{write}, Conditions: conditions, QuotaBytes: f.Policy.HeapQuotaBytes, Writer: id,
	}); err != nil {
		return operatorsError(err)
	}
	w.Header().Set(headerCallID, id)
	if !write.Delete {
		// Another one may have written since: the version is told only if it is that of what was sent.
		entry, err := a.cfg.Heaps.Get(r.Context(), f.Heap(), write.Key)
		if err == nil && entry.CallID == id && bytes.Equal(entry.Value, write.Value) {
			w.Header().Set("ETag", etag(entry.Version))
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// operatorsError is why a write was refused, for one who chose the key himself: an answer's bad key is the contract's fault.
func operatorsError(err error) error {
	if errors.Is(err, heapstore.ErrBadKey) {
		return function.Invalidf("%v", err)
	}
	return err
}

// callID is the request's own, or a new one, under which a write is kept.
func callID(r *http.Request) (string, error) {
	id := r.Header.Get(headerCallID)
	switch {
	case id == "":
		return "operator-" + rand.Text(), nil
	case len(id) > maxCallIDBytes || !utf8.ValidString(id):
		return "", function.Invalidf("%s: give at most %d bytes of UTF-8", headerCallID, maxCallIDBytes)
	}
	return id, nil
}

func etag(version uint64) string { return string(appendETag(nil, version)) }

// parseConditions reads If-Match: "VERSION" or *, and If-None-Match: *.
func parseConditions(h http.Header, key string) ([]function.HeapCondition, error) {
	match, none := h.Values("If-Match"), h.Values("If-None-Match")
	condition := function.HeapCondition{Key: key}
	switch {
	case len(match)+len(none) == 0:
		return nil, nil
	case len(match)+len(none) > 1:
		return nil, function.Invalidf("give one of If-Match and If-None-Match, once")
	case len(none) == 1:
		if none[0] != "*" {
			return nil, function.Invalidf("If-None-Match: %.40q: only * can be asked for, which is that the key is absent", none[0])
		}
	case match[0] == "*":
		condition.Version = function.AnyVersion
	default:
		version, err := parseETag(match[0])
		if err != nil {
			return nil, err
		}
		condition.Version = version
	}
	return []function.HeapCondition{condition}, nil
}

func parseETag(s string) (uint64, error) {
	version, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(s, `"`), `"`), 10, 64)
	if err != nil || version == 0 || version == function.AnyVersion || etag(version) != s {
		return 0, function.Invalidf(`If-Match: %.40q: give the ETag of the key's answer, such as "42" with its quotes, or *`, s)
	}
	return version, nil
}

// compactJSON is the body as a heap keeps values.
func compactJSON(body []byte) ([]byte, error) {
	var compact bytes.Buffer
	switch err := json.Compact(&compact, body); {
	case !utf8.Valid(body):
		return nil, function.Invalidf("the value is not UTF-8")
	case err != nil:
		return nil, function.Invalidf("the value is no JSON (%v): a text needs its quotes", err)
	}
	return compact.Bytes(), nil
}
