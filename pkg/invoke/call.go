package invoke

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/http"
	"sync"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	headerCallID = "X-Call-Id"
	// headerReplayed tells a recorded answer from a new one.
	headerReplayed = "X-Call-Replayed"
	// maxCallIDBytes bounds what callers make up; a UUID has 36.
	maxCallIDBytes = 256
)

// call is what makes an invocation the same as another.
type call struct {
	// body is that of the request.
	body   []byte
	id     string
	digest [sha256.Size]byte
}

// newCall reads the identity of a request: its call id, and a digest of its method, path, query and body. Headers do not
// count, for they differ between a request and its repeat.
func newCall(r *http.Request, body []byte) (call, error) {
	c := call{body: body, id: r.Header.Get(headerCallID)}
	if len(c.id) > maxCallIDBytes {
		return call{}, function.Invalidf("%s has %d bytes; at most %d are allowed", headerCallID, len(c.id), maxCallIDBytes)
	}
	if c.id == "" {
		return c, nil
	}
	hash := sha256.New()
	for _, part := range []string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery} {
		// With its length, so that no two requests give the same bytes.
		hash.Write(binary.AppendUvarint(nil, uint64(len(part))))
		hash.Write([]byte(part))
	}
	hash.Write(body)
	hash.Sum(c.digest[:0])
	return c, nil
}

// recorded returns the answer that a call has got before, if it has. The error wraps ErrCallReused if its id belongs to a
// call of something else.
func (i *Invoker) recorded(ctx context.Context, f *function.Function, c call) (answer, bool, error) {
	r, found, err := i.cfg.Store.Recorded(ctx, f.Heap(), c.id)
	switch {
	case errors.Is(err, function.ErrNotFound):
		// The contract is so new that its heap is yet to be made, or it is being deleted: Commit will tell.
		return answer{}, false, nil
	case err != nil || !found:
		return answer{}, false, err
	case r.Digest != c.digest:
		return answer{}, false, ErrCallReused
	}
	a := r.Answer
	return answer{status: a.Status, header: restore(a.Header), body: a.Body, trailer: a.Trailer, bodiless: a.Bodiless}, true, nil
}

// record is the answer as a repeat is to get it.
func (a answer) record() function.Answer {
	return function.Answer{Status: a.status, Header: a.header, Body: a.body, Trailer: a.trailer, Bodiless: a.bodiless}
}

// restore returns recorded headers as a function gave them: to net/http a name without values must be nil.
func restore(header http.Header) http.Header {
	for name, values := range header {
		if len(values) == 0 {
			header[name] = nil
		}
	}
	return header
}

// hasEffect reports whether an answer is the last word on its call. A status of 500 or more, or one that asks to come again,
// says that the contract did not do its work: such an answer writes nothing, and a repeat of the call runs it again.
func (a answer) hasEffect() bool {
	switch a.status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return a.status < http.StatusInternalServerError
}

type callKey struct {
	heap function.Heap
	id   string
}

// running lets one of the calls with the same id run at a time; the others wait for it.
type running struct {
	mu sync.Mutex
	of map[callKey]*turn
}

// turn is who runs and how many are there.
type turn struct {
	// token is in it while nobody runs.
	token chan struct{}
	// calls is guarded by running.mu.
	calls int
}

// enter waits until no other call with the key runs, or ctx ends. leave lets the next one run.
func (r *running) enter(ctx context.Context, key callKey) (leave func(), err error) {
	r.mu.Lock()
	t := r.of[key]
	if t == nil {
		t = &turn{token: make(chan struct{}, 1)}
		t.token <- struct{}{}
		r.of[key] = t
	}
	t.calls++
	r.mu.Unlock()
	select {
	case <-t.token:
		return func() {
			t.token <- struct{}{}
			r.drop(key, t)
		}, nil
	case <-ctx.Done():
		r.drop(key, t)
		return nil, ctx.Err()
	}
}

func (r *running) drop(key callKey, t *turn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.calls--; t.calls == 0 {
		delete(r.of, key)
	}
}
