package handlers_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
	"github.com/dragonchain/dc-provider/pkg/handlers"
)

var readyKey = []byte("0123456789abcdef")

// pushes is the provider's side of ready pushes with one function, and a watchdog that the test scripts.
type pushes struct {
	handler http.Handler
	ready   *handlers.ReadyPush
	port    uint16
	token   readypush.Token

	mu     sync.Mutex
	marked []string
	// unknown has Kubernetes tell of no such pod.
	unknown    bool
	told       []function.Startup
	challenges int
}

func newPushes(t *testing.T, watchdog func(p *pushes, w http.ResponseWriter, r *http.Request)) *pushes {
	t.Helper()
	spec := cow("fns")
	spec.Process = "cat"
	return newPushesOf(t, spec, watchdog)
}

func newPushesOf(
	t *testing.T, spec function.Spec, watchdog func(p *pushes, w http.ResponseWriter, r *http.Request), edit ...func(*handlers.Config),
) *pushes {
	t.Helper()
	w := newWorld()
	p := &pushes{token: readypush.DeriveToken(readyKey, "cow.fns", w.put(t, spec, function.Status{}).ID)}
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.challenges++
		p.mu.Unlock()
		watchdog(p, w, r)
	}))
	ready, err := handlers.NewReadyPush(readyKey, w.Lookup, func(ref function.Ref, id, pod, ip string, told function.Startup) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.told = append(p.told, told)
		p.marked = append(p.marked, strings.Join([]string{ref.String(), id, pod, ip}, " "))
		return !p.unknown
	})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	p.ready, p.port = ready, uint16(n)
	ready.ConnectTo(p.port, time.Minute)
	cfg := w.config(t)
	cfg.Ready = ready
	for _, edit := range edit {
		edit(&cfg)
	}
	p.handler = newAPI(t, cfg).Provider()
	return p
}

// push posts a body from the watchdog's address, without credentials.
func (p *pushes) push(body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/dc/ready", strings.NewReader(string(body)))
	r.RemoteAddr = "[::ffff:127.0.0.1]:4711"
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	return w
}

// want wants what happened so far.
func (p *pushes) want(t *testing.T, challenges int, marked ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.challenges != challenges || !slices.Equal(p.marked, marked) {
		t.Errorf("%d challenges, marked %q; want %d, %q", p.challenges, p.marked, challenges, marked)
	}
}

var loopback = netip.MustParseAddr("127.0.0.1")

