package handlers

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// keyList is the answer to a list of keys. Next is what to give as after to go on.
type keyList struct {
	Keys []string `json:"keys"`
	Next string   `json:"next,omitempty"`
}

func (a *API) listKeys(w http.ResponseWriter, r *http.Request, heap function.Heap, query parameters) error {
	limit, err := parseLimit(query.last("limit"))
	if err != nil {
		return err
	}
	keys, next, err := a.cfg.Heaps.List(r.Context(), heap, query.last("prefix"), query.last("after"), limit)
	if err := unmade(err); err != nil {
		return err
	}
	// Not nil: clients need [] where there is none.
	return answerJSON(w, keyList{Keys: append([]string{}, keys...), Next: next})
}

// unmade forgives that a heap is not there: a contract's is made before its first replica, which is after its deploy was answered.
func unmade(err error) error {
	if errors.Is(err, heapstore.ErrNoHeap) {
		return nil
	}
	return err
}

// entryList is the answer to a list of entries.
type entryList struct {
	Entries []keyHistory `json:"entries"`
	Next    string       `json:"next,omitempty"`
}

// keyHistory tells of a key what the heap keeps beside its value: who wrote it last, and when.
type keyHistory struct {
	Key     string `json:"key"`
	Version uint64 `json:"version"`
	Bytes   int    `json:"bytes"`
	writing
}

// writing is a key's last write. Both are left out for a key written before they were kept.
type writing struct {
	CallID string     `json:"call_id,omitempty"`
	At     *time.Time `json:"at,omitempty"`
}

func writingOf(e function.HeapEntry) writing {
	if e.At.IsZero() {
		return writing{}
	}
	at := e.At.UTC()
	return writing{CallID: e.CallID, At: &at}
}

func (a *API) listEntries(w http.ResponseWriter, r *http.Request, heap function.Heap, query parameters) error {
	limit, err := parseLimit(query.last("limit"))
	if err != nil {
		return err
	}
	entries, next, err := a.cfg.Heaps.Entries(r.Context(), heap, query.last("prefix"), query.last("after"), limit)
	if err := unmade(err); err != nil {
		return err
	}
	list := entryList{Entries: []keyHistory{}, Next: next}
	for _, e := range entries {
		list.Entries = append(list.Entries, keyHistory{Key: e.Key, Version: e.Version, Bytes: len(e.Value), writing: writingOf(e)})
	}
	return answerJSON(w, list)
}

// heapUsage is how much a contract keeps and may keep.
type heapUsage struct {
	Keys  int64 `json:"keys"`
	Bytes int64 `json:"bytes"`
	Quota int64 `json:"quota_bytes"`
}

func (a *API) heapUsage(w http.ResponseWriter, r *http.Request, f *function.Function) error {
	used, err := a.cfg.Heaps.Usage(r.Context(), f.Heap())
	if err := unmade(err); err != nil {
		return err
	}
	quota := f.Policy.HeapQuotaBytes
	if quota == 0 {
		quota = a.cfg.HeapQuotaBytes
	}
	return answerJSON(w, heapUsage{Keys: used.Keys, Bytes: used.Bytes, Quota: quota})
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
