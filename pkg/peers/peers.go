package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	defaultInterval = time.Second
	// askTimeout bounds one question, and reportLife is how long a report counts when no other comes.
	askTimeout = 2 * time.Second
	reportLife = 5 * time.Second
	// overlap is how much of the time before the last report is asked for again, for what ended while it was made.
	overlap = 2 * time.Second
)

// Config joins Peers to the rest.
type Config struct {
	// Secret is what only providers know.
	Secret []byte
	// Providers finds the addresses of all providers, this one among them or not.
	Providers func(context.Context) ([]string, error)
	// Loads calls visit for every function that has a call here, or had one since, from memory.
	Loads func(since time.Time, visit func(function.Ref, Load))
	// OnUnreached is told of functions of which calls at another provider have reached no replica, by each report that says so. It must
	// not block. nil means nobody.
	OnUnreached func(function.Ref)
	// Interval is the time between two rounds. 0 means a second.
	Interval time.Duration
	// Log is told of peers that do not report. nil means none.
	Log *slog.Logger
}

// Peers knows what functions have to do at other providers, while Run runs, and tells them what they have to do here.
type Peers struct {
	cfg     Config
	key     key
	process string
	client  *http.Client
	relay   *relay

	mu sync.Mutex
	// running says that the peers are asked. listed is when they were last found.
	running bool
	listed  time.Time
	peers   map[string]*peer // by address
	// counted are the counters of all peers, those that have gone included.
	counted map[function.Ref]counters
}

type counters struct {
	started  uint64
	callTime time.Duration
	last     time.Time
}

// peer is a provider that was listed.
type peer struct {
	process string
	// heard is when it last reported, by our clock; zero if it has not.
	heard time.Time
	// since is when that report was made, by its clock.
	since     int64
	functions map[function.Ref]figure
}

// New checks cfg. It starts nothing.
func New(cfg Config) (*Peers, error) {
	if len(cfg.Secret) == 0 || cfg.Providers == nil || cfg.Loads == nil || cfg.Interval < 0 {
		return nil, errors.New("peers: Secret, Providers and Loads are needed")
	}
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Peers{
		cfg: cfg, key: deriveKey(cfg.Secret), process: newNonce(), relay: newRelay(),
		client: &http.Client{
			Timeout: askTimeout,
			// An address that a provider points to is none of ours. Nor is a proxy.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{IdleConnTimeout: time.Minute},
		},
	}, nil
}

// Run asks all peers every Interval until ctx ends. It may be called again then.
func (p *Peers) Run(ctx context.Context) error {
	p.begin(true)
	defer p.begin(false)
	defer p.client.CloseIdleConnections()
	ticker := time.NewTicker(p.cfg.Interval)
	defer ticker.Stop()
	for {
		p.round(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *Peers) begin(running bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running, p.listed = running, time.Time{}
	p.peers, p.counted = make(map[string]*peer), make(map[function.Ref]counters)
}

// Load is what a function has to do at all peers together. partial says that not all of it is known. Without Run it is nothing,
// and partial.
func (p *Peers) Load(ref function.Ref) (l Load, partial bool) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.counted[ref]
	l = Load{Started: c.started, CallTime: c.callTime, Last: c.last}
	partial = !p.running || now.Sub(p.listed) > reportLife
	for _, peer := range p.peers {
		partial = partial || now.Sub(peer.heard) > reportLife
		f := peer.functions[ref]
		l.InFlight += f.InFlight
		l.Waiting += f.Waiting
	}
	return l, partial
}

// Forget drops what is known of a function that was deleted.
func (p *Peers) Forget(ref function.Ref) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.counted, ref)
	for _, peer := range p.peers {
		delete(peer.functions, ref)
	}
}

// round finds the providers and asks all of them.
func (p *Peers) round(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	addresses, err := p.cfg.Providers(ctx)
	if err != nil {
		p.cfg.Log.Debug("the other providers are not known", "err", err)
		return
	}
	p.list(addresses)
	var asking sync.WaitGroup
	for _, address := range addresses {
		asking.Go(func() {
			if err := p.ask(ctx, address); err != nil {
				p.cfg.Log.Debug("another provider does not report", "address", address, "err", err)
			}
		})
	}
	asking.Wait()
}

// list notes who there is.
func (p *Peers) list(addresses []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listed = time.Now()
	there := make(map[string]*peer, len(addresses))
	for _, a := range addresses {
		there[a] = p.peers[a]
		if there[a] == nil {
			there[a] = &peer{}
		}
	}
	p.peers = there
}

// ask has one provider report.
func (p *Peers) ask(ctx context.Context, address string) error {
	p.mu.Lock()
	peer := p.peers[address]
	since := int64(0)
	if peer.process != "" {
		since = peer.since - int64(overlap)
	}
	p.mu.Unlock()
	r, err := p.fetch(ctx, address, since)
	if err != nil {
		return err
	}
	p.take(address, peer, r, since == 0)
	if r.Process == p.process || p.cfg.OnUnreached == nil {
		return nil
	}
	for _, f := range r.Functions {
		if f.Unreached {
			p.cfg.OnUnreached(f.ref())
		}
	}
	return nil
}

func (p *Peers) fetch(ctx context.Context, address string, since int64) (report, error) {
	url := "http://" + address + Path + "?since=" + strconv.FormatInt(since, 10)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return report{}, err
	}
	nonce := newNonce()
	p.key.sign(request, nonce, time.Now())
	response, err := p.client.Do(request)
	if err != nil {
		return report{}, err
	}
	defer func() { _ = response.Body.Close() }() // read as far as it counts
	text, err := io.ReadAll(io.LimitReader(response.Body, maxReportBytes))
	if err != nil {
		return report{}, err
	}
	if response.StatusCode != http.StatusOK {
		return report{}, fmt.Errorf("status %d", response.StatusCode)
	}
	if !p.key.told(nonce, text, response.Header.Get(macHeader)) {
		return report{}, errors.New("the report is not a provider's")
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return report{}, fmt.Errorf("read the report: %w", err)
	}
	return r, nil
}

// take adds what a report says to what is known. whole says that it has all functions.
func (p *Peers) take(address string, from *peer, r report, whole bool) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.peers[address] != from {
		return // it was taken off the list meanwhile
	}
	if r.Process == p.process {
		from.process, from.heard, from.since = r.Process, now, r.Now // it is ourselves, of whom we know all
		return
	}
	first := from.process != r.Process
	if first && !whole {
		from.process, from.heard = "", time.Time{} // another run of it: all is asked for again
		from.functions = nil
		return
	}
	if first {
		from.functions = make(map[function.Ref]figure)
	}
	for _, f := range r.Functions {
		p.countLocked(f, from.functions[f.ref()], first, now)
		from.functions[f.ref()] = f
	}
	from.process, from.heard, from.since = r.Process, now, r.Now
}

// countLocked adds what has been counted of a function since the report before. before is zero if that had nothing of it.
func (p *Peers) countLocked(f, before figure, first bool, now time.Time) {
	c := p.counted[f.ref()]
	if !first && f.Started >= before.Started && f.CallTime >= before.CallTime {
		c.started += f.Started - before.Started
		c.callTime += time.Duration(f.CallTime - before.CallTime)
	}
	if last := now.Add(-time.Duration(max(0, f.Ago))); last.After(c.last) {
		c.last = last
	}
	p.counted[f.ref()] = c
}
