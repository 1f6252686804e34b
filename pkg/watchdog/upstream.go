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

// upstream is the server that the function's process is: what is known of its life, and who waits for it. It is heard when it takes
// a connection or, if it has a path for that, when a GET of it is answered 2xx.
//
// With a park time the process is kept only while it is used: the one that owns it asks idle, and ends it; enter has it started again.
type upstream struct {
	address string
	dialer  net.Dialer
	ready   string // the URL to GET; empty if it has none
	client  *http.Client
	log     *slog.Logger
	hold    time.Duration // how long a connection waits for it to listen
	park    time.Duration // how long it may be unused; 0 means for ever

	mu      sync.Mutex
	life    life
	changed chan struct{} // closed at the next change of state
	turned  chan struct{} // closed when it becomes able to serve, or unable
	hurried chan struct{} // closed when nobody may wait for long any more

	// What follows is used with a park time only.

	users    int       // requests that have entered and not left
	used     time.Time // when the last of them left, or it was heard
	wake     *wake     // the one that is under way, or the last; the first start counts as one
	failures int       // wakes in a row that have failed
	retry    time.Time // when the next may be tried
}

// wake is one start of a parked process, shared by all who wait for it.
type wake struct {
	heard bool
	err   error // why it has failed
}

// wakeError is given to a request for which the process could not be started.
type wakeError struct {
	err    error
	paused bool // it was not tried for this request, which came too soon after the last failure
}

func (e *wakeError) Error() string { return "the function could not be started: " + e.err.Error() }
func (e *wakeError) Unwrap() error { return e.err }

