package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestRoundTrip(t *testing.T) {
	w := newWorld(t, nil)
	var seen *http.Request
	f := w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		seen = r
		w.Header().Set("Connection", "close")
		w.Header()["Content-Type"] = nil
		io.Copy(w, r.Body)
	})
	w.setEndpoints(echo, append([]function.Endpoint{refusing(t), refusing(t)}, w.list(echo)...)...)
	for range 10 {
		r, _ := http.NewRequest("POST", "http://ignored/a%2Fb?q", strings.NewReader("body"))
		r.Header.Set("Connection", "X-Private")
		r.Header.Set("X-Private", "1")
		r.Header.Set("Content-Type", "application/json")
		answer, err := w.proxy.RoundTrip(t.Context(), f, r)
		if err != nil {
			t.Fatal(err)
		}
		if load := w.proxy.Load(echo); load.InFlight != 1 {
			t.Errorf("load %+v before the answer was read", load)
		}
		text, err := io.ReadAll(answer.Body)
		if err != nil || string(text) != "body" || seen.RequestURI != "/a%2Fb?q" {
			t.Errorf("%q, %v; the function saw %s", text, err, seen.RequestURI)
		}
		if got, ok := seen.Header["User-Agent"]; ok {
			t.Errorf("user agent %q was put in", got)
		}
		if seen.Header.Get("X-Private") != "" || answer.Header.Get("Connection") != "" {
			t.Error("a header of one connection was passed on")
		}
		if got := answer.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("an answer without a content type got %q, want the request's", got)
		}
		answer.Body.Close()
		answer.Body.Close()
		if load := w.proxy.Load(echo); load.InFlight != 0 {
			t.Errorf("load %+v after the answer was closed", load)
		}
	}
}

func TestRoundTrip_Errors(t *testing.T) {
	w := newWorld(t, nil)
	f := w.deploy(echo, (&breaker{}).ServeHTTP)
	r, _ := http.NewRequest("POST", "http://ignored/", strings.NewReader("body"))
	if _, err := w.proxy.RoundTrip(t.Context(), f, r); !errors.Is(err, ErrUnreachable) {
		t.Errorf("broken off: %v", err)
	}
	w.setEndpoints(echo)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		w.awaitWake()
		cancel()
	}()
	if _, err := w.proxy.RoundTrip(ctx, f, r); !errors.Is(err, ErrCanceled) || !errors.Is(err, context.Canceled) {
		t.Errorf("left while waiting: %v", err)
	}
	w.undeploy(echo)
	if _, err := w.proxy.RoundTrip(t.Context(), f, r); !errors.Is(err, function.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
	if len(w.proxy.activities.of) != 0 {
		t.Error("a deleted function left something behind")
	}
}

func TestRoundTrip_DeadlineInTheMiddleOfTheAnswer(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Timeout = time.Second })
	f := w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	r, _ := http.NewRequest("GET", "http://ignored/", nil)
	answer, err := w.proxy.RoundTrip(t.Context(), f, r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); !errors.Is(err, ErrTimeout) || string(text) != "half" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestContract_GetsTheRequestAsTheFunctionIsToSeeIt(t *testing.T) {
	var w *world
	w = newWorld(t, func(c *Config) {
		c.Contract = func(rw http.ResponseWriter, r *http.Request, f *function.Function, idGiven bool) {
			answer, err := w.proxy.RoundTrip(r.Context(), f, r)
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			text, _ := io.ReadAll(answer.Body)
			fmt.Fprintf(rw, "contract, id given %t: %s", idGiven, text)
		}
	})
	f := w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.RequestURI+" "+r.Header.Get("X-Call-Id")+" "+r.Header.Get("X-Forwarded-For"))
	})
	contract := *f
	contract.Policy.Heap = true
	w.mu.Lock()
	w.functions[echo] = &contract
	w.mu.Unlock()
	answer, text := w.request("POST", "/function/echo/a?q=1", "{}", "X-Call-Id", "mine")
	if want := "contract, id given true: /a?q=1 mine 127.0.0.1"; text != want {
		t.Errorf("%q, want %q", text, want)
	}
	if answer.Header.Get("X-Call-Id") != "mine" {
		t.Error("the call id was not told")
	}
	if _, text := w.request("POST", "/function/echo/a", "{}"); !strings.HasPrefix(text, "contract, id given false: /a ") {
		t.Errorf("without a call id: %q", text)
	}
}

func TestNew_Refuses(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a Config without hooks was taken")
	}
	for name, edit := range map[string]func(*Config){
		"cache":        func(c *Config) { c.CacheSize = -1 },
		"queue":        func(c *Config) { c.QueueDepth = -1 },
		"memory":       func(c *Config) { c.QueuedBytes = -1 },
		"timeout":      func(c *Config) { c.Timeout = -1 },
		"wake timeout": func(c *Config) { c.WakeTimeout = -1 },
	} {
		cfg := newWorld(t, nil).proxy.cfg
		edit(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("a negative %s was taken", name)
		}
	}
}
