package peers

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const told = "/dc/ready"

var pod = netip.MustParseAddr("10.0.0.9")

// hearer is a provider that notes what it hears, and from whom.
type hearer struct {
	*Peers
	heard chan string
}

func (ps *providers) hearer(t *testing.T, secret []byte) *hearer {
	t.Helper()
	h := &hearer{heard: make(chan string, 16)}
	var err error
	if h.Peers, err = New(Config{Secret: secret, Providers: ps.list, Loads: (&provider{}).visit}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		from, is, err := h.Passed(r, body)
		h.heard <- fmt.Sprintf("%s %s from %v, passed on %t, %v", r.URL.Path, body, from, is, err)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(h.Close)
	ps.join(server)
	return h
}

func (ps *providers) join(server *httptest.Server) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.members = append(ps.members, server.Listener.Addr().String())
}

func (h *hearer) hears(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-h.heard:
		if got != want {
			t.Errorf("hears %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("hears nothing, want %q", want)
	}
}

func TestPass_AllOthersHear(t *testing.T) {
	var ps providers
	a, b, c := ps.hearer(t, secret), ps.hearer(t, secret), ps.hearer(t, secret)
	stranger := ps.hearer(t, []byte("another installation's"))
	a.Pass(told, []byte("ready"), pod)
	const word = "/dc/ready ready from 10.0.0.9, passed on true, <nil>"
	b.hears(t, word)
	c.hears(t, word)
	a.hears(t, "/dc/ready ready from invalid IP, passed on true, <nil>") // its own, which it heard before
	stranger.hears(t, "/dc/ready ready from invalid IP, passed on false, "+errNotPassed.Error())
}

// A provider that hangs, or is gone, keeps the others from nothing, and no more is under way than may be.
func TestPass_ProvidersThatDoNotAnswer(t *testing.T) {
	var ps providers
	a, b := ps.hearer(t, secret), ps.hearer(t, secret)
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hangs.Close()
	defer close(release)
	gone := httptest.NewServer(nil)
	gone.Close()
	ps.join(hangs)
	ps.join(gone)
	a.Pass(told, []byte("1"), pod)
	b.hears(t, "/dc/ready 1 from 10.0.0.9, passed on true, <nil>")
	for len(a.relay.places) < passesAtOnce {
		a.relay.places <- struct{}{}
	}
	a.Pass(told, []byte("dropped"), pod)
	<-a.relay.places
	a.Pass(told, []byte("2"), pod)
	b.hears(t, "/dc/ready 2 from 10.0.0.9, passed on true, <nil>")
}

func TestPass_ProvidersThatAreNotKnown(t *testing.T) {
	ps := providers{err: errors.New("no API server")}
	a := ps.hearer(t, secret)
	a.Pass(told, []byte("lost"), pod)
	a.Close() // returns: nothing waits for ever
	select {
	case got := <-a.heard:
		t.Error(got)
	default:
	}
}

// Whoever is not a provider can pass nothing on, nor change what one has.
func TestPassed_Forged(t *testing.T) {
	var ps providers
	a, b := ps.hearer(t, secret), ps.hearer(t, secret)
	var mu sync.Mutex
	var recorded *http.Request
	tap := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		recorded = r
	}))
	defer tap.Close()
	if err := a.post(t.Context(), tap.Listener.Addr().String(), told, []byte("ready"), pod); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for name, change := range map[string]func(r *http.Request) (body string){
		"another body":     func(*http.Request) string { return "READY" },
		"another address":  func(r *http.Request) string { r.Header.Set(podHeader, "10.0.0.10"); return "ready" },
		"another provider": func(r *http.Request) string { r.Header.Set(processHeader, b.process); return "ready" },
		"another path":     func(r *http.Request) string { r.URL.Path = "/dc/spare"; return "ready" },
		"no MAC":           func(r *http.Request) string { r.Header.Del(macHeader); return "ready" },
		"no time":          func(r *http.Request) string { r.Header.Del(timeHeader); return "ready" },
		"of long ago": func(r *http.Request) string {
			r.Header.Set(timeHeader, strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10))
			r.Header.Set(macHeader, fmt.Sprintf("%x", b.key.passed(r, []byte("ready"))))
			return "ready"
		},
	} {
		r := recorded.Clone(t.Context())
		if from, is, err := b.Passed(r, []byte(change(r))); err == nil || is || from.IsValid() {
			t.Errorf("%s: from %v, %t, %v", name, from, is, err)
		}
	}
	if from, is, err := b.Passed(recorded, []byte("ready")); from != pod || !is || err != nil {
		t.Errorf("as it was: from %v, %t, %v", from, is, err)
	}
	own := httptest.NewRequest(http.MethodPost, told, strings.NewReader("ready"))
	if from, is, err := b.Passed(own, []byte("ready")); from.IsValid() || is || err != nil {
		t.Errorf("a pod's own: from %v, %t, %v", from, is, err)
	}
}
