package peers

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

const (
	// podHeader is the address of the pod that told what is passed on, and processHeader who passes it on.
	podHeader     = "X-Dc-Pod"
	processHeader = "X-Dc-Process"
	// passesAtOnce bounds what is being passed on: what comes beyond it is not.
	passesAtOnce = 64
)

var errNotPassed = errors.New("no provider has passed that on, or long ago")

// relay is what Pass needs.
type relay struct {
	client  *http.Client
	places  chan struct{}
	passing sync.WaitGroup

	mu        sync.Mutex
	addresses []string
	found     time.Time
}

func newRelay() *relay {
	return &relay{
		places: make(chan struct{}, passesAtOnce),
		client: &http.Client{
			Timeout:       askTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: passesAtOnce},
		},
	}
}

// Pass hands on to all other providers what a pod at an address has posted to path. They hear it as if it had been posted to them, and
// have the pod prove it. Pass does not wait. What does not arrive the watch of Kubernetes tells, a second later.
func (p *Peers) Pass(path string, body []byte, from netip.Addr) {
	select {
	case p.relay.places <- struct{}{}:
	default:
		p.cfg.Log.Debug("not passed on, too much is", "path", path)
		return
	}
	p.relay.passing.Go(func() {
		defer func() { <-p.relay.places }()
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		addresses, err := p.addresses(ctx)
		if err != nil {
			p.cfg.Log.Debug("the other providers are not known", "err", err)
			return
		}
		var posting sync.WaitGroup
		for _, address := range addresses {
			posting.Go(func() {
				if err := p.post(ctx, address, path, body, from); err != nil {
					p.cfg.Log.Debug("not passed on", "address", address, "path", path, "err", err)
				}
			})
		}
		posting.Wait()
	})
}

// Close returns when nothing is passed on any more. Pass must not be called after it.
func (p *Peers) Close() {
	p.relay.passing.Wait()
	p.relay.client.CloseIdleConnections()
}

// addresses are those of all providers, not older than an Interval: many pods tell at a time.
func (p *Peers) addresses(ctx context.Context) ([]string, error) {
	p.relay.mu.Lock()
	defer p.relay.mu.Unlock()
	if time.Since(p.relay.found) < p.cfg.Interval {
		return p.relay.addresses, nil
	}
	addresses, err := p.cfg.Providers(ctx)
	if err != nil {
		return nil, err
	}
	p.relay.addresses, p.relay.found = addresses, time.Now()
	return addresses, nil
}

func (p *Peers) post(ctx context.Context, address, path string, body []byte, from netip.Addr) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set(podHeader, from.String())
	r.Header.Set(processHeader, p.process)
	r.Header.Set(nonceHeader, newNonce())
	r.Header.Set(timeHeader, strconv.FormatInt(time.Now().Unix(), 10))
	r.Header.Set(macHeader, hex.EncodeToString(p.key.passed(r, body)))
	response, err := p.relay.client.Do(r)
	if err != nil {
		return err
	}
	// What the other makes of it is its own business.
	return response.Body.Close()
}

// passed authenticates what is passed on.
func (k key) passed(r *http.Request, body []byte) []byte {
	h := r.Header
	return mac(k, "pass", h.Get(nonceHeader), h.Get(timeHeader), r.URL.RequestURI(), h.Get(podHeader), h.Get(processHeader), string(body))
}

// Passed tells from which pod's address a request came that another provider has passed on, and the zero Addr if it was this one. is is
// false for what a pod has posted by itself. An error says that it is none of both: not by a holder of the providers' key, or too old.
func (p *Peers) Passed(r *http.Request, body []byte) (from netip.Addr, is bool, err error) {
	if r.Header.Get(podHeader) == "" {
		return netip.Addr{}, false, nil
	}
	at, err := strconv.ParseInt(r.Header.Get(timeHeader), 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)).Abs() > clockSlack || !matches(p.key.passed(r, body), r.Header.Get(macHeader)) {
		return netip.Addr{}, false, errNotPassed
	}
	if r.Header.Get(processHeader) == p.process {
		return netip.Addr{}, true, nil
	}
	from, err = netip.ParseAddr(r.Header.Get(podHeader))
	return from, true, err
}
