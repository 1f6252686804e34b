package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// call is one invocation: a call id and all that was ever heard of it.
type call struct {
	contract, id string
	async        bool
	// begun is when it was first sent, done when its caller was first told that it had taken effect, or was accepted; 0 if never.
	begun, done time.Duration
	// answer is that of the first answer, and fresh how many answers did not say that they are a repeat's.
	answer answer
	fresh  int
}

// answer is what of an answer a repeat has to have as well.
type answer struct {
	status                 int
	contentType, run, body string
}

// read is one look at the length of a log.
type read struct {
	contract    string
	begun, done time.Duration
	n           int
}

// history is what clients have seen.
type history struct {
	t     *testing.T
	began time.Time

	mu    sync.Mutex
	calls map[string]*call
	// done are the calls that were answered, doubt those that may have taken effect or not and are to be repeated.
	done, doubt []*call
	reads       []read
	repeats     int
	// refused counts answers that were neither, by status.
	refused map[int]int
}

func newHistory(t *testing.T) *history {
	return &history{t: t, began: time.Now(), calls: map[string]*call{}, refused: map[int]int{}}
}

func (h *history) now() time.Duration { return time.Since(h.began) }

// newCall is of a contract's next call.
func (h *history) newCall(contract string, async bool) *call {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &call{contract: contract, id: fmt.Sprintf("%s-%06d", contract, len(h.calls)), async: async, begun: h.now()}
	h.calls[c.id] = c
	return c
}

// pick takes a call out of doubt, nil if there is none.
func (h *history) pick() *call {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.doubt) == 0 {
		return nil
	}
	n := rand.IntN(len(h.doubt))
	c := h.doubt[n]
	h.doubt = append(h.doubt[:n], h.doubt[n+1:]...)
	return c
}

// answered is a call that may be repeated, nil if there is none.
func (h *history) answered() *call {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.done) == 0 {
		return nil
	}
	return h.done[rand.IntN(len(h.done))]
}

// heard notes an answer to a call. ok says that there is nothing left to ask.
func (h *history) heard(c *call, status int, header http.Header, body string) (ok bool) {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case c.async && status == http.StatusAccepted:
		if c.done == 0 {
			c.done = now
		}
		return true
	case c.async || status != http.StatusCreated:
		h.refused[status]++
		return false
	}
	got := answer{status, header.Get("Content-Type"), header.Get("X-Run"), body}
	if header.Get("X-Call-Replayed") != "true" {
		c.fresh++
	} else {
		h.repeats++
	}
	switch {
	case c.done == 0:
		c.done, c.answer = now, got
		h.done = append(h.done, c)
	case got != c.answer:
		h.t.Errorf("call %s was answered %+v and then %+v", c.id, c.answer, got)
	}
	if c.fresh > 1 {
		h.t.Errorf("call %s was answered %d times as if for the first time", c.id, c.fresh)
	}
	return true
}

// ask makes a request of any provider.
func (w *world) ask(ctx context.Context, method, path string, header http.Header, body string) (status int, got http.Header, text string, err error) {
	return w.askAt(ctx, w.hosts[rand.IntN(len(w.hosts))], method, path, header, body)
}

func (w *world) askAt(ctx context.Context, host, method, path string, header http.Header, body string) (status int, got http.Header, text string, err error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+w.gateway(host)+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	if header != nil {
		r.Header = header
	}
	r.SetBasicAuth(user, password)
	a, err := w.client.Do(r)
	if err != nil {
		return 0, nil, "", err
	}
	all, err := io.ReadAll(a.Body)
	return a.StatusCode, a.Header, string(all), errors.Join(err, a.Body.Close())
}

// send makes a call, or makes it again, and reports whether it was answered.
func (w *world) send(ctx context.Context, h *history, c *call) bool {
	path := "/function/" + c.contract
	if c.async {
		path = "/async-function/" + c.contract
	}
	status, header, body, err := w.ask(ctx, http.MethodPost, path, http.Header{"X-Call-Id": {c.id}}, c.id)
	return err == nil && h.heard(c, status, header, body)
}

// look reads the length of a log.
func (w *world) look(ctx context.Context, h *history, contract string) {
	r := read{contract: contract, begun: h.now()}
	status, _, body, err := w.ask(ctx, http.MethodGet, "/heap/"+contract+"/n", nil, "")
	r.done = h.now()
	switch {
	case err != nil:
		return
	case status == http.StatusNotFound && strings.Contains(body, "no such key"):
	case status != http.StatusOK:
		return
	default:
		if _, err := fmt.Sscan(body, &r.n); err != nil {
			h.t.Errorf("the length of %s is %q", contract, body)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads = append(h.reads, r)
}

// behave calls a serial and a parallel contract at random until ctx ends.
func (w *world) behave(ctx context.Context, h *history, serial, parallel string) {
	for ctx.Err() == nil {
		var c *call
		copies := 1
		switch n := rand.IntN(100); {
		case n < 30:
			c = h.newCall(serial, false)
		case n < 45:
			c = h.newCall(serial, true)
		case n < 65:
			c = h.newCall(parallel, false)
		case n < 75:
			c = h.newCall(parallel, true)
		case n < 80:
			c, copies = h.newCall(serial, false), 2
		case n < 85:
			c, copies = h.newCall(parallel, rand.IntN(4) == 0), 3
		case n < 92:
			w.look(ctx, h, serial)
		case n < 96:
			if again := h.answered(); again != nil {
				w.send(ctx, h, again)
			}
		default:
			c = h.pick()
		}
		if c == nil {
			continue
		}
		var at sync.WaitGroup
		var mu sync.Mutex
		ok := false
		for range copies {
			at.Go(func() {
				answered := w.send(ctx, h, c)
				mu.Lock()
				defer mu.Unlock()
				ok = ok || answered
			})
		}
		at.Wait()
		// Some callers never ask again.
		if !ok && rand.IntN(5) > 0 {
			h.mu.Lock()
			h.doubt = append(h.doubt, c)
			h.mu.Unlock()
			if ctx.Err() == nil {
				pause(ctx, 10*time.Millisecond) // the provider is starting, or dead
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
