package watchdog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dragonchain/dc-provider/pkg/http1"
)

const (
	// upstreamIdle is when an unused connection to the function is closed. It must be less than servers wait (gunicorn 2 s, Node 5 s):
	// a request that meets their close is lost.
	upstreamIdle = time.Second

	// groupPause is between two looks at a group whose leader has exited: the kernel tells nobody when the others do.
	groupPause = 10 * time.Millisecond

	copyBytes = 32 << 10
)

// httpMode runs one process that serves HTTP, and forwards to it.
type httpMode struct {
	cfg    *Config
	procs  *processes
	up     *upstream
	pool   *http1.Pool            // of connections to the process
	base   string                 // what its paths begin with
	proxy  *httputil.ReverseProxy // for what comes through net/http
	stdout *lineLog
	stderr *lineLog
	log    *slog.Logger
	grace  time.Duration // what the process gets to end by itself
	drop   func()        // closes the connections to the process that are kept

	program program // set by start
	proc    *process
	pipes   []*os.File
	readers sync.WaitGroup
}

func newHTTPMode(cfg *Config, procs *processes, log *slog.Logger, stdout, stderr *Sink) *httpMode {
	m := &httpMode{
		cfg:    cfg,
		procs:  procs,
		up:     newUpstream(cfg.Upstream, cfg.ReadyPath, log),
		stdout: newLineLog(stdout, "stdout", cfg.PrefixLogs, cfg.LineBytes),
		stderr: newLineLog(stderr, "stderr", cfg.PrefixLogs, cfg.LineBytes),
		log:    log,
		grace:  processGrace,
	}
	m.up.park = cfg.Park
	transport := &http.Transport{
		DialContext:           m.up.dial,
		DisableCompression:    true, // or bodies would be compressed and decompressed inside the pod, and lose their length
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       upstreamIdle,
		ExpectContinueTimeout: time.Second,
	}
	pool, err := http1.NewPool(http1.PoolConfig{
		Address:     cfg.Upstream.Host,
		Dial:        func(ctx context.Context) (net.Conn, error) { return m.up.dial(ctx, "", "") },
		IdleTimeout: upstreamIdle,
	})
	if err != nil {
		panic("watchdog: " + err.Error()) // Config.check has seen to it that there is an address
	}
	m.pool, m.base = pool, strings.TrimSuffix(cfg.Upstream.EscapedPath(), "/")
	m.drop = func() {
		transport.CloseIdleConnections()
		pool.CloseIdle()
	}
	m.proxy = &httputil.ReverseProxy{
		Rewrite:        m.rewrite,
		ModifyResponse: m.stampDuration,
		ErrorHandler:   m.broken,
		FlushInterval:  -1, // whatever the function writes is on its way at once
		BufferPool:     &bufferPool{},
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Transport:      transport,
	}
	return m
}

// start finds the program and starts the process.
func (m *httpMode) start() (err error) {
	if m.program, err = findProgram(m.cfg.Command); err != nil {
		return err
	}
	return m.spawn()
}

// spawn starts the process. Its stdin stays open and empty, for servers that end when it does.
func (m *httpMode) spawn() error {
	m.pipes = nil
	var childs [3]int
	for i, pipe := range []func() (*os.File, int, error){inPipe, outPipe, outPipe} {
		ours, fd, err := pipe()
		if err != nil {
			m.closePipes()
			return err
		}
		defer closeFD(fd)
		m.pipes, childs[i] = append(m.pipes, ours), fd
	}
	var err error
	if m.proc, err = m.procs.start(m.program, m.cfg.Environ, childs[0], childs[1], childs[2]); err != nil {
		m.closePipes()
		return err
	}
	stdout, stderr := newTeePipe(m.pipes[1], io.Discard), newTeePipe(m.pipes[2], io.Discard)
	m.readers.Go(func() { m.stdout.copy(stdout) })
	m.readers.Go(func() { m.stderr.copy(stderr) })
	return nil
}

