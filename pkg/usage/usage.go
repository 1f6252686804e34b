package usage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const (
	// defaultTimeout is four times what a watchdog measures for when it was not asked for long.
	defaultTimeout = 2 * time.Second
	defaultLife    = 3 * time.Second
	defaultAtOnce  = 128
	// remembered is for how many functions the last look is kept.
	remembered = 4 << 10
	// maxHeaderBytes is many times what a watchdog answers.
	maxHeaderBytes = 16 << 10
)

// Config is what a Puller needs.
type Config struct {
	// Key is what functions' tokens are derived from.
	Key []byte
	// Endpoints gives the replicas of a function that may be given work, from memory.
	Endpoints func(function.Ref) []function.Endpoint
	// Timeout bounds a look. 0 means 2 s.
	Timeout time.Duration
	// Life is how long the result of a look is told again. 0 means 3 s.
	Life time.Duration
	// AtOnce is how many replicas are asked at once, of all functions together. 0 means 128.
	AtOnce int
	// Log is told at level Debug of replicas that do not tell. nil means none.
	Log *slog.Logger
}

// Puller asks replicas what they use. It is safe for concurrent use.
type Puller struct {
	cfg    Config
	client *http.Client
	asking chan struct{} // holds a token for every question under way

	mu    sync.Mutex
	looks *lru.Cache[string, *look] // by the record's ID
}

// look is one round of questions. The other fields may be read once done is closed.
type look struct {
	done  chan struct{}
	ended time.Time
	usage function.Usage
}

// New checks cfg. It starts nothing.
func New(cfg Config) (*Puller, error) {
	switch {
	case len(cfg.Key) == 0 || cfg.Endpoints == nil:
		return nil, errors.New("usage: Key and Endpoints are needed")
	case cfg.Timeout < 0 || cfg.Life < 0 || cfg.AtOnce < 0:
		return nil, errors.New("usage: a limit is negative")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Life == 0 {
		cfg.Life = defaultLife
	}
	if cfg.AtOnce == 0 {
		cfg.AtOnce = defaultAtOnce
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	looks, err := lru.New[string, *look](remembered)
	if err != nil {
		return nil, fmt.Errorf("usage: %w", err)
	}
	return &Puller{
		cfg: cfg, looks: looks, asking: make(chan struct{}, cfg.AtOnce),
		client: &http.Client{
			// An address that a replica points to is none of ours. Nor is a proxy.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			// A look is seldom, and its replicas may be gone by the next.
			Transport: &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeaderBytes},
		},
	}, nil
}

// Usage is what f's replicas use together, by a look that is not older than Life. It is not known if no replica can tell, or
// when ctx ends before they have told.
func (p *Puller) Usage(ctx context.Context, f *function.Function) (u function.Usage, known bool) {
	if !f.Policy.Watchdog() {
		return function.Usage{}, false
	}
	endpoints := p.cfg.Endpoints(f.Ref)
	if len(endpoints) == 0 {
		return function.Usage{}, false
	}
	l, mine := p.look(f.ID)
	if mine {
		// Others may share it: it goes on if this caller leaves.
		l.usage = p.ask(context.WithoutCancel(ctx), f, endpoints)
		l.ended = time.Now()
		close(l.done)
	}
	select {
	case <-l.done:
		return l.usage, l.usage.Replicas > 0
	case <-ctx.Done():
		return function.Usage{}, false
	}
}

// look returns the look to wait for; mine tells that the caller has to take it.
func (p *Puller) look(id string) (l *look, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, found := p.looks.Get(id); found {
		select {
		case <-l.done:
			if time.Since(l.ended) < p.cfg.Life {
				return l, false
			}
		default:
			return l, false
		}
	}
	l = &look{done: make(chan struct{})}
	p.looks.Add(id, l)
	return l, true
}

// ask asks all replicas and adds up what they tell.
func (p *Puller) ask(ctx context.Context, f *function.Function, endpoints []function.Endpoint) function.Usage {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	token := readypush.DeriveToken(p.cfg.Key, f.Ref.String(), f.ID)
	var (
		mu  sync.Mutex
		sum function.Usage
		all sync.WaitGroup
	)
	for _, e := range endpoints {
		select {
		case p.asking <- struct{}{}:
		case <-ctx.Done():
			p.cfg.Log.Debug("usage is not known in time", "function", f.Name, "namespace", f.Namespace, "replica", e.Replica)
			continue
		}
		all.Go(func() {
			defer func() { <-p.asking }()
			u, err := p.askOne(ctx, token, e.Address)
			if err != nil {
				p.cfg.Log.Debug("usage is not known", "function", f.Name, "namespace", f.Namespace, "replica", e.Replica, "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			add(&sum, u)
		})
	}
	all.Wait()
	return sum
}

// add adds what one replica tells.
func add(sum *function.Usage, u readypush.Usage) {
	sum.Replicas++
	sum.InFlight += u.InFlight
	sum.Served += u.Served
	sum.MilliCPU = plus(sum.MilliCPU, u.MilliCPU)
	sum.MemoryBytes = plus(sum.MemoryBytes, u.MemoryBytes)
}

// plus adds what is known.
func plus[N int64 | float64](a, b *N) *N {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	sum := *a + *b
	return &sum
}

func (p *Puller) askOne(ctx context.Context, token readypush.Token, address string) (readypush.Usage, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return readypush.Usage{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+readypush.UsagePath, nil)
	if err != nil {
		return readypush.Usage{}, err
	}
	challenge := readypush.NewChallenge()
	request.Header.Set(readypush.ChallengeHeader, challenge)
	response, err := p.client.Do(request)
	if err != nil {
		return readypush.Usage{}, err
	}
	defer func() { _ = response.Body.Close() }() // read as far as it counts
	if response.StatusCode != http.StatusOK {
		return readypush.Usage{}, fmt.Errorf("status %d", response.StatusCode)
	}
	sealed, err := io.ReadAll(io.LimitReader(response.Body, readypush.MaxUsageBytes))
	if err != nil {
		return readypush.Usage{}, err
	}
	return token.OpenUsage(challenge, at.Addr(), sealed)
}
