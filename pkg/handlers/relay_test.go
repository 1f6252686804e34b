package handlers_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
	"github.com/dragonchain/dc-provider/pkg/handlers"
	"github.com/dragonchain/dc-provider/pkg/peers"
)

// pair is two providers behind one Service, which hear of each other over HTTP.
type pair struct {
	urls  [2]string
	ready [2]*pushes

	mu      sync.Mutex
	members []string
	// spare, if set, is asked before a spare registers.
	spare  func(at int) error
	spares [2][]string // that have registered at each
}

func newPair(t *testing.T, watchdog func(*pushes, http.ResponseWriter, *http.Request)) *pair {
	t.Helper()
	p := &pair{}
	spec := cow("fns")
	spec.Process = "cat"
	var apis [2]http.Handler
	for i := range 2 {
		relay, err := peers.New(peers.Config{
			Secret: readyKey,
			Providers: func(context.Context) ([]string, error) {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.members, nil
			},
			Loads: func(time.Time, func(function.Ref, peers.Load)) {},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(relay.Close)
		p.ready[i] = newPushesOf(t, spec, watchdog, func(cfg *handlers.Config) {
			cfg.Relay = relay
			cfg.Spare = func(_ context.Context, pod string, ip netip.Addr) error {
				p.mu.Lock()
				defer p.mu.Unlock()
				if p.spare != nil {
					if err := p.spare(i); err != nil {
						return err
					}
				}
				p.spares[i] = append(p.spares[i], pod+" at "+ip.String())
				return nil
			}
		})
		apis[i] = p.ready[i].handler
	}
	for i := range 2 {
		server := httptest.NewServer(apis[i])
		t.Cleanup(server.Close)
		p.urls[i] = server.URL
		p.mu.Lock()
		p.members = append(p.members, server.Listener.Addr().String())
		p.mu.Unlock()
	}
	return p
}

func (p *pair) sparesAsk(ask func(at int) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spare = ask
}

func (p *pair) post(t *testing.T, at int, path string, body []byte, header ...string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.urls[at]+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
		<-time.After(time.Millisecond)
	}
}

// A push reaches whichever provider the Service chooses. Calls may wait at the other.
func TestRelay_PushTakesEffectAtBothProviders(t *testing.T) {
	for first := range 2 {
		p := newPair(t, honest)
		if status := p.post(t, first, "/dc/ready", readypush.NewMessage(p.ready[0].token, "cow.fns", "cow-1").Encode()); status != http.StatusNoContent {
			t.Fatalf("status %d", status)
		}
		other := p.ready[1-first]
		waitFor(t, "the other provider does not hear of it", func() bool {
			other.mu.Lock()
			defer other.mu.Unlock()
			return len(other.marked) > 0
		})
		for _, ready := range p.ready {
			ready.want(t, 1, "cow.fns 1 cow-1 127.0.0.1") // each has had it proved, and none hears it twice
		}
	}
}

// What the other provider hears it has proved to itself: a replica that serves one of them only is known to that one only.
func TestRelay_EachProviderIsConvinced(t *testing.T) {
	asked := make(chan struct{}, 2)
	var deaf atomic.Pointer[pushes]
	p := newPair(t, func(to *pushes, w http.ResponseWriter, r *http.Request) {
		defer func() { asked <- struct{}{} }()
		if to == deaf.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		honest(to, w, r)
	})
	deaf.Store(p.ready[1])
	if status := p.post(t, 0, "/dc/ready", readypush.NewMessage(p.ready[0].token, "cow.fns", "cow-1").Encode()); status != http.StatusNoContent {
		t.Fatalf("status %d", status)
	}
	<-asked
	<-asked
	p.ready[0].want(t, 1, "cow.fns 1 cow-1 127.0.0.1")
	p.ready[1].want(t, 1)
}

// Nothing that was not signed by a replica is passed on, and nobody but a provider can say that a word comes from elsewhere.
func TestRelay_Forged(t *testing.T) {
	p := newPair(t, honest)
	message := readypush.NewMessage(readypush.DeriveToken(readyKey, "dog.fns", "1"), "cow.fns", "cow-1").Encode()
	if status := p.post(t, 0, "/dc/ready", message); status != http.StatusUnauthorized {
		t.Errorf("another's token: status %d", status)
	}
	message = readypush.NewMessage(p.ready[0].token, "cow.fns", "cow-1").Encode()
	if status := p.post(t, 0, "/dc/ready", message, "X-Dc-Pod", "10.0.0.9", "X-Dc-Process", "p"); status != http.StatusUnauthorized {
		t.Errorf("said to come from elsewhere: status %d", status)
	}
	// The same word, as it comes from its own address, is none that was seen before.
	if status := p.post(t, 0, "/dc/ready", message); status != http.StatusNoContent {
		t.Errorf("status %d", status)
	}
}

// A spare calls whichever provider the Service chooses. The one that leads has it registered.
func TestRelay_SpareRegistersWithTheLeader(t *testing.T) {
	p := newPair(t, honest)
	p.sparesAsk(func(at int) error {
		if at == 0 {
			return function.ErrConflict
		}
		return nil
	})
	call := assignment.Call{Pod: "dc-spare-1"}.Encode()
	if status := p.post(t, 0, assignment.CallPath, call); status != http.StatusConflict {
		t.Errorf("at the one that does not lead: status %d", status)
	}
	registered := func() string {
		p.mu.Lock()
		defer p.mu.Unlock()
		return strings.Join(p.spares[1], ", ")
	}
	waitFor(t, "the leader does not hear of it", func() bool { return registered() != "" })
	if got := registered(); got != "dc-spare-1 at 127.0.0.1" {
		t.Errorf("registered %s", got)
	}
	if status := p.post(t, 1, assignment.CallPath, call); status != http.StatusNoContent {
		t.Errorf("at the leader: status %d", status)
	}
	if got := registered(); got != "dc-spare-1 at 127.0.0.1, dc-spare-1 at 127.0.0.1" {
		t.Errorf("registered %s", got)
	}
}

// With no leader a call goes from one to the other and ends there.
func TestRelay_NobodyLeads(t *testing.T) {
	p := newPair(t, honest)
	heard := make(chan int, 16)
	p.sparesAsk(func(at int) error {
		heard <- at
		return errors.Join(function.ErrConflict, errors.New("nobody leads"))
	})
	if status := p.post(t, 0, assignment.CallPath, assignment.Call{Pod: "dc-spare-1"}.Encode()); status != http.StatusConflict {
		t.Errorf("status %d", status)
	}
	if first, second := <-heard, <-heard; first != 0 || second != 1 {
		t.Errorf("heard by %d, then by %d", first, second)
	}
	if status := p.post(t, 0, assignment.CallPath, []byte("{")); status != http.StatusBadRequest {
		t.Errorf("what is no call: status %d", status)
	}
	if len(heard) > 0 {
		t.Error("it goes round")
	}
}
