package pool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// door is the watchdog of a spare, as a Registrar meets it over HTTP.
type door struct {
	port uint16

	mu  sync.Mutex
	key *assignment.SpareKey
	// self is who it says it is, and token what it shows for that.
	self       assignment.Spare
	token      string
	challenges []string
	kept       *assignment.Assignment
	// hold keeps those who ask waiting until it is closed; nil keeps nobody.
	hold chan struct{}
	// answer, if set, answers instead.
	answer http.HandlerFunc
}

// desk is a Registrar with the Kubernetes that it asks.
type desk struct {
	*Registrar
	key *assignment.ProviderKey

	mu        sync.Mutex
	confirmed []string // pod, uid and token of each question
	// confirm and assign, if set, say what Kubernetes does.
	confirm func() (Pod, error)
	assign  func() (assignment.Assignment, error)
}

func providerKey(t *testing.T, secret string) *assignment.ProviderKey {
	t.Helper()
	key, err := assignment.DeriveProviderKey([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newDesk(t *testing.T, key *assignment.ProviderKey) *desk {
	t.Helper()
	d := &desk{key: key}
	var err error
	d.Registrar, err = NewRegistrar(RegistrarConfig{
		Key: key,
		Confirm: func(_ context.Context, of assignment.Spare, token string) (Pod, error) {
			d.mu.Lock()
			d.confirmed = append(d.confirmed, strings.Join([]string{of.Pod, of.UID, token}, " "))
			confirm := d.confirm
			d.mu.Unlock()
			if confirm != nil {
				return confirm()
			}
			return Pod{ID: of.UID, Namespace: "fns", Node: "n1"}, nil
		},
		Assignment: func(_ context.Context, f *function.Function) (assignment.Assignment, error) {
			d.mu.Lock()
			assign := d.assign
			d.mu.Unlock()
			if assign != nil {
				return assign()
			}
			return assignment.Assignment{Function: f.Ref.String(), Record: f.ID, Env: map[string]string{"A": "b"}, Secrets: map[string][]byte{"s": []byte("hush")}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *desk) asked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.confirmed
}

// newDoor opens one to which d's requests go.
func newDoor(t *testing.T, d *desk) *door {
	t.Helper()
	key, err := assignment.NewSpareKey(d.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	s := &door{key: key, self: assignment.Spare{Pod: "dc-spare-1", UID: "0b6f7b0e-0000-4000-8000-000000000001"}, token: "token-of-1"}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.port = server.Listener.Addr().(*net.TCPAddr).AddrPort().Port()
	d.port = s.port
	return s
}

func (s *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	answer, hold, key, self, token := s.answer, s.hold, s.key, s.self, s.token
	s.challenges = append(s.challenges, r.Header.Get(readypush.ChallengeHeader))
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}
	switch {
	case r.URL.Path != assignment.Path:
		http.NotFound(w, r)
	case answer != nil:
		answer(w, r)
	case r.Method == http.MethodGet:
		sealed, err := key.SealIdentity(r.Header.Get(readypush.ChallengeHeader), loopback, self, token)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = w.Write(sealed) // who has gone asks again
	case r.Method == http.MethodPost:
		s.take(w, r)
	}
}

func (s *door) take(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.key.Open(r.Body, s.self.Pod, s.self.UID)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	if s.kept != nil {
		w.WriteHeader(http.StatusConflict)
		return
	}
	s.kept = a
	w.WriteHeader(http.StatusNoContent)
}

// with does something to the door while it answers nobody.
func (s *door) with(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// becomes has the door answer otherwise.
func (s *door) becomes(answer http.HandlerFunc) { s.with(func() { s.answer = answer }) }

func TestRegistrar_AsksKubernetesWhoItIs(t *testing.T) {
	d := newDesk(t, providerKey(t, "0123456789abcdef"))
	s := newDoor(t, d)
	for range 2 {
		// As a listener for both families of addresses has it.
		got, err := d.Ask(t.Context(), netip.MustParseAddr("::ffff:127.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != s.self.UID || got.Namespace != "fns" || got.Pod != s.self.Pod || got.Node != "n1" || got.IP != loopback || got.Identity.Function != "" {
			t.Errorf("registered %+v", got)
		}
	}
	for _, question := range d.asked() {
		if want := s.self.Pod + " " + s.self.UID + " token-of-1"; question != want {
			t.Errorf("asked Kubernetes about %q, want %q", question, want)
		}
	}
	if len(d.asked()) != 2 {
		t.Errorf("asked Kubernetes %d times: it is to be asked each time, for the pod may have been claimed", len(d.asked()))
	}
	s.with(func() {
		if len(s.challenges) != 2 || s.challenges[0] == s.challenges[1] {
			t.Errorf("challenges %q", s.challenges)
		}
		s.self.Function = "cow.fns"
	})
	if got, err := d.Ask(t.Context(), loopback); err != nil || got.Identity.Function != "cow.fns" {
		t.Errorf("one that was assigned: %+v, %v", got, err)
	}
}

// What is not a spare's own answer to this question is nobody's, and Kubernetes is not asked about it.
func TestRegistrar_BelievesNobodyElse(t *testing.T) {
	d := newDesk(t, providerKey(t, "0123456789abcdef"))
	s := newDoor(t, d)
	key, self := s.key, s.self
	identity := func(of *assignment.SpareKey, challenge string, ip netip.Addr) []byte {
		sealed, err := of.SealIdentity(challenge, ip, self, "token-of-1")
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	old := identity(key, readypush.NewChallenge(), loopback)
	foreign, err := assignment.NewSpareKey(providerKey(t, "another provider's").Public())
	if err != nil {
		t.Fatal(err)
	}
	// write answers with what is made of the challenge.
	write := func(of func(challenge string) []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(of(r.Header.Get(readypush.ChallengeHeader)))
		}
	}
	for _, c := range []struct {
		name    string
		answer  http.HandlerFunc
		unknown bool
	}{
		{"a recorded answer", write(func(string) []byte { return old }), true},
		{"the answer of another address", write(func(c string) []byte { return identity(key, c, netip.MustParseAddr("127.0.0.2")) }), true},
		{"a spare of another provider", write(func(c string) []byte { return identity(foreign, c, loopback) }), true},
		{"one bit is another", write(func(c string) []byte {
			sealed := identity(key, c, loopback)
			sealed[len(sealed)-1] ^= 1
			return sealed
		}), true},
		{"nothing", write(func(string) []byte { return nil }), true},
		{"without an end", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 4<<10)); err != nil {
					return
				}
			}
		}, true},
		{"points elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, assignment.Path+"?again", http.StatusFound)
		}, false},
		{"refuses", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, false},
		{"a head without an end", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 64<<10)) }, false},
		{"breaks off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.becomes(c.answer)
			if got, err := d.Ask(t.Context(), loopback); err == nil || errors.Is(err, ErrUnknown) != c.unknown {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	if asked := d.asked(); len(asked) > 0 {
		t.Errorf("Kubernetes was asked about %q", asked)
	}
}

func TestRegistrar_KubernetesDenies(t *testing.T) {
	d := newDesk(t, providerKey(t, "0123456789abcdef"))
	newDoor(t, d)
	for _, denied := range []error{ErrUnknown, errors.New("no API server")} {
		d.confirm = func() (Pod, error) { return Pod{}, denied }
		if got, err := d.Ask(t.Context(), loopback); !errors.Is(err, denied) || got.ID != "" {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// A spare that hangs takes one place, not the provider; and who comes when all places are taken comes again.
func TestRegistrar_AsksSoManyAtATime(t *testing.T) {
	d := newDesk(t, providerKey(t, "0123456789abcdef"))
	s := newDoor(t, d)
	s.with(func() { s.hold = make(chan struct{}) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asking sync.WaitGroup
	for range asksAtOnce {
		asking.Go(func() {
			if _, err := d.Ask(ctx, loopback); err == nil || errors.Is(err, ErrAsking) {
				t.Errorf("a spare that says nothing: %v", err)
			}
		})
	}
	for len(d.asking) < asksAtOnce {
		<-time.After(time.Millisecond)
	}
	if _, err := d.Ask(t.Context(), loopback); !errors.Is(err, ErrAsking) {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	asking.Wait()
	s.with(func() { s.hold = nil })
	if _, err := d.Ask(t.Context(), loopback); err != nil {
		t.Errorf("when the others have gone: %v", err)
	}
}

func TestRegistrar_AssignsOnce(t *testing.T) {
	d := newDesk(t, providerKey(t, "0123456789abcdef"))
	s := newDoor(t, d)
	spare, err := d.Ask(t.Context(), loopback)
	if err != nil {
		t.Fatal(err)
	}
	var wire bytes.Buffer
	s.becomes(func(w http.ResponseWriter, r *http.Request) {
		r.Body = io.NopCloser(io.TeeReader(r.Body, &wire))
		s.take(w, r)
	})
	f := &function.Function{Spec: function.Spec{Ref: function.Ref{Name: "cow", Namespace: "fns"}}, ID: "1"}
	if err := d.Assign(t.Context(), spare, f); err != nil {
		t.Fatal(err)
	}
	// What has taken one takes no other, and the error is none of the function's.
	if err := d.Assign(t.Context(), spare, f); err == nil || errors.Is(err, ErrNotAssignable) {
		t.Errorf("a second assignment: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil || s.kept.Function != "cow.fns" || s.kept.Env["A"] != "b" || string(s.kept.Secrets["s"]) != "hush" {
		t.Errorf("the spare keeps %+v", s.kept)
	}
	if bytes.Contains(wire.Bytes(), []byte("hush")) || bytes.Contains(wire.Bytes(), []byte("cow")) {
		t.Error("who listens reads the assignment")
	}
}

func TestRegistrar_AssignmentThatCannotBeMade(t *testing.T) {
	d := newDesk(t, providerKey(t, "0123456789abcdef"))
	s := newDoor(t, d)
	spare, err := d.Ask(t.Context(), loopback)
	if err != nil {
		t.Fatal(err)
	}
	f := &function.Function{Spec: function.Spec{Ref: function.Ref{Name: "cow", Namespace: "fns"}}, ID: "1"}
	whole, err := d.cfg.Assignment(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	tooLong := whole
	tooLong.Secrets = map[string][]byte{"s": make([]byte, assignment.MaxBytes)}
	for name, assign := range map[string]func() (assignment.Assignment, error){
		"a secret is missing": func() (assignment.Assignment, error) { return whole, function.Invalidf("secret is missing") },
		"it is too long":      func() (assignment.Assignment, error) { return tooLong, nil },
	} {
		d.assign = assign
		if err := d.Assign(t.Context(), spare, f); !errors.Is(err, ErrNotAssignable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.with(func() {
		if len(s.challenges) != 1 || s.kept != nil {
			t.Errorf("the spare has heard of it: %d requests, %+v", len(s.challenges), s.kept)
		}
	})
	// A spare that started again has another key, and takes nothing that was made for the one before.
	d.assign = nil
	again, err := assignment.NewSpareKey(d.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	s.with(func() { s.key = again })
	if err := d.Assign(t.Context(), spare, f); err == nil || errors.Is(err, ErrNotAssignable) {
		t.Errorf("a spare that started again: %v", err)
	}
	s.with(func() {
		if s.kept != nil {
			t.Errorf("a spare that started again keeps %+v", s.kept)
		}
	})
}

// Two providers have the same key: whoever is asked first, the spare is known by whichever asks, and one claim is all that it takes.
func TestRegistrar_TwoProviders(t *testing.T) {
	key := providerKey(t, "0123456789abcdef")
	one, two := newDesk(t, key), newDesk(t, key)
	s := newDoor(t, one)
	two.port = s.port
	f := &function.Function{Spec: function.Spec{Ref: function.Ref{Name: "cow", Namespace: "fns"}}, ID: "1"}
	var spares []Spare
	for _, d := range []*desk{one, two} {
		spare, err := d.Ask(t.Context(), loopback)
		if err != nil {
			t.Fatal(err)
		}
		spares = append(spares, spare)
	}
	var took sync.WaitGroup
	errs := make([]error, 2)
	for i, d := range []*desk{one, two} {
		took.Go(func() { errs[i] = d.Assign(t.Context(), spares[i], f) })
	}
	took.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Errorf("one spare was assigned by both, or by none: %v, %v", errs[0], errs[1])
	}
}

func TestNewRegistrar_NeedsAll(t *testing.T) {
	if _, err := NewRegistrar(RegistrarConfig{}); err == nil {
		t.Error("made of nothing")
	}
}