func honest(p *pushes, w http.ResponseWriter, r *http.Request) {
	proof, err := p.token.Proof(r.Header.Get(readypush.ChallengeHeader), loopback)
	if err != nil || r.Method != "GET" || r.URL.Path != readypush.ReadyPath {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set(readypush.ProofHeader, proof)
}

func TestReadyPush_Accepted(t *testing.T) {
	p := newPushes(t, honest)
	wantEmpty(t, p.push(readypush.NewMessage(p.token, "cow.fns", "cow-1").Encode()), 204)
	wantEmpty(t, p.push(readypush.NewMessage(p.token, "cow.fns", "cow-2").Encode()), 204)
	p.want(t, 2, "cow.fns 1 cow-1 127.0.0.1", "cow.fns 1 cow-2 127.0.0.1")
}

// A pod that Kubernetes has not told of comes again: the watch may be behind, or it is none of the function's.
func TestReadyPush_OfAPodThatIsNotKnown(t *testing.T) {
	p := newPushes(t, honest)
	p.unknown = true
	wantLine(t, p.push(readypush.NewMessage(p.token, "cow.fns", "cow-1").Encode()), 503, "the replica does not answer as ready")
	p.want(t, 1, "cow.fns 1 cow-1 127.0.0.1")
}

// A function that serves by itself has port 8080, and the watchdog beside it another.
func TestReadyPush_WatchdogBesideTheFunction(t *testing.T) {
	p := newPushesOf(t, cow("fns"), honest)
	p.ready.ConnectBeside(p.port)
	wantEmpty(t, p.push(readypush.NewMessage(p.token, "cow.fns", "cow-1").Encode()), 204)
	p.want(t, 1, "cow.fns 1 cow-1 127.0.0.1")
}

func TestReadyPush_TellsOfTheStart(t *testing.T) {
	p := newPushes(t, honest)
	message := readypush.NewMessage(p.token, "cow.fns", "cow-1").WithTimes(p.token, time.Hour, time.Minute)
	forged := message
	forged.UpMicros++
	wantLine(t, p.push(forged.Encode()), 401, "refused")
	wantEmpty(t, p.push(message.Encode()), 204)
	wantEmpty(t, p.push(readypush.NewMessage(p.token, "cow.fns", "cow-2").Encode()), 204)
	if len(p.told) != 2 || p.told[1] != (function.Startup{}) {
		t.Fatalf("told %v", p.told)
	}
	if up, serving := time.Since(p.told[0].Container), time.Since(p.told[0].Process); up < time.Hour || up > 2*time.Hour || serving < time.Minute || serving > time.Hour {
		t.Errorf("the container began %v ago and the process served %v ago", up, serving)
	}
}

func TestReadyPush_ReplayIsRefused(t *testing.T) {
	p := newPushes(t, honest)
	message := readypush.NewMessage(p.token, "cow.fns", "cow-1").Encode()
	wantEmpty(t, p.push(message), 204)
	wantLine(t, p.push(message), 401, "refused")
	p.want(t, 1, "cow.fns 1 cow-1 127.0.0.1")
}

func TestReadyPush_ConnectsToNobodyBeforeTheMACIsRight(t *testing.T) {
	p := newPushes(t, honest)
	changed := readypush.NewMessage(p.token, "cow.fns", "cow-1")
	changed.Pod = "cow-2"
	successor := readypush.DeriveToken(readyKey, "cow.fns", "2")
	for _, c := range []struct {
		name   string
		body   []byte
		status int
		tells  string
	}{
		{"empty", nil, 400, "ready message"},
		{"no JSON", []byte("ready"), 400, "ready message"},
		{"too large", make([]byte, 1<<20), 413, "1024"},
		{"other pod", changed.Encode(), 401, "refused"},
		{"other record", readypush.NewMessage(successor, "cow.fns", "cow-1").Encode(), 401, "refused"},
		{"other function", readypush.NewMessage(p.token, "dog.fns", "dog-1").Encode(), 404, "dog.fns"},
		{"no namespace", readypush.NewMessage(p.token, "cow", "cow-1").Encode(), 404, "cow"},
	} {
		t.Run(c.name, func(t *testing.T) { wantLine(t, p.push(c.body), c.status, c.tells) })
	}
	p.want(t, 0)
}

func TestReadyPush_ReplicaThatDoesNotProveItself(t *testing.T) {
	for _, c := range []struct {
		name     string
		status   int
		watchdog func(p *pushes, w http.ResponseWriter, r *http.Request)
	}{
		{"not serving yet", 503, func(_ *pushes, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }},
		{"no proof", 401, func(_ *pushes, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }},
		{"wrong proof", 401, func(_ *pushes, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(readypush.ProofHeader, strings.Repeat("0", 64))
		}},
		{"proof of another token", 401, func(_ *pushes, w http.ResponseWriter, r *http.Request) {
			proof, _ := readypush.DeriveToken(readyKey, "dog.fns", "1").Proof(r.Header.Get(readypush.ChallengeHeader), loopback)
			w.Header().Set(readypush.ProofHeader, proof)
		}},
		{"proof of another address", 401, func(p *pushes, w http.ResponseWriter, r *http.Request) {
			proof, _ := p.token.Proof(r.Header.Get(readypush.ChallengeHeader), netip.MustParseAddr("127.0.0.2"))
			w.Header().Set(readypush.ProofHeader, proof)
		}},
		{"points elsewhere", 503, func(p *pushes, w http.ResponseWriter, r *http.Request) {
			honest(p, w, r)
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}},
		{"drops the connection", 503, func(*pushes, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"endless header", 503, func(p *pushes, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
			honest(p, w, r)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPushes(t, c.watchdog)
			wantLine(t, p.push(readypush.NewMessage(p.token, "cow.fns", "cow-1").Encode()), c.status, "")
			p.want(t, 1)
		})
	}
}

func TestReadyPush_HangingReplicaIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	p := newPushes(t, func(*pushes, http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	p.ready.ConnectTo(p.port, 50*time.Millisecond)
	wantLine(t, p.push(readypush.NewMessage(p.token, "cow.fns", "cow-1").Encode()), 503, "does not answer")
}

func TestReadyPush_OneFunctionMayNotTakeAll(t *testing.T) {
	const perRecord = 32
	arrived, release := make(chan struct{}), make(chan struct{})
	p := newPushes(t, func(p *pushes, w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		honest(p, w, r)
	})
	statuses := make(chan int)
	for range perRecord {
		go func() { statuses <- p.push(readypush.NewMessage(p.token, "cow.fns", "cow-1").Encode()).Code }()
		<-arrived
	}
	refused := p.push(readypush.NewMessage(p.token, "cow.fns", "cow-1").Encode())
	wantLine(t, refused, 429, "too many")
	if refused.Header().Get("Retry-After") != "1" {
		t.Errorf("headers %v", refused.Header())
	}
	close(release)
	for range perRecord {
		if status := <-statuses; status != 204 {
			t.Errorf("status %d", status)
		}
	}
	go func() { <-arrived }()
	wantEmpty(t, p.push(readypush.NewMessage(p.token, "cow.fns", "cow-1").Encode()), 204)
}

func TestReadyPush_NeedsAKey(t *testing.T) {
	if p, err := handlers.NewReadyPush(nil, nil, nil); err == nil || p != nil {
		t.Error("made without a key")
	}
}