// serve watches over the process, one after the other if it is parked. It returns an error when the process ends by itself, whatever
// its status: a server that has exited serves nobody, and Kubernetes starts the container again. When ctx ends it asks the process to
// end, and makes it.
func (m *httpMode) serve(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { m.up.watch(watching) })
	defer watch.Wait()
	defer stop()
	defer m.up.over()
	for {
		again, err := m.attend(ctx)
		if !again || !m.awaken(ctx) {
			return err
		}
	}
}

// attend returns when nothing is left of the process. It tells whether the next request is to start it again.
func (m *httpMode) attend(ctx context.Context) (again bool, err error) {
	var idle <-chan time.Time
	if m.cfg.Park > 0 {
		timer := time.NewTimer(m.cfg.Park)
		defer timer.Stop()
		idle = timer.C
	}
	for {
		select {
		case <-m.proc.exited():
			again = m.up.exited()
			err = endedWith(m.finish())
			if again {
				m.log.Warn("the function's process has ended before it listened, the next request starts it again", "err", err)
				m.up.stopped(err)
				return true, nil
			}
			return false, err
		case <-ctx.Done():
			m.terminate()
			m.up.over()
			m.finish()
			return false, nil
		case <-idle:
			park, left := m.up.idle(time.Now())
			if !park {
				idle = time.After(left)
				continue
			}
			m.terminate()
			m.finish()
			m.log.Info("parked: the next request starts the function's process", "park", m.cfg.Park.String())
			m.up.stopped(nil)
			return true, nil
		}
	}
}

// finish takes the process's exit and logs what it wrote last. Nothing of it is left then, nor a connection that the next might be
// taken for.
func (m *httpMode) finish() syscall.WaitStatus {
	status := m.proc.end()
	m.closePipes()
	m.drop()
	return status
}

func endedWith(status syscall.WaitStatus) error {
	if text := exitText(status); text != "" {
		return fmt.Errorf("%w: %s", errEnded, text)
	}
	return fmt.Errorf("%w: exit status 0", errEnded)
}

// awaken waits until a request wants the parked process, and starts it. It returns false when ctx ends.
func (m *httpMode) awaken(ctx context.Context) bool {
	for {
		state, change := m.up.now()
		if state != called {
			select {
			case <-ctx.Done():
				return false
			case <-change:
			}
			continue
		}
		err := m.spawn()
		if err == nil {
			m.up.started()
			return true
		}
		m.log.Warn("the function's process could not be started", "err", err)
		m.up.stopped(err)
	}
}

// terminate asks the whole group to end and gives it m.grace: a leader such as a shell may be gone long before what it has started.
func (m *httpMode) terminate() {
	m.proc.signal(syscall.SIGTERM)
	grace := time.NewTimer(m.grace)
	defer grace.Stop()
	select {
	case <-m.proc.exited():
	case <-grace.C:
		m.log.Warn("the function's process did not end in time and is killed", "duration_seconds", m.grace.Seconds())
		return
	}
	look := time.NewTicker(groupPause)
	defer look.Stop()
	for m.proc.groupLives() {
		select {
		case <-look.C:
		case <-grace.C:
			m.log.Warn("what the function's process started did not end in time and is killed", "duration_seconds", m.grace.Seconds())
			return
		}
	}
}

// closePipes logs what the process wrote last. Only one that escaped into a session of its own can still hold a pipe open.
func (m *httpMode) closePipes() {
	for _, p := range m.pipes {
		giveUpAfter(p, stderrPatience)
	}
	m.readers.Wait()
	for _, p := range m.pipes {
		_ = p.Close() // read to its end, or never written
	}
}

func (m *httpMode) serving() (bool, <-chan struct{}) { return m.up.able() }

func (m *httpMode) check(ctx context.Context) bool { return m.up.check(ctx) }

// exchange is what the hooks of the proxy need to know about a request.
type exchange struct {
	started time.Time
	stream  bool
}

