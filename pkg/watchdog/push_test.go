package watchdog

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

var pushToken = readypush.DeriveToken([]byte("key"), "hello.fn", "uid")

// provider answers ready pushes with one status after the other, the last for ever. 0 breaks the connection.
type provider struct {
	*httptest.Server
	t        *testing.T
	watchdog func() string // its address
	statuses []int

	mu     sync.Mutex
	nonces []string
	proven bool
	pushed chan struct{} // a token for every push answered
}

func newProvider(t *testing.T, statuses ...int) *provider {
	p := &provider{t: t, statuses: statuses, pushed: make(chan struct{}, 100)}
	p.Server = httptest.NewServer(http.HandlerFunc(p.ready))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) ready(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.pushed <- struct{}{} }()
	body, _ := io.ReadAll(r.Body)
	m, err := readypush.Parse(body)
	if err != nil || r.Method != "POST" || m.Function != "hello.fn" || m.Pod != "hello-1" || !m.Verify(pushToken) {
		p.t.Errorf("push %s %s, %v", r.Method, body, err)
	}
	if up, serving, ok := m.Times(); !ok || up > time.Hour || serving > up {
		p.t.Errorf("push %s tells times %v, %v, %v", body, up, serving, ok)
	}
	p.nonces = append(p.nonces, m.Nonce)
	status := p.statuses[min(len(p.nonces), len(p.statuses))-1]
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	if status == 204 {
		p.proven = p.challenge()
	}
	w.WriteHeader(status)
}

// challenge connects back, as the provider does before it routes.
func (p *provider) challenge() bool {
	challenge := readypush.NewChallenge()
	req, _ := http.NewRequest("GET", p.watchdog()+readypush.ReadyPath, nil)
	req.Header.Set(readypush.ChallengeHeader, challenge)
	res, err := client.Do(req)
	if err != nil {
		p.t.Error(err)
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == 200 && pushToken.CheckProof(challenge, netip.MustParseAddr("127.0.0.1"), res.Header.Get(readypush.ProofHeader))
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.nonces)
}

func pushEnviron(url string) []string {
	return []string{"DC_READY_URL=" + url + "/dc/ready", "DC_FUNCTION=hello.fn", "DC_POD=hello-1", "DC_READY_TOKEN=" + pushToken.Hex()}
}

// servePush starts a watchdog that pushes to p, without the pauses between tries.
func servePush(t *testing.T, p *provider, environ ...string) *fixture {
	checkLeaks(t)
	f := prepare(t, append(environ, pushEnviron(p.URL)...)...)
	f.push.pause, f.push.client.Timeout = time.Millisecond, patience // a try that is given up is one more
	p.watchdog = func() string { return f.url }
	f.start()
	return f
}

func TestPush(t *testing.T) {
	for _, r := range []struct {
		name     string
		statuses []int
		pushes   int
		log      string
	}{
		{"accepted", []int{204}, 1, "provider told of readiness"},
		{"refused", []int{401}, 1, "provider refused the ready push"},
		{"provider not ready itself", []int{503, 500, 204}, 3, "provider told of readiness"},
		{"lost", []int{0, 0, 204}, 3, "provider told of readiness"},
		{"redirected", []int{307, 204}, 2, "provider told of readiness"},
		{"another success is none", []int{200, 204}, 2, "provider told of readiness"},
		{"refused after a loss", []int{0, 401}, 2, "provider refused the ready push"},
	} {
		t.Run(r.name, func(t *testing.T) {
			p := newProvider(t, r.statuses...)
			f := servePush(t, p, "fprocess=cat")
			f.log.waitFor(t, r.log)
			f.stop()
			if p.count() != r.pushes {
				t.Errorf("%d pushes, want %d", p.count(), r.pushes)
			}
			if accepted := strings.Contains(r.log, "told"); p.proven != accepted {
				t.Errorf("proven %v", p.proven)
			}
			slices.Sort(p.nonces)
			if len(slices.Compact(p.nonces)) != r.pushes {
				t.Error("a nonce was used twice")
			}
			if strings.Contains(f.log.String(), pushToken.Hex()) {
				t.Error("the token is in the log")
			}
		})
	}
}

func TestPush_ProviderAway(t *testing.T) {
	p := newProvider(t, 204)
	p.Close() // nobody listens
	f := servePush(t, p, "fprocess=cat")
	if got := f.do("POST", "/", "x"); got.status != 200 {
		t.Errorf("%+v", got)
	}
	f.stop()
}

func TestPush_GivesUp(t *testing.T) {
	p := newProvider(t, 500)
	checkLeaks(t)
	f := prepare(t, append(pushEnviron(p.URL), "fprocess=cat")...)
	f.push.pause, f.push.maxPause = time.Microsecond, time.Microsecond
	f.start()
	f.log.waitFor(t, "ready push given up")
	if p.count() != pushTries {
		t.Errorf("%d tries", p.count())
	}
	if got := f.do("POST", "/", "x"); got.status != 200 {
		t.Errorf("%+v", got)
	}
}

// A provider that takes the connection and says nothing holds up neither serving nor the end.
func TestPush_ProviderHangs(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f := serve(t, append(pushEnviron("http://"+ln.Addr().String()), "fprocess=cat")...)
	if got := f.do("POST", "/", "x"); got.status != 200 {
		t.Errorf("%+v", got)
	}
	begun := time.Now()
	f.stop()
	if took := time.Since(begun); took > patience/4 {
		t.Errorf("ended after %v", took)
	}
}

// In mode http the push waits for the process, and comes again when it has been away.
func TestPush_FollowsTheProcess(t *testing.T) {
	p := newProvider(t, 204)
	port := freePort(t)
	f := servePush(t, p, self(t, "server", "-delay=1s"), "mode=http", "PORT="+port)
	if now, _ := f.mode.serving(); now || p.count() != 0 {
		t.Error("pushed before the process listens")
	}
	<-p.pushed
	if !p.proven {
		t.Error("not ready when it pushed")
	}
	f.do("GET", "/close-port", "")
	if got := f.do("GET", "/_/ready", ""); got.status != 503 {
		t.Fatalf("ready without a port: %+v", got)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:"+port) // in place of the process
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	<-p.pushed
}

func TestReady_Challenge(t *testing.T) {
	p := newProvider(t, 204)
	f := servePush(t, p, "fprocess=cat")
	for _, bad := range []string{"x", "push", strings.Repeat("0", 200)} {
		got := f.do("GET", "/_/ready", "", readypush.ChallengeHeader+": "+bad)
		if got.status != 400 || got.header.Get(readypush.ProofHeader) != "" {
			t.Errorf("challenge %q: %+v", bad, got)
		}
	}
	if got := f.do("GET", "/_/ready", ""); got.status != 200 || got.header.Get(readypush.ProofHeader) != "" {
		t.Errorf("a probe: %+v", got)
	}
	t.Run("no token, no proof", func(t *testing.T) {
		f := serve(t, "fprocess=cat")
		got := f.do("GET", "/_/ready", "", readypush.ChallengeHeader+": "+readypush.NewChallenge())
		if got.status != 200 || got.header.Get(readypush.ProofHeader) != "" {
			t.Errorf("%+v", got)
		}
	})
}
