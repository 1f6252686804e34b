package watchdog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

var (
	// errBooting is given to a request that has waited for bootHold while the function did not listen.
	errBooting = errors.New("the function does not listen yet")
	// errEnded is given to a request that comes when the function's process has exited.
	errEnded = errors.New("the function's process has ended")
)

const (
	bootHold     = 30 * time.Second
	bootWarning  = 10 * time.Second
	probeTimeout = time.Second
)

// upstreamState is what is known about the process of HTTPMode.
type upstreamState int

const (
	booting   upstreamState = iota // it runs, and nothing listens at its address
	listening                      // it was heard, and has refused no connection since
	ended                          // it has exited; nothing follows
)

// upstream is the server that the function's process is, as a state machine:
//
//	          heard               exited
//	booting ◄───────► listening ─────────► ended
//	   │     refused                         ▲
//	   └─────────────────────────────────────┘
//
// It is heard when it takes a connection or, if it has a path for that, when a GET of it is answered 2xx.
type upstream struct {
	address string
	dialer  net.Dialer
	ready   string // the URL to GET; empty if it has none
	client  *http.Client
	log     *slog.Logger
	hold    time.Duration // how long a connection waits for it to listen

	mu      sync.Mutex
	state   upstreamState
	changed chan struct{} // closed at the next change of state
}

// newUpstream describes the server at base. readyPath may be empty.
func newUpstream(base *url.URL, readyPath string, log *slog.Logger) *upstream {
	u := &upstream{address: base.Host, log: log, hold: bootHold, changed: make(chan struct{})}
	if readyPath != "" {
		u.ready = strings.TrimSuffix(base.String(), "/") + readyPath
		u.client = &http.Client{
			Transport:     &http.Transport{DialContext: u.dialer.DialContext, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return u
}

// heard: it can serve.
func (u *upstream) heard() { u.move(booting, listening) }

// refused: nothing listens any more.
func (u *upstream) refused() { u.move(listening, booting) }

// exited: the process is no more.
func (u *upstream) exited() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.becomeLocked(ended)
}

// move does nothing in any other state than from: news of a connection may be overtaken by the process's exit.
func (u *upstream) move(from, to upstreamState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.state == from {
		u.becomeLocked(to)
	}
}

func (u *upstream) becomeLocked(to upstreamState) {
	u.state = to
	close(u.changed)
	u.changed = make(chan struct{})
}

// now is the state, and a channel that is closed when it changes.
func (u *upstream) now() (upstreamState, <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state, u.changed
}

// watch looks, whenever the process boots, for the moment when it listens. It returns when ctx ends or the process has.
func (u *upstream) watch(ctx context.Context) {
	for {
		state, change := u.now()
		switch state {
		case ended:
			return
		case booting:
			u.await(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-change:
		}
	}
}

// await asks at intervals that grow with the time waited, so that a wake loses 5% at most and a slow boot costs no CPU.
func (u *upstream) await(ctx context.Context) {
	started, warned := time.Now(), false
	for {
		err := u.knock(ctx)
		if err == nil {
			u.heard()
			return
		}
		waited := time.Since(started)
		if waited > bootWarning && !warned {
			u.log.Warn("the function does not listen yet", "endpoint", u.address, "err", err, "duration_seconds", waited.Seconds())
			warned = true
		}
		pause := time.NewTimer(min(max(waited/20, time.Millisecond), 50*time.Millisecond))
		state, change := u.now()
		if state != booting {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-change:
			return
		case <-pause.C:
		}
	}
}

// knock asks once whether it can serve.
func (u *upstream) knock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if u.ready != "" {
		return u.askReady(ctx)
	}
	conn, err := u.dialer.DialContext(ctx, "tcp", u.address)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (u *upstream) askReady(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.ready, nil)
	if err != nil {
		return err
	}
	res, err := u.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s answers %d", u.ready, res.StatusCode)
	}
	return nil
}

// check tells whether the process can serve now, by asking it.
func (u *upstream) check(ctx context.Context) bool {
	if state, _ := u.now(); state != listening {
		return false
	}
	err := u.knock(ctx)
	if errors.Is(err, syscall.ECONNREFUSED) {
		u.refused()
	}
	return err == nil
}

// dial connects. While nothing listens it waits for it, so that requests which come too early, or while the process opens its
// port anew, are late and not lost: none of their bytes was sent.
func (u *upstream) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	patience := time.NewTimer(u.hold)
	defer patience.Stop()
	for {
		state, change := u.now()
		switch state {
		case ended:
			return nil, errEnded
		case listening:
			conn, err := u.dialer.DialContext(ctx, "tcp", u.address)
			if !errors.Is(err, syscall.ECONNREFUSED) {
				return conn, err
			}
			u.refused()
			continue
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-patience.C:
			return nil, fmt.Errorf("%w at %s", errBooting, u.address)
		case <-change:
		}
	}
}
