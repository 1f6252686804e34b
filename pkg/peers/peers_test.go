package peers

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/test/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

var (
	cow    = function.Ref{Name: "cow", Namespace: "openfaas-fn"}
	secret = []byte("what providers know and others do not")
)

// provider is one with its data plane.
type provider struct {
	*Peers
	server *httptest.Server

	mu        sync.Mutex
	loads     map[function.Ref]Load
	unreached []function.Ref
}

// providers are several, each of which knows the others by members.
type providers struct {
	mu      sync.Mutex
	members []string
	err     error
}

func (ps *providers) list(context.Context) ([]string, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.members, ps.err
}

func (ps *providers) add(t *testing.T, secret []byte) *provider {
	t.Helper()
	p := &provider{loads: make(map[function.Ref]Load)}
	var err error
	p.Peers, err = New(Config{Secret: secret, Providers: ps.list, Loads: p.visit, OnUnreached: p.onUnreached, Interval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	p.server = httptest.NewServer(p.Handler())
	t.Cleanup(p.server.Close)
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.members = append(ps.members, p.server.Listener.Addr().String())
	return p
}

// visit is what package proxy does.
func (p *provider) visit(since time.Time, visit func(function.Ref, Load)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ref, l := range p.loads {
		if l.InFlight+l.Waiting > 0 || !l.Last.Before(since) {
			visit(ref, l)
		}
	}
}

func (p *provider) onUnreached(ref function.Ref) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unreached = append(p.unreached, ref)
}

func (p *provider) set(ref function.Ref, l Load) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loads[ref] = l
}

// lead begins asking without rounds of its own: the test makes each.
func (p *provider) lead(t *testing.T) {
	p.begin(true)
	t.Cleanup(p.client.CloseIdleConnections)
}

// Who leads hears of calls at the others that reach no replica, and knows of its own.
func TestPeers_Unreached(t *testing.T) {
	var ps providers
	leader, other := ps.add(t, secret), ps.add(t, secret)
	leader.lead(t)
	pig := function.Ref{Name: "pig", Namespace: cow.Namespace}
	leader.set(pig, Load{Waiting: 1, Unreached: true, Last: time.Now()})
	other.set(cow, Load{Waiting: 1, Last: time.Now()})
	leader.round(t.Context())
	if len(leader.unreached) > 0 {
		t.Errorf("%v: not reached, by no other provider", leader.unreached)
	}
	other.set(cow, Load{Waiting: 1, Unreached: true, Last: time.Now()})
	leader.round(t.Context())
	if !slices.Equal(leader.unreached, []function.Ref{cow}) {
		t.Errorf("%v: not reached at another provider, want %v", leader.unreached, cow)
	}
}

func TestPeers_SumOfTheOthers(t *testing.T) {
	var ps providers
	leader, b, c := ps.add(t, secret), ps.add(t, secret), ps.add(t, secret)
	leader.lead(t)
	leader.set(cow, Load{InFlight: 100, Started: 1000, Last: time.Now()}) // which it knows without asking
	lately := time.Now().Add(-time.Minute)
	b.set(cow, Load{InFlight: 2, Waiting: 1, Started: 50, CallTime: time.Hour, Last: lately})
	c.set(cow, Load{InFlight: 3, Started: 7, Last: lately.Add(-time.Hour)})

	if _, partial := leader.Load(cow); !partial {
		t.Error("nobody was asked yet, and all is known")
	}
	leader.round(t.Context())
	l, partial := leader.Load(cow)
	if partial || l.InFlight != 5 || l.Waiting != 1 || l.Started != 0 || l.CallTime != 0 || l.Last.Sub(lately).Abs() > time.Second {
		t.Errorf("load %+v, partial %t", l, partial)
	}
	// What is counted since is added up, and what has ended is no more there.
	b.set(cow, Load{Started: 60, CallTime: time.Hour + time.Second, Last: time.Now()})
	c.set(cow, Load{InFlight: 3, Started: 8, CallTime: time.Second, Last: lately})
	leader.round(t.Context())
	leader.round(t.Context()) // nothing is counted twice
	l, partial = leader.Load(cow)
	if partial || l.InFlight != 3 || l.Waiting != 0 || l.Started != 11 || l.CallTime != 2*time.Second || time.Since(l.Last) > time.Minute {
		t.Errorf("load %+v, partial %t", l, partial)
	}
	leader.Forget(cow)
	if l, _ := leader.Load(cow); l != (Load{}) {
		t.Errorf("load %+v of one that was forgotten", l)
	}
}

