package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const (
	// watchdogPort is where a watchdog answers that stands before its function.
	watchdogPort = 8080
	// connectBackTimeout bounds the request to a watchdog that has just told that it listens.
	connectBackTimeout = time.Second
	// maxProofHeaderBytes is many times what a watchdog answers.
	maxProofHeaderBytes = 16 << 10
	// readyBodyTimeout ends pushes that send their few bytes one at a time.
	readyBodyTimeout = 5 * time.Second
	// maxConnectBacks bounds the requests to watchdogs under way, and maxRecordConnectBacks those for one function, so that
	// one that pushes without end does not take all of them. Pushes above are told to come again.
	maxConnectBacks       = 256
	maxRecordConnectBacks = 32
	// maxNonces is how many of the last nonces are refused if they come again.
	maxNonces = 16 << 10
	// pushAgainSeconds is the Retry-After of pushes above the limits.
	pushAgainSeconds = 1
)

var (
	// errRefused: a ready push did not come from where it said.
	errRefused = errors.New("ready push refused")
	// errNotReady: the replica at the push's address does not answer, or not yet.
	errNotReady = errors.New("the replica does not answer as ready at the address that it called from")
	// errTooManyPushes: too many pushes are being checked.
	errTooManyPushes = errors.New("too many ready pushes at a time")
)

// ReadyPush answers watchdogs that tell that their function can serve. Package readypush has the protocol. It is safe for
// concurrent use.
type ReadyPush struct {
	key    []byte
	lookup func(function.Ref) (*function.Function, bool)
	mark   MarkReady
	// port is where a watchdog answers that stands before its function, and beside one that stands beside it.
	port, beside uint16
	client       *http.Client
	nonces       *lru.Cache[string, struct{}]

	mu sync.Mutex
	// checking counts the connect-backs under way by the function's record; total is their sum.
	checking map[string]int
	total    int
}

// MarkReady is told of a replica whose push has proved itself: its name, its IP address, and what it says of its start. It reports false
// for one that Kubernetes does not tell of, or not yet.
type MarkReady func(ref function.Ref, id, pod, ip string, told function.Startup) bool

// NewReadyPush derives functions' tokens from key.
func NewReadyPush(key []byte, lookup func(function.Ref) (*function.Function, bool), mark MarkReady) (*ReadyPush, error) {
	if len(key) == 0 {
		return nil, errors.New("handlers: ready key missing")
	}
	nonces, err := lru.New[string, struct{}](maxNonces)
	if err != nil {
		return nil, fmt.Errorf("handlers: %w", err)
	}
	return &ReadyPush{
		key: key, lookup: lookup, mark: mark, port: watchdogPort, beside: readypush.ProbePort, nonces: nonces, checking: map[string]int{},
		client: &http.Client{
			Timeout: connectBackTimeout,
			// The address has to prove itself; one that it points to is none of ours. Nor is a proxy.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxProofHeaderBytes},
		},
	}, nil
}

// serve connects to no address before the push was found to be signed with the token of a function that exists. By then the other
// providers are told, of which each asks for itself.
func (p *ReadyPush) serve(ctx context.Context, t told) error {
	came := time.Now()
	message, err := readypush.Parse(t.body)
	if err != nil {
		return function.Invalidf("%v", err)
	}
	ref := function.ParseRef(message.Function, "")
	f, found := p.lookup(ref)
	if !found {
		return function.NotFoundf("function %q is not there", message.Function)
	}
	token := readypush.DeriveToken(p.key, message.Function, f.ID)
	if !message.Verify(token) {
		return fmt.Errorf("%w: the mac is wrong", errRefused)
	}
	if seen, _ := p.nonces.ContainsOrAdd(message.Nonce, struct{}{}); seen {
		return fmt.Errorf("%w: the nonce was seen before", errRefused)
	}
	if !p.begin(f.ID) {
		return errTooManyPushes
	}
	defer p.end(f.ID)
	t.pass()
	port := p.port
	if !f.Policy.Watchdog() {
		port = p.beside
	}
	if err := p.challenge(ctx, token, netip.AddrPortFrom(t.from, port)); err != nil {
		return err
	}
	var startup function.Startup
	if up, serving, ok := message.Times(); ok {
		startup = function.Startup{Container: came.Add(-up), Process: came.Add(-serving)}
	}
	if !p.mark(ref, f.ID, message.Pod, t.from.String(), startup) {
		return fmt.Errorf("%w: no such pod is known there", errNotReady)
	}
	return nil
}

// challenge asks the watchdog at an address to prove that it has the token and serves.
func (p *ReadyPush) challenge(ctx context.Context, token readypush.Token, at netip.AddrPort) error {
	url := "http://" + at.String() + readypush.ReadyPath
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("challenge %s: %w", at, err)
	}
	challenge := readypush.NewChallenge()
	request.Header.Set(readypush.ChallengeHeader, challenge)
	response, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotReady, err)
	}
	defer func() { _ = response.Body.Close() }() // nothing is read from it
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %d", errNotReady, response.StatusCode)
	}
	if !token.CheckProof(challenge, at.Addr(), response.Header.Get(readypush.ProofHeader)) {
		return fmt.Errorf("%w: the proof is wrong", errRefused)
	}
	return nil
}

// begin reports whether one more connect-back may be made for a record; then end has to follow.
func (p *ReadyPush) begin(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total >= maxConnectBacks || p.checking[id] >= maxRecordConnectBacks {
		return false
	}
	p.total++
	p.checking[id]++
	return true
}

func (p *ReadyPush) end(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.checking[id]--; p.checking[id] == 0 {
		delete(p.checking, id)
	}
}
