package watchdog

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// forkMode runs a process for every invocation.
type forkMode struct {
	cfg     *Config
	program func() (program, error)
	procs   *processes
	environ *requestEnviron
	told    *requestEnviron // what is in the file of DC_REQUEST_FILE; nil without prefork
	reserve *reserve
	stdout  *Sink
	stderr  *lineLog
	log     *slog.Logger
	null    *os.File // stdin of an invocation without a body
	nullFD  int      // its descriptor; asking for it anew would make it block, again and again

	bodyBytes, outputBytes int           // what may be held of one invocation
	stall                  time.Duration // how long a caller may read nothing of its answer
}

func newForkMode(cfg *Config, procs *processes, log *slog.Logger, stdout, stderr *Sink) *forkMode {
	base := cfg.Environ
	if cfg.Prefork > 0 {
		base = append(slices.Clip(base), requestFile)
	}
	m := &forkMode{
		cfg:     cfg,
		program: sync.OnceValues(func() (program, error) { return findProgram(cfg.Command) }),
		procs:   procs,
		environ: newRequestEnviron(base, environRules(cfg)),
		stdout:  stdout,
		stderr:  newLineLog(stderr, "stderr", cfg.PrefixLogs, cfg.LineBytes),
		log:     log,

		bodyBytes:   forkBytes(cfg.BodyBytes),
		outputBytes: forkBytes(cfg.OutputBytes),
		stall:       answerStall,
	}
	if cfg.Prefork > 0 {
		m.told = newRequestEnviron(nil, environRules(cfg))
	}
	m.reserve = newReserve(cfg.Prefork, m.startWaiting, log)
	return m
}

// forkBytes leaves room for the one byte more that is read to tell that there is more.
func forkBytes(configured int) int { return min(cmp.Or(configured, defaultForkBytes), math.MaxInt-1) }

// start finds the program. In our own dialect a function without one never gets ready, so that an update to it leaves the old
// version serving; in the others every call of it answers 500, as it always did.
func (m *forkMode) start() (err error) {
	if _, err := m.program(); err != nil {
		if m.cfg.Dialect == Native {
			return err
		}
		m.log.Warn("the function's program was not found, every call will fail", "err", err)
	}
	if m.null, err = os.Open(os.DevNull); err == nil {
		m.nullFD = int(m.null.Fd())
	}
	return err
}

// serve waits for ctx's end, kills what still runs, and waits for it.
func (m *forkMode) serve(ctx context.Context) error {
	m.reserve.run(ctx)
	<-ctx.Done()
	m.procs.endAll()
	return m.null.Close()
}

// serving is true as long as this program runs: the next process can always be tried.
func (m *forkMode) serving() (bool, <-chan struct{}) { return true, nil }

// check runs the function on its ready path, if it has one, and asks for a good end.
func (m *forkMode) check(ctx context.Context) bool {
	if m.cfg.ReadyPath == "" {
		return true
	}
	ctx, cancel := withLimit(ctx, lesser(probeTimeout, m.cfg.ExecTimeout))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.cfg.ReadyPath, http.NoBody)
	if err != nil {
		return false
	}
	vars, err := m.varsFor(r)
	if err != nil {
		return false
	}
	_, err = m.runNew(ctx, vars, nil) // one that waits is for a caller
	return err == nil
}

// ServeHTTP is one invocation, by the rules of the classic watchdog.
func (m *forkMode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !allowedMethod(r.Method) {
		w.Header().Set("Allow", "GET, POST, PUT, PATCH, DELETE")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	m.invoke(w, r, m.answer)
}

// invoke is one invocation whose request and output are held in memory as a whole. answer turns the outcome into a response.
func (m *forkMode) invoke(w http.ResponseWriter, r *http.Request, answer answerer) {
	started := time.Now()
	// Counted from here, as write_timeout is by net/http, so that whatever happens is answered in time.
	ctx, cancel := withLimit(r.Context(), limitOf(m.cfg, r))
	defer cancel()
	m.debugHeaders("in", r.Header)
	stdin, err := m.readBody(ctx, w, r)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		answer(w, r, nil, ctx.Err(), time.Since(started))
		return
	case err == errBodyTooBig:
		m.refuseBody(w, r)
		return
	case err != nil:
		m.refuse(w, requestStatus(err), err)
		return
	}
	vars, err := m.varsFor(r)
	if err != nil {
		m.refuse(w, requestStatus(err), err)
		return
	}
	if m.cfg.MarshalRequest {
		stdin = marshalRequest(r.Header, stdin)
	}
	defer m.reserve.release()
	output, err := m.run(ctx, vars, stdin)
	answer(w, r, output, err, time.Since(started))
}

