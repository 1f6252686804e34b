package watchdog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const (
	pushTimeout  = 2 * time.Second // of one try
	pushTries    = 10              // about 15 s in all; then Kubernetes' own probe is what tells
	pushBackoff  = 50 * time.Millisecond
	pushMaxPause = 4 * time.Second
)

// pusher tells the provider when the function becomes able to serve. It never holds anything up: if the provider cannot be
// reached, it tries again for a while and then leaves it to Kubernetes' own probe.
type pusher struct {
	cfg             PushConfig
	client          *http.Client
	log             *slog.Logger
	pause, maxPause time.Duration // before the second try, doubled for each that follows; and at most
	began           time.Time     // when this process did
}

func newPusher(cfg PushConfig, log *slog.Logger) *pusher {
	return &pusher{
		cfg:   cfg,
		log:   log,
		began: time.Now(),
		client: &http.Client{
			Timeout: pushTimeout,
			Transport: &http.Transport{
				DialContext:       (&net.Dialer{}).DialContext,
				DisableKeepAlives: true, // one call in a pod's life
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		pause:    pushBackoff,
		maxPause: pushMaxPause,
	}
}

// run pushes whenever serving becomes true, until ctx ends.
func (p *pusher) run(ctx context.Context, serving func() (bool, <-chan struct{})) {
	for {
		now, change := serving()
		if now {
			p.push(ctx, change)
		}
		select {
		case <-ctx.Done():
			return
		case <-change:
		}
	}
}

// push tries until the provider has answered for good, stale is closed, or the tries are used up.
func (p *pusher) push(ctx context.Context, stale <-chan struct{}) {
	started, pause := time.Now(), p.pause
	for try := 1; ; try++ {
		status, err := p.post(ctx, started)
		switch {
		case err == nil && status == http.StatusNoContent:
			p.log.Info("provider told of readiness", "function", p.cfg.Function, "duration_seconds", time.Since(started).Seconds())
			return
		case err == nil && status == http.StatusUnauthorized:
			p.log.Warn("provider refused the ready push", "function", p.cfg.Function, "status", status)
			return
		case ctx.Err() != nil:
			return
		case err == nil:
			err = fmt.Errorf("provider answered %d", status)
		}
		if try == pushTries {
			p.log.Warn("ready push given up, Kubernetes' probe will tell", "function", p.cfg.Function, "err", err)
			return
		}
		// Spread out, for the pods of a restarted node all push at once.
		wait := time.NewTimer(pause/2 + rand.N(pause))
		pause = min(2*pause, p.maxPause)
		select {
		case <-ctx.Done():
		case <-stale:
		case <-wait.C:
			continue
		}
		wait.Stop()
		return
	}
}

// post pushes once. The function has been able to serve since the time given.
func (p *pusher) post(ctx context.Context, since time.Time) (status int, err error) {
	body := readypush.NewMessage(p.cfg.Token, p.cfg.Function, p.cfg.Pod).
		WithTimes(p.cfg.Token, time.Since(p.began), time.Since(since)).Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := p.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	// Only the status counts; a body is read so that the connection ends in order.
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 4<<10))
	return res.StatusCode, nil
}