// A provider that goes takes its calls with it, one that comes adds none of before, and one that is started again at the same
// address is another.
func TestPeers_ComeAndGo(t *testing.T) {
	var ps providers
	leader, b := ps.add(t, secret), ps.add(t, secret)
	leader.lead(t)
	b.set(cow, Load{InFlight: 1, Started: 10, Last: time.Now()})
	leader.round(t.Context())
	b.set(cow, Load{InFlight: 1, Started: 15, Last: time.Now()})
	leader.round(t.Context())

	again := &provider{loads: map[function.Ref]Load{cow: {InFlight: 2, Started: 3, Last: time.Now()}}}
	var err error
	if again.Peers, err = New(Config{Secret: secret, Providers: ps.list, Loads: again.visit}); err != nil {
		t.Fatal(err)
	}
	b.server.Config.Handler = again.Handler()
	leader.round(t.Context())
	if _, partial := leader.Load(cow); !partial {
		t.Error("all of it is known of a process that told of its last moment")
	}
	leader.round(t.Context())
	if l, partial := leader.Load(cow); partial || l.InFlight != 2 || l.Started != 5 {
		t.Errorf("load %+v, partial %t", l, partial)
	}
	ps.mu.Lock()
	ps.members = ps.members[:1]
	ps.mu.Unlock()
	leader.round(t.Context())
	if l, partial := leader.Load(cow); partial || l.InFlight != 0 || l.Started != 5 {
		t.Errorf("load %+v, partial %t", l, partial)
	}
}

func TestPeers_WhatIsNotKnownIsSaid(t *testing.T) {
	for name, spoil := range map[string]func(*providers, *provider){
		"one does not answer":          func(_ *providers, b *provider) { b.server.Close() },
		"one answers for another key":  func(_ *providers, b *provider) { b.key = deriveKey([]byte("another")) },
		"one answers something else":   func(_ *providers, b *provider) { b.server.Config.Handler = http.NotFoundHandler() },
		"the providers are not known":  func(ps *providers, _ *provider) { ps.err = errors.New("no API server") },
		"one was never heard of":       func(ps *providers, _ *provider) { ps.members = append(ps.members, "127.0.0.1:1") },
		"one answers without an end":   func(_ *providers, b *provider) { b.server.Config.Handler = endless() },
		"one answers with what it was": func(_ *providers, b *provider) { b.server.Config.Handler = replayed(b) },
	} {
		t.Run(name, func(t *testing.T) {
			var ps providers
			leader, b := ps.add(t, secret), ps.add(t, secret)
			leader.lead(t)
			spoil(&ps, b)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			leader.round(ctx)
			leader.round(ctx)
			if _, partial := leader.Load(cow); !partial {
				t.Error("all is known")
			}
		})
	}
}

// endless sends a byte now and then until the caller has gone.
func endless() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(" ")); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-time.After(10 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	})
}

// replayed answers every question with the answer to the first that anybody asked.
func replayed(b *provider) http.Handler {
	r := httptest.NewRequest(http.MethodGet, Path+"?since=0", nil)
	b.key.sign(r, newNonce(), time.Now())
	first := httptest.NewRecorder()
	b.Handler().ServeHTTP(first, r)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range first.Header() {
			w.Header()[k] = v
		}
		_, _ = w.Write(first.Body.Bytes()) // the test sees what the leader makes of it
	})
}

func TestHandler_AnswersProvidersAlone(t *testing.T) {
	var ps providers
	p := ps.add(t, secret)
	p.set(cow, Load{InFlight: 1})
	ask := func(edit func(*http.Request)) int {
		r := httptest.NewRequest(http.MethodGet, Path+"?since=0", nil)
		p.key.sign(r, newNonce(), time.Now())
		edit(r)
		w := httptest.NewRecorder()
		p.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusOK && strings.Contains(w.Body.String(), "cow") {
			t.Errorf("told somebody else: %s", w.Body)
		}
		return w.Code
	}
	for name, edit := range map[string]func(*http.Request){
		"no mac":         func(r *http.Request) { r.Header.Del(macHeader) },
		"another nonce":  func(r *http.Request) { r.Header.Set(nonceHeader, "x") },
		"another time":   func(r *http.Request) { r.Header.Set(timeHeader, "1") },
		"another query":  func(r *http.Request) { r.URL.RawQuery = "since=1" },
		"another key":    func(r *http.Request) { deriveKey([]byte("x")).sign(r, "n", time.Now()) },
		"an old one":     func(r *http.Request) { p.key.sign(r, "n", time.Now().Add(-time.Hour)) },
		"another method": func(r *http.Request) { r.Method = http.MethodPost },
	} {
		if status := ask(edit); status != http.StatusForbidden {
			t.Errorf("%s: status %d", name, status)
		}
	}
	if status := ask(func(*http.Request) {}); status != http.StatusOK {
		t.Errorf("asked as a provider does: %d", status)
	}
}

func TestPeers_RunAgain(t *testing.T) {
	var ps providers
	leader := ps.add(t, secret)
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- leader.Run(ctx) }()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			if _, partial := leader.Load(cow); !partial {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("it never knew itself alone")
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, partial := leader.Load(cow); !partial {
			t.Error("all is known while nobody is asked")
		}
	}
}