// answerer turns the outcome of an invocation into a response. The error is one of those of run.
type answerer func(w http.ResponseWriter, r *http.Request, output []byte, err error, took time.Duration)

func allowedMethod(method string) bool {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return true
	}
	return false
}

// refusedBody is how long the body of a request that was refused may go on to come.
const refusedBody = 5 * time.Second

// errBodyTooBig refuses a request that is longer than may be held.
var errBodyTooBig = errors.New("the request's body is longer than fork_body_bytes allows")

// readBody reads the whole body before anything is started, so that a request which breaks off runs nothing. It ends with ctx.
func (m *forkMode) readBody(ctx context.Context, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	most := int64(m.bodyBytes)
	if r.ContentLength > most {
		return nil, errBodyTooBig
	}
	defer endReading(ctx, w)()
	var body bytes.Buffer
	if n := r.ContentLength; n > 0 {
		// Room for what is announced, but only so much on the client's word.
		body.Grow(int(min(n+bytes.MinRead, 1<<20)))
	}
	n, err := body.ReadFrom(io.LimitReader(r.Body, most+1))
	if n > most {
		return nil, errBodyTooBig
	}
	return body.Bytes(), err
}

// endReading ends the read of a request's body that is pending when ctx ends, until release is called.
func endReading(ctx context.Context, w http.ResponseWriter) (release func()) {
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(over)
		// A connection that cannot do it has gone.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	})
	return func() {
		if !stop() {
			<-over // or the next request on this connection could meet the deadline
		}
	}
}

func (m *forkMode) varsFor(r *http.Request) (v requestVars, err error) {
	v.environ = m.environ.base
	if !m.cfg.NoHeaders {
		if v.environ, err = m.environ.of(r); err != nil {
			return v, err
		}
	}
	if m.told == nil {
		return v, nil
	}
	v.file = []byte{}
	if !m.cfg.NoHeaders {
		told, err := m.told.of(r)
		if err != nil {
			return v, err
		}
		v.file = requestBytes(told)
	}
	return v, nil
}

// marshalRequest is the form that marshal_request promises.
func marshalRequest(header http.Header, body []byte) []byte {
	if body == nil {
		body = []byte{} // "" and not null
	}
	type raw struct {
		Raw []byte `json:"raw"`
	}
	data, err := json.Marshal(struct {
		Header http.Header `json:"header"`
		Body   raw         `json:"body"`
	}{header, raw{body}})
	if err != nil {
		panic("watchdog: headers and bytes have no JSON: " + err.Error())
	}
	return data
}

// answer turns the outcome into a response.
func (m *forkMode) answer(w http.ResponseWriter, r *http.Request, output []byte, err error, took time.Duration) {
	var exit *exitError
	var spawn *spawnError
	status := http.StatusOK
	defer func() { m.note(r, status, int64(len(output)), err, took) }()
	switch {
	case err == nil:
		m.succeed(w, r, output, took)
	case errors.As(err, &exit):
		status = http.StatusInternalServerError
		m.text(w, status, append(fmt.Appendln(nil, exit), output...))
	case errors.As(err, &spawn):
		status = spawnStatus(spawn)
		m.text(w, status, fmt.Appendln(nil, err))
	case errors.Is(err, errOutputTooBig):
		status = http.StatusInternalServerError
		m.text(w, status, fmt.Appendln(nil, err))
	case errors.Is(err, context.DeadlineExceeded):
		status = m.timedOut(w)
	default:
		status = statusCallerGone
		panic(http.ErrAbortHandler) // so that no empty 200 goes to a client that has only closed its sending side
	}
}

const (
	// statusCallerGone is for the log only, as elsewhere.
	statusCallerGone = 499
	// prober begins the name of what asks for nothing that an access log should tell.
	prober = "kube-probe"
)

func (m *forkMode) succeed(w http.ResponseWriter, r *http.Request, output []byte, took time.Duration) {
	h := w.Header()
	if ct := m.cfg.ContentType; ct != "" {
		h.Set("Content-Type", ct)
	} else if ct := r.Header.Get("Content-Type"); ct != "" {
		h.Set("Content-Type", ct)
	}
	h.Set("X-Duration-Seconds", seconds(took))
	h.Set("Content-Length", strconv.Itoa(len(output)))
	m.debugHeaders("out", h)
	m.send(w, http.StatusOK, output)
	if m.cfg.Debug {
		_, _ = m.stdout.Write(append(bytes.Clone(output), '\n'))
	}
}