type exchangeKey struct{}

// ServeHTTP forwards one request.
func (m *httpMode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		w.WriteHeader(http.StatusMethodNotAllowed) // there is no path to forward
		return
	}
	ex := exchange{started: time.Now(), stream: isStream(r)}
	limit := limitOf(m.cfg, r)
	if ex.stream {
		limit = askedLimit(r)
	}
	ctx, cancel := withLimit(context.WithValue(r.Context(), exchangeKey{}, ex), limit)
	defer cancel()
	// The answer may begin before the request has ended. HTTP/1.1 connections can do it; an error means that this one cannot.
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex()
	if end := lesser(limit, m.cfg.WriteTimeout); end > 0 {
		// A caller that does not read must not hold its place for longer either. net/http takes the deadline back afterwards.
		_ = control.SetWriteDeadline(ex.started.Add(end + writeGrace))
	}
	r = r.WithContext(ctx)
	defer m.note(w, r, ex.started) // deferred, for an answer that breaks off is a panic
	if m.cfg.BufferBody && r.ContentLength != 0 {
		body, err := m.spoolRequest(w, r)
		if err != nil {
			m.broken(w, r, err)
			return
		}
		defer body.close()
	}
	defer m.up.leave()
	if err := m.up.enter(ctx); err != nil {
		m.broken(w, r, err)
		return
	}
	m.proxy.ServeHTTP(w, r)
}

// spoolRequest puts what spool keeps in the place of r's body.
func (m *httpMode) spoolRequest(w http.ResponseWriter, r *http.Request) (*spooled, error) {
	defer endReading(r.Context(), w)()
	body, err := m.spool(r.Body, r.ContentLength)
	var spool *spoolError
	switch {
	case err == nil:
		r.Body, r.ContentLength, r.TransferEncoding, r.Trailer = io.NopCloser(body), body.length, nil, nil
		return body, nil
	case errors.As(err, &spool) || errors.Is(r.Context().Err(), context.DeadlineExceeded):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded): // net/http has ended the context for it
		return nil, http1.ErrBodyTimeout
	case r.Context().Err() != nil:
		return nil, err
	}
	return nil, errors.Join(http1.ErrBody, err)
}

// note is the line of the access log.
func (m *httpMode) note(w http.ResponseWriter, r *http.Request, started time.Time) {
	status := 0
	if cw, ok := w.(*closingWriter); ok {
		status = cw.outcome()
	}
	m.log.Log(r.Context(), m.level(strings.HasPrefix(r.UserAgent(), prober)), "invocation ended", "method", r.Method, "path", r.URL.Path,
		"call_id", r.Header.Get("X-Call-Id"), "status", status, "duration_seconds", time.Since(started).Seconds())
}

// level is that of the access log.
func (m *httpMode) level(probe bool) slog.Level {
	if m.cfg.AccessLog && !probe {
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// isStream tells a request that is expected to last, which exec_timeout does not end.
func isStream(r *http.Request) bool {
	accept := strings.ToLower(strings.Join(r.Header["Accept"], ","))
	return isWebSocket(r) || strings.Contains(accept, "text/event-stream") || strings.Contains(accept, "application/x-ndjson")
}

// isWebSocket tells a request that ReverseProxy forwards as an upgrade too. An Upgrade header alone is not forwarded, and what else it
// may name, such as h2c, which clients offer with any request, is no reason to expect that it lasts.
func isWebSocket(r *http.Request) bool {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return false
	}
	for token := range strings.SplitSeq(strings.Join(r.Header["Connection"], ","), ",") {
		if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
			return true
		}
	}
	return false
}

// forwarded are headers that ReverseProxy removes, for a proxy at the edge must not trust them. We stand behind one that may have
// set them.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// rewrite sends the request to the function as it came: host, path and query untouched.
func (m *httpMode) rewrite(pr *httputil.ProxyRequest) {
	pr.SetURL(m.cfg.Upstream)
	pr.Out.Host = pr.In.Host
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // ReverseProxy has dropped what it could not parse
	for _, name := range forwarded {
		if values := pr.In.Header[name]; len(values) > 0 {
			pr.Out.Header[name] = values
		}
	}
}