// newUpstream describes the server at base. readyPath may be empty.
func newUpstream(base *url.URL, readyPath string, log *slog.Logger) *upstream {
	u := &upstream{address: base.Host, log: log, hold: bootHold, changed: make(chan struct{}), turned: make(chan struct{}),
		hurried: make(chan struct{}), used: time.Now(), wake: &wake{}}
	if readyPath != "" {
		u.ready = strings.TrimSuffix(base.String(), "/") + readyPath
		u.client = &http.Client{
			Transport:     &http.Transport{DialContext: u.dialer.DialContext, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return u
}

// heard: it can serve. This news, as that of a refusal, may be overtaken by the process's end, and means nothing then.
func (u *upstream) heard() {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.life.state
	if u.life.heard() == nil {
		u.failures, u.used, u.wake.heard = 0, time.Now(), true
		u.tellLocked(was)
	}
}

// refused: nothing listens any more.
func (u *upstream) refused() {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.life.state
	if u.life.refused() == nil {
		u.tellLocked(was)
	}
}

// exited: the process has ended by itself. It tells whether it may be woken again, once it has been stopped.
func (u *upstream) exited() (again bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.life.state
	must(u.life.exited())
	u.tellLocked(was)
	return u.life.state != ended
}

// over: the watchdog ends, and nobody is served any more.
func (u *upstream) over() {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.life.state
	u.life.over()
	u.tellLocked(was)
}

// idle tells whether the process is to be parked at now, or when to ask again.
func (u *upstream) idle(now time.Time) (park bool, again time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.life.state != listening || u.users > 0 {
		return false, u.park
	}
	if left := u.park - now.Sub(u.used); left > 0 {
		return false, left
	}
	was := u.life.state
	must(u.life.idle())
	u.tellLocked(was)
	return true, 0
}

// stopped: nothing of the process is left, as was wanted, or err is why it could not be started.
func (u *upstream) stopped(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.life.state
	must(u.life.stopped())
	if err != nil {
		u.wake.err = err
		u.retry = time.Now().Add(backoff(u.failures))
		u.failures++
	}
	u.tellLocked(was)
}

// started: the process was started for those who wait.
func (u *upstream) started() {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.life.state
	must(u.life.started())
	u.tellLocked(was)
}

func must(err error) {
	if err != nil {
		panic("watchdog: the function's process: " + err.Error())
	}
}

func (u *upstream) tellLocked(was lifeState) {
	close(u.changed)
	u.changed = make(chan struct{})
	if was.able() != u.life.state.able() {
		close(u.turned)
		u.turned = make(chan struct{})
	}
}

// hurry: the watchdog ends, and whoever waits for a process that does not listen yet waits for lastAnswers at most from now on: it may
// never listen, and would hold up the end in vain. It may be called once.
func (u *upstream) hurry() { close(u.hurried) }

// enter keeps the process from being parked until leave, which must follow whatever enter returns. If the process is parked, enter has
// it started and waits for it. The error is errEnded, errBooting, a *wakeError, or the cause of ctx's end.
func (u *upstream) enter(ctx context.Context) error {
	if u.park == 0 {
		return nil
	}
	u.mu.Lock()
	u.users++
	var patience <-chan time.Time
	for {
		mine, err := u.wantLocked(time.Now())
		if mine == nil {
			u.mu.Unlock()
			return err
		}
		change := u.changed
		u.mu.Unlock()
		if patience == nil {
			timer := time.NewTimer(u.hold)
			defer timer.Stop()
			patience = timer.C
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-patience:
			return fmt.Errorf("%w at %s", errBooting, u.address)
		case <-change:
		}
		u.mu.Lock()
		if err := mine.err; err != nil {
			u.mu.Unlock()
			return &wakeError{err: err}
		}
	}
}

// wantLocked returns the wake that a request has to wait for, and calls for one if there is none. Without one there is nothing to wait
// for, or err says that there never will be.
func (u *upstream) wantLocked(now time.Time) (*wake, error) {
	switch was := u.life.state; was {
	case booting, listening: // dial waits for one that boots
		return nil, nil
	case ended:
		return nil, errEnded
	case parked:
		if now.Before(u.retry) {
			return nil, &wakeError{err: u.wake.err, paused: true}
		}
		must(u.life.wanted())
		u.wake = &wake{}
		u.tellLocked(was)
	case parking:
		if u.wake.heard {
			return &wake{}, nil // the next one, for which it is too early
		}
	}
	return u.wake, nil
}

// leave: the request is over.
func (u *upstream) leave() {
	if u.park == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.users--
	u.used = time.Now()
}

// now is the state, and a channel that is closed when it changes.
func (u *upstream) now() (lifeState, <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.life.state, u.changed
}

// able tells whether a request would be served, and a channel that is closed when that changes.
func (u *upstream) able() (bool, <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.life.state.able(), u.turned
}

// watch looks, whenever the process has been started, for the moment when it listens. It returns when ctx ends or nothing follows.
func (u *upstream) watch(ctx context.Context) {
	for {
		state, change := u.now()
		switch state {
		case ended:
			return
		case booting, waking:
			u.await(ctx, state)
		}
		select {
		case <-ctx.Done():
			return
		case <-change:
		}
	}
}

// await asks at intervals that grow with the time waited, so that a wake loses 5% at most and a slow boot costs no CPU.
func (u *upstream) await(ctx context.Context, in lifeState) {
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
		if state != in {
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

// check tells whether a request would be served now, by asking the process. One that is parked is not asked: a request would wake it.
func (u *upstream) check(ctx context.Context) bool {
	if state, _ := u.now(); state != listening {
		return state.able()
	}
	err := u.knock(ctx)
	if errors.Is(err, syscall.ECONNREFUSED) {
		u.refused()
	}
	if err == nil {
		return true
	}
	state, _ := u.now()
	return state != listening && state.able() // it was parked meanwhile
}

// dial connects. While nothing listens it waits for it, so that requests which come too early, or while the process opens its
// port anew, are late and not lost: none of their bytes was sent.
func (u *upstream) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	patience := time.NewTimer(u.hold)
	defer patience.Stop()
	hurried := u.hurried
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
		case <-hurried:
			hurried = nil
			patience.Reset(min(u.hold, lastAnswers))
		case <-change:
		}
	}
}