func (m *forkMode) timedOut(w http.ResponseWriter) int {
	if m.cfg.Dialect == Classic {
		m.text(w, http.StatusRequestTimeout, []byte("Killed process.\n"))
		return http.StatusRequestTimeout
	}
	m.text(w, http.StatusGatewayTimeout, []byte("the function ran out of time\n"))
	return http.StatusGatewayTimeout
}

func (m *forkMode) refuse(w http.ResponseWriter, status int, err error) {
	m.text(w, status, fmt.Appendln(nil, err))
}

func (m *forkMode) text(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	m.debugHeaders("out", w.Header())
	m.send(w, status, body)
}

// send writes the answer as fast as the caller reads it. One that reads nothing for a while is given up, or it would hold its place for
// as long as it likes. With a write_timeout net/http gives it up.
func (m *forkMode) send(w http.ResponseWriter, status int, body []byte) {
	w.WriteHeader(status)
	control := http.NewResponseController(w)
	for chunk := range slices.Chunk(body, copyBytes) {
		if m.cfg.WriteTimeout <= 0 {
			// A connection that can have no deadline has gone.
			_ = control.SetWriteDeadline(time.Now().Add(m.stall))
		}
		if _, err := w.Write(chunk); err != nil {
			return // a caller that went away meanwhile is none of the function's business
		}
	}
}

// refuseBody answers at once, and then throws away what still comes of the body: a caller that is busy sending cannot read the answer, and
// would lose it if the connection was closed meanwhile (RFC 9112, section 9.6). The connection is not used again.
func (m *forkMode) refuseBody(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	if r.Header.Get("Expect") != "" {
		m.refuse(w, http.StatusRequestEntityTooLarge, errBodyTooBig) // nothing comes
		return
	}
	control := http.NewResponseController(w)
	// HTTP/1.1 connections can do it; an error means that this one cannot, and ends the reading below.
	_ = control.EnableFullDuplex()
	m.refuse(w, http.StatusRequestEntityTooLarge, errBodyTooBig)
	if control.Flush() != nil || control.SetReadDeadline(time.Now().Add(refusedBody)) != nil {
		return // the caller has gone
	}
	_, _ = io.Copy(io.Discard, r.Body) // until its end, the caller's, or that of our patience
}

func (m *forkMode) debugHeaders(direction string, h http.Header) {
	if !m.cfg.DebugHeaders {
		return
	}
	for name, values := range h {
		_, _ = fmt.Fprintf(m.stdout, "[%s] %s=%s\n", direction, name, values)
	}
}

func (m *forkMode) note(r *http.Request, status int, bytes int64, err error, took time.Duration) {
	level := slog.LevelDebug
	switch {
	case status >= http.StatusInternalServerError || status == http.StatusRequestTimeout:
		level = slog.LevelWarn
	case m.cfg.AccessLog && !strings.HasPrefix(r.UserAgent(), prober):
		level = slog.LevelInfo
	}
	if !m.log.Enabled(r.Context(), level) {
		return // before its words are made
	}
	m.log.Log(r.Context(), level, "invocation ended", "method", r.Method, "path", r.URL.Path,
		"call_id", r.Header.Get("X-Call-Id"), "status", status, "bytes", bytes, errAttr(err), "duration_seconds", took.Seconds())
}

// errAttr is the attribute err of a log line, or an empty one, which handlers leave out, if there is none.
func errAttr(err error) slog.Attr {
	if err == nil {
		return slog.Attr{}
	}
	return slog.Any("err", err)
}

func requestStatus(err error) int {
	switch err {
	case errBodyTooBig:
		return http.StatusRequestEntityTooLarge
	case errHeaderTooBig:
		return http.StatusRequestHeaderFieldsTooLarge
	case errURITooLong:
		return http.StatusRequestURITooLong
	}
	return http.StatusBadRequest
}

// spawnStatus tells a request whose headers do not fit beside the environment from a function that cannot be started.
func spawnStatus(err error) int {
	if errors.Is(err, syscall.E2BIG) {
		return http.StatusRequestHeaderFieldsTooLarge
	}
	return http.StatusInternalServerError
}

// seconds is the form of X-Duration-Seconds.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) }
