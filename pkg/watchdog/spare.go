package watchdog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const (
	spareTimeout  = 10 * time.Second       // of one request, either way
	callTimeout   = 5 * time.Second        // of one call of the provider, which asks back and asks Kubernetes meanwhile
	callBackoff   = 100 * time.Millisecond // before the second call, doubled for each that follows
	callMaxPause  = 15 * time.Second
	callAgain     = 10 * time.Minute // after a call that was heard: a provider that has forgotten us may not ask by itself
	maxSpareHead  = 8 << 10
	maxSpareConns = 64 // with whom nobody knows
	maxTokenBytes = 16 << 10
)

// Spare waits in a pod of the warm pool for what it shall become. It runs no function: once it has kept an assignment, the container
// is started again, in the function's image, and PoolConfig.Claim goes on from there.
type Spare struct {
	cfg    PoolConfig
	key    *assignment.SpareKey
	log    *slog.Logger
	client *http.Client

	pause, maxPause, again time.Duration // between calls

	mu       sync.Mutex
	assigned string        // the function's NAME.NAMESPACE; empty while free
	taken    chan struct{} // closed when assigned
}

// NewSpare prepares a spare with a key of its own. assigned is what the pod was assigned before this process started, nil if nothing.
func NewSpare(cfg PoolConfig, assigned *assignment.Assignment, log *slog.Logger) (*Spare, error) {
	key, err := assignment.NewSpareKey(cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", assignment.EnvKey, err)
	}
	s := &Spare{cfg: cfg.withDefaults(), key: key, log: log, pause: callBackoff, maxPause: callMaxPause, again: callAgain, taken: make(chan struct{}),
		client: &http.Client{
			Timeout:       callTimeout,
			Transport:     &http.Transport{DialContext: (&net.Dialer{}).DialContext, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if assigned != nil {
		s.assigned = assigned.Function
		close(s.taken)
	}
	return s, nil
}

// Run serves on the configured port until ctx ends: see Serve.
func (s *Spare) Run(ctx context.Context) error {
	ln, err := net.Listen("tcp", ":"+strconv.Itoa(s.cfg.Port))
	if err != nil {
		return err
	}
	return s.Serve(ctx, ln)
}

// Serve serves on ln until ctx ends, and then returns nil at once: nobody is served whom that could hurt. A request that is under way
// then may go on for a moment.
func (s *Spare) Serve(ctx context.Context, ln net.Listener) error {
	defer ln.Close() // a second time does no harm
	lock, err := lockFolder(s.cfg.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if s.free() {
		if err := s.clean(); err != nil {
			return err
		}
	}
	srv := &http.Server{
		Handler: http.HandlerFunc(s.route), ReadTimeout: spareTimeout, WriteTimeout: spareTimeout, MaxHeaderBytes: maxSpareHead,
		ErrorLog:  slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnState: boundConns(maxSpareConns),
	}
	srv.SetKeepAlivesEnabled(false) // whoever asks asks seldom, and memory is what a spare must not need
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	s.log.Info("spare", "address", ln.Addr().String(), "replica", s.cfg.Pod, "function", s.assignedTo())
	background, end := context.WithCancel(ctx)
	var calls sync.WaitGroup
	calls.Go(func() { s.call(background) })
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	end()
	_ = srv.Close() // whoever is cut off asks again
	calls.Wait()
	return err
}

// boundConns makes a server close connections above most at once: anybody in the cluster may make some, and a spare has little memory.
func boundConns(most int32) func(net.Conn, http.ConnState) {
	var open atomic.Int32
	return func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			if open.Add(1) > most {
				// It goes on to StateClosed.
				_ = c.Close()
			}
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
}

// lockFolder sees to it that no two spares write there. The lock goes with the file, or the process.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of the assignment: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("folder of the assignment %s is another spare's: %w", dir, err), f.Close())
	}
	return f, nil
}

// clean removes what a spare left that was killed while it wrote, so that nothing of that function is found by another.
func (s *Spare) clean() error {
	if err := removeTemps(s.cfg.Dir); err != nil {
		return fmt.Errorf("folder of the assignment: %w", err)
	}
	if err := os.Remove(filepath.Join(s.cfg.Dir, readyTokenFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("folder of the assignment: %w", err)
	}
	return nil
}

func (s *Spare) free() bool { return s.assignedTo() == "" }

func (s *Spare) assignedTo() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.assigned
}

func (s *Spare) route(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/_/health" && r.Method == http.MethodGet:
		// A prober that went away needs no answer.
		_, _ = io.WriteString(w, "OK")
	case r.URL.Path == readypush.ReadyPath && r.Method == http.MethodGet && s.free():
		// It is ready for what it is there for. A probe that failed every two seconds would be an event each time, which the API
		// server writes down: more work than all else that a spare makes. One that was assigned is not, for it may be taken for its
		// function if it is started again.
		_, _ = io.WriteString(w, "OK")
	case r.URL.Path == assignment.Path && r.Method == http.MethodGet:
		s.identify(w, r)
	case r.URL.Path == assignment.Path && r.Method == http.MethodPost:
		s.assign(w, r)
	case r.URL.Path == "/_/health" || r.URL.Path == assignment.Path:
		w.WriteHeader(http.StatusMethodNotAllowed)
	default:
		// Calls that come too early, and readiness when a function is to come.
		http.Error(w, "a spare of the warm pool, with no function yet", http.StatusServiceUnavailable)
	}
}

// identify tells the provider who this is. Anybody may ask, and nobody else can read the answer.
func (s *Spare) identify(w http.ResponseWriter, r *http.Request) {
	challenge := r.Header.Get(readypush.ChallengeHeader)
	if err := readypush.CheckChallenge(challenge); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// It is renewed by the kubelet now and then.
	token, err := readFileLinked(s.cfg.TokenFile, maxTokenBytes)
	if err != nil {
		s.log.Warn("no service-account token", "err", err)
		http.Error(w, "the pod has no service-account token", http.StatusServiceUnavailable)
		return
	}
	me := assignment.Spare{Pod: s.cfg.Pod, UID: s.cfg.UID, Function: s.assignedTo()}
	sealed, err := s.key.SealIdentity(challenge, localIP(r), me, strings.TrimSpace(string(token)))
	if err != nil {
		s.log.Warn("spare cannot tell who it is", "err", err)
		http.Error(w, "the pod cannot tell who it is", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	// Whoever has left needs no answer.
	_, _ = w.Write(sealed)
}

// readFileLinked is for what Kubernetes mounts, where files are links.
func readFileLinked(path string, maxBytes int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxBytes))
}

// assign keeps the one assignment that a spare ever gets.
func (s *Spare) assign(w http.ResponseWriter, r *http.Request) {
	if !s.free() {
		w.WriteHeader(http.StatusConflict)
		return
	}
	a, err := s.key.Open(r.Body, s.cfg.Pod, s.cfg.UID)
	if err != nil {
		s.refuse(w, statusOfRefusal(err), err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.assigned != "" {
		w.WriteHeader(http.StatusConflict)
		return
	}
	switch err := s.cfg.keep(*a); {
	case errors.Is(err, fs.ErrExist):
		s.refuse(w, http.StatusConflict, err)
	case err != nil:
		s.refuse(w, http.StatusInsufficientStorage, err)
	default:
		s.assigned = a.Function
		close(s.taken)
		s.log.Info("spare assigned", "function", a.Function, "replica", s.cfg.Pod)
		w.WriteHeader(http.StatusNoContent)
	}
}

func statusOfRefusal(err error) int {
	switch {
	case errors.Is(err, assignment.ErrSealed):
		return http.StatusUnauthorized
	case errors.Is(err, assignment.ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

// refuse leaves the reason to the log: it may name what is in an assignment, and the answer can be read on its way.
func (s *Spare) refuse(w http.ResponseWriter, status int, err error) {
	s.log.Warn("assignment refused", "status", status, "err", err)
	http.Error(w, http.StatusText(status), status)
}

// call tells the provider of this spare until it has heard, and again every few minutes, until there is an assignment or ctx ends.
func (s *Spare) call(ctx context.Context) {
	if s.cfg.URL == "" {
		return
	}
	for pause := s.pause; ; {
		select {
		case <-s.taken:
			return
		default:
		}
		wait := pause/2 + rand.N(pause) // spread out, for all spares call when the provider comes back
		switch err := s.post(ctx); {
		case err == nil:
			wait, pause = s.again, s.pause
		case ctx.Err() != nil:
			return
		default:
			s.log.Debug("provider does not know this spare yet", "err", err)
			pause = min(2*pause, s.maxPause)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-s.taken:
		case <-timer.C:
			continue
		}
		timer.Stop()
		return
	}
}

func (s *Spare) post(ctx context.Context) error {
	body := bytes.NewReader(assignment.Call{Pod: s.cfg.Pod}.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.URL, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	// Only the status counts; a body is read so that the connection ends in order.
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 4<<10))
	if res.StatusCode != http.StatusNoContent {
		return fmt.Errorf("provider answered %d", res.StatusCode)
	}
	return nil
}
