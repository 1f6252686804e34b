package proxy

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// lines collects what is logged.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) all(t *testing.T) (all []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(l.buf.Bytes()) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, m)
	}
	return all
}

func newLoggedWorld(t *testing.T, share float64, edit func(*Config)) (*world, *lines) {
	t.Helper()
	var l lines
	w, _ := newMeteredWorld(t, func(c *Config) {
		c.AccessLog, c.AccessLogShare = slog.New(slog.NewJSONHandler(&l, nil)), share
		if edit != nil {
			edit(c)
		}
	})
	return w, &l
}

func TestAccessLog(t *testing.T) {
	w, l := newLoggedWorld(t, 1, func(c *Config) { c.WakeTimeout = 20 * time.Millisecond })
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "0123456789")
	})
	w.deploy(function.Ref{Name: "asleep", Namespace: "openfaas-fn"})
	w.request("POST", "/function/echo/a%2F%22b?token=secret", "body", "X-Call-Id", "mine", "X-Forwarded-For", "10.1.1.1")
	w.request("GET", "/function/asleep", "", "X-Call-Id", strings.Repeat("x", 5000))
	w.request("GET", "/function/nobody/"+strings.Repeat("y", 5000), "")
	w.await(func() bool { return len(l.all(t)) == 3 })
	got := l.all(t)
	for _, m := range got {
		if m["level"] != "INFO" || m["msg"] != "call" || m["caller"] != "127.0.0.1" || m["duration_seconds"].(float64) <= 0 {
			t.Errorf("%v", m)
		}
		for name, v := range m {
			if text, ok := v.(string); ok && len(text) > maxLogged {
				t.Errorf("%s has %d bytes", name, len(text))
			}
		}
		for name := range m {
			if strings.HasSuffix(name, "_seconds") || name == "time" {
				delete(m, name)
			}
		}
	}
	e := w.list(echo)[0]
	want := map[string]any{
		"level": "INFO", "msg": "call", "function": "echo", "namespace": "openfaas-fn", "call_id": "mine", "method": "POST",
		"path": "/a%2F%22b", "status": 418.0, "bytes": 10.0, "caller": "127.0.0.1", "forwarded_for": "10.1.1.1, 127.0.0.1",
		"endpoint": e.Address, "replica": e.Replica,
	}
	if !maps.Equal(got[0], want) {
		t.Errorf("%v\nwant\n%v", got[0], want)
	}
	if got[1]["status"] != 503.0 || !strings.Contains(got[1]["err"].(string), "no endpoint available") || got[1]["endpoint"] != "" {
		t.Errorf("%v", got[1])
	}
	if got[2]["status"] != 404.0 || got[2]["function"] != "nobody" {
		t.Errorf("%v", got[2])
	}
}

func TestAccessLog_PhasesOfACallThatWaited(t *testing.T) {
	w, l := newLoggedWorld(t, 1, nil)
	w.deploy(echo)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.request("GET", "/function/echo", "")
	}()
	w.awaitWake()
	w.setEndpoints(echo, w.replica("echo-0", hello))
	<-done
	w.await(func() bool { return len(l.all(t)) == 1 })
	m := l.all(t)[0]
	sum := 0.0
	for _, phase := range []string{"wake", "connect", "function"} {
		d := m[phase+"_seconds"].(float64)
		if d <= 0 {
			t.Errorf("phase %s took %v", phase, d)
		}
		sum += d
	}
	if m["queue_seconds"] != 0.0 || sum > m["duration_seconds"].(float64) {
		t.Errorf("%v", m)
	}
}

// A contract's call is logged where it is made, with the caller's identity.
func TestAccessLog_Contract(t *testing.T) {
	var w *world
	w, l := newLoggedWorld(t, 1, func(c *Config) {
		c.Contract = func(rw http.ResponseWriter, r *http.Request, f *function.Function, _ bool) {
			answer, err := w.proxy.RoundTrip(r.Context(), f, r)
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			io.Copy(rw, answer.Body)
		}
	})
	f := w.deploy(echo, hello)
	f.Policy.Heap = true
	w.request("POST", "/function/echo/a", "body", "X-Call-Id", "mine")
	w.await(func() bool { return len(l.all(t)) == 1 })
	if m := l.all(t)[0]; m["call_id"] != "mine" || m["path"] != "/a" || m["bytes"] != 5.0 || m["caller"] != "127.0.0.1" || m["method"] != "POST" {
		t.Errorf("%v", m)
	}
}

func TestAccessLog_Share(t *testing.T) {
	for _, share := range []float64{0, 0.5} {
		w, l := newLoggedWorld(t, share, nil)
		w.deploy(echo, hello)
		for range 200 {
			w.wantStatus("/function/echo", 200)
		}
		w.await(func() bool { return w.proxy.Invocations(echo) == 200 })
		// 200 throws of a coin are never all but 20 the same.
		if n := len(l.all(t)); share == 0 && n > 0 || share > 0 && (n < 20 || n > 180) {
			t.Errorf("share %v: %d of 200 calls are logged", share, n)
		}
	}
	for _, share := range []float64{-1, 1.1, math.NaN()} {
		cfg := newPlane(t, 0, 1, nil).proxy.cfg
		cfg.AccessLogShare = share
		if _, err := New(cfg); err == nil {
			t.Errorf("a share of %v was taken", share)
		}
	}
}

func TestNewCallID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newCallID()
		parts := strings.Split(id, "-")
		if len(id) != 36 || !slices.EqualFunc(parts, []int{8, 4, 4, 4, 12}, func(p string, n int) bool { return len(p) == n }) ||
			strings.Trim(id, "0123456789abcdef-") != "" || id[14] != '4' || !strings.Contains("89ab", id[19:20]) || seen[id] {
			t.Fatalf("%q is no new UUID of version 4", id)
		}
		seen[id] = true
	}
}

// The watchdog's time is the function's word, and is not ours to add: an image without a watchdog has none.
func TestServeHTTP_DurationIsTheFunctionsWord(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/timed" {
			w.Header().Set("X-Duration-Seconds", "0.012345")
		}
	})
	if answer, _ := w.request("GET", "/function/echo/timed", ""); answer.Header.Get("X-Duration-Seconds") != "0.012345" {
		t.Errorf("%v", answer.Header)
	}
	if answer, _ := w.request("GET", "/function/echo", ""); answer.Header.Get("X-Duration-Seconds") != "" {
		t.Errorf("%v", answer.Header)
	}
}