func (m *httpMode) stampDuration(res *http.Response) error {
	if ex := exchangeOf(res.Request); !ex.stream {
		res.Header.Set("X-Duration-Seconds", seconds(time.Since(ex.started)))
	}
	return nil
}

func exchangeOf(r *http.Request) exchange {
	ex, ok := r.Context().Value(exchangeKey{}).(exchange)
	if !ok {
		panic("watchdog: a proxied request without its exchange")
	}
	return ex
}

// broken answers a request for which the function gave no answer.
func (m *httpMode) broken(w http.ResponseWriter, r *http.Request, err error) {
	ex := exchangeOf(r)
	late := errors.Is(r.Context().Err(), context.DeadlineExceeded)
	f := m.failureOf(err, late)
	switch {
	case !f.unexplained:
	case r.Context().Err() != nil:
		m.log.Debug("caller went away", "path", r.URL.Path, "status", statusCallerGone)
		panic(http.ErrAbortHandler) // so that no empty 200 goes to a client that has only closed its sending side
	default:
		m.log.Warn("the function gave no answer", "path", r.URL.Path, "call_id", r.Header.Get("X-Call-Id"), "err", err)
	}
	status, internal, body := m.wording(f)
	h := w.Header()
	h.Set("X-Duration-Seconds", seconds(time.Since(ex.started)))
	h.Set("X-OpenFaaS-Internal", internal)
	if f.later {
		h.Set("Retry-After", "1")
	}
	if body == "" {
		w.WriteHeader(status)
		return
	}
	http.Error(w, strings.TrimSuffix(body, "\n"), status)
}

// failure is what a caller is told when the function gave no answer.
type failure struct {
	status      int
	reason      string
	later       bool // it may be tried again
	unexplained bool
}

// failureOf tells what err comes to, for a request that was late or not.
func (m *httpMode) failureOf(err error, late bool) failure {
	state, _ := m.up.now()
	var wake *wakeError
	var spool *spoolError
	switch {
	case errors.As(err, &spool):
		return m.unspooled(spool)
	case errors.Is(err, http1.ErrBody):
		return failure{status: http.StatusBadRequest, reason: "malformed body"}
	case errors.Is(err, http1.ErrBodyTimeout):
		return failure{status: http.StatusRequestTimeout, reason: "the body did not come in time"}
	case errors.As(err, &wake) && wake.paused:
		return failure{status: http.StatusServiceUnavailable, reason: wake.Error(), later: true}
	case errors.As(err, &wake):
		return failure{status: http.StatusBadGateway, reason: wake.Error()}
	case errors.Is(err, errBooting) || late && state != listening && state != ended:
		return failure{status: http.StatusServiceUnavailable, reason: errBooting.Error(), later: true}
	case late:
		return failure{status: http.StatusGatewayTimeout, reason: "the function ran out of time"}
	}
	return failure{status: http.StatusBadGateway, reason: "the function gave no answer", unexplained: true}
}

// wording is how a failure is told in the dialect. The of-watchdog knew two statuses and no body, and did not look at requests.
func (m *httpMode) wording(f failure) (status int, internal, body string) {
	if m.cfg.Dialect != Of {
		return f.status, "dc-watchdog", f.reason + "\n"
	}
	if f.status >= http.StatusInternalServerError && f.status != http.StatusGatewayTimeout {
		f.status = http.StatusInternalServerError
	}
	return f.status, "of-watchdog", ""
}

// bufferPool lends the buffers that bodies are copied through.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[copyBytes]byte); ok {
		return b[:]
	}
	return make([]byte, copyBytes)
}

func (p *bufferPool) Put(b []byte) { p.pool.Put((*[copyBytes]byte)(b)) }
