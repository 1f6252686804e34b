package invoke

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	defaultMaxBodyBytes   = 8 << 20
	defaultMaxAnswerBytes = 8 << 20
	defaultBodyTimeout    = time.Minute
	defaultAnswerTimeout  = time.Minute
)

// errSlowAnswer ends an answer that does not: a stream, which a contract cannot give.
var errSlowAnswer = fmt.Errorf("the contract's answer did not end in time: %w", context.DeadlineExceeded)

// Store makes an invocation's effects permanent. The Invoker relies on Commit writing all or nothing, and on its being
// durable when it returns nil. It refuses what exceeds its limits, and a heap that was dropped. If ctx ends before the
// commit has begun, Commit returns an error and writes nothing. A commit whose call id has taken effect before is refused
// with function.ErrConflict, and Recorded then has what was recorded of it.
type Store interface {
	// Get and List are as package heapstore's are; what is not there is a function.ErrNotFound.
	Get(ctx context.Context, heap function.Heap, key string) (function.HeapEntry, error)
	List(ctx context.Context, heap function.Heap, prefix, after string, limit int) (keys []string, next string, err error)
	Recorded(ctx context.Context, heap function.Heap, callID string) (r function.Record, found bool, err error)
	Commit(ctx context.Context, heap function.Heap, c function.Commit) error
}

// Config joins an Invoker to the rest. Store, Call and Error are needed, and Queue and Lookup for what is not answered at once.
type Config struct {
	Store Store
	// Queue keeps asynchronous invocations and messages, and the order of serial contracts. nil has neither.
	Queue Queue
	// Lookup finds a function, from memory. Scheduled lists those with a schedule. It is asked several times a
	// second, and should take no time for the others.
	Lookup    func(function.Ref) (*function.Function, bool)
	Scheduled func() []*function.Function
	// Status is the status that Error answers with. nil takes every error for a 500.
	Status func(error) int
	// Begin keeps the store open until end is called. nil does nothing.
	Begin func(ctx context.Context) (end func(), err error)
	// Bounds are those of the queue.
	Bounds function.QueueBounds
	// Workers is how many queued invocations run at once, and as many messages are sent beside; 0 means 256. PerFunction is how
	// many of them may be of one function, which also gets no more than it leaves to others; 0 means 64. Negative is refused.
	Workers, PerFunction int
	// Callbacks are where answers may be sent to.
	Callbacks Callbacks
	// Chain is where contracts' output transactions go. The zero value has none.
	Chain Chain
	// Version is told to receivers of callbacks. Empty means dev.
	Version string
	// Call makes one call of a contract and returns its answer, whose body the Invoker reads and closes. The request's
	// body can be read again through GetBody. Call takes the headers of one connection off both. If ctx ends, so does the
	// reading of the answer.
	Call func(ctx context.Context, f *function.Function, request *http.Request) (*http.Response, error)
	// HeapURL is where a replica of f reads and writes its heap in the course of the call that id names; empty if it cannot. nil
	// means that none can.
	HeapURL func(f *function.Function, id string) string
	// Error answers a caller whose invocation failed.
	Error func(w http.ResponseWriter, r *http.Request, err error)
	// MaxBodyBytes bounds a request's body, MaxAnswerBytes an answer, as sent and decoded. 0 means 8 MiB each; negative is
	// refused.
	MaxBodyBytes   int64
	MaxAnswerBytes int64
	// MaxAsyncBytes bounds the body of an invocation that is queued. 0 means 1 MiB; negative is refused.
	MaxAsyncBytes int64
	// BodyTimeout is how long a request's body may take to arrive. 0 means a minute; negative is refused.
	BodyTimeout time.Duration
	// AnswerTimeout is how long an answer may take to its end after its headers, which Call waits for. 0 means a minute;
	// negative is refused.
	AnswerTimeout time.Duration
	// Log gets one line for each commit, at level Debug. nil means none.
	Log *slog.Logger
}

// Invoker runs invocations of contracts.
type Invoker struct {
	cfg Config
	// running are the calls with an id that are under way.
	running running
	// views are the heaps of the calls under way.
	views  views
	depths depths
	clock  clock
	inLine inLine
	// receivers and client are of callbacks.
	receivers *receivers
	client    *http.Client
	// chainClient goes where the operator says, which may be anywhere.
	chainClient *http.Client
}

// New returns an Invoker. It starts nothing.
func New(cfg Config) (*Invoker, error) {
	switch {
	case cfg.Store == nil || cfg.Call == nil || cfg.Error == nil:
		return nil, errors.New("invoke: Store, Call and Error are needed")
	case cfg.Queue != nil && cfg.Lookup == nil:
		return nil, errors.New("invoke: what is queued needs Lookup")
	case cfg.Workers < 0 || cfg.PerFunction < 0 || cfg.MaxAsyncBytes < 0:
		return nil, fmt.Errorf("invoke: %d workers, %d for a function, queued bodies of %d bytes", cfg.Workers, cfg.PerFunction, cfg.MaxAsyncBytes)
	case cfg.MaxBodyBytes < 0 || cfg.MaxAnswerBytes < 0 || cfg.BodyTimeout < 0 || cfg.AnswerTimeout < 0:
		return nil, fmt.Errorf("invoke: limits of %d bytes in %v and %d bytes in %v",
			cfg.MaxBodyBytes, cfg.BodyTimeout, cfg.MaxAnswerBytes, cfg.AnswerTimeout)
	}
	to, err := cfg.Callbacks.compile()
	if err = errors.Join(err, cfg.Chain.check()); err != nil {
		return nil, fmt.Errorf("invoke: %w", err)
	}
	chain := receivers{local: true}
	cfg = cfg.withDefaults()
	return &Invoker{
		cfg: cfg, running: running{of: map[callKey]*turn{}}, clock: clock{outages: map[function.Heap]outage{}, of: map[function.Heap]*appointment{}},
		receivers: to, client: to.client(), chainClient: chain.client(),
	}, nil
}

func (cfg Config) withDefaults() Config {
	if cfg.MaxBodyBytes == 0 {
		cfg.MaxBodyBytes = defaultMaxBodyBytes
	}
	if cfg.MaxAsyncBytes == 0 {
		cfg.MaxAsyncBytes = defaultMaxAsyncBytes
	}
	if cfg.Workers == 0 {
		cfg.Workers = defaultWorkers
	}
	if cfg.PerFunction == 0 {
		cfg.PerFunction = defaultPerFunction
	}
	if cfg.Version == "" {
		cfg.Version = "dev"
	}
	if cfg.Status == nil {
		cfg.Status = func(error) int { return http.StatusInternalServerError }
	}
	if cfg.Scheduled == nil {
		cfg.Scheduled = func() []*function.Function { return nil }
	}
	if cfg.Begin == nil {
		cfg.Begin = func(context.Context) (func(), error) { return func() {}, nil }
	}
	if cfg.MaxAnswerBytes == 0 {
		cfg.MaxAnswerBytes = defaultMaxAnswerBytes
	}
	if cfg.BodyTimeout == 0 {
		cfg.BodyTimeout = defaultBodyTimeout
	}
	if cfg.AnswerTimeout == 0 {
		cfg.AnswerTimeout = defaultAnswerTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// ServeContract runs one invocation of f, which is a contract, and answers w when its effects are permanent. If its call id
// has taken effect before, it answers as it did then. idGiven says that the caller chose the call id: nobody can ask again by one
// that he did not know before the answer, so that nothing is recorded under it. r's headers are its own from now on, and change.
func (i *Invoker) ServeContract(w http.ResponseWriter, r *http.Request, f *function.Function, idGiven bool) {
	answer, repeated, err := i.invoke(w, r, f, idGiven)
	if err != nil {
		i.cfg.Error(w, r, err)
		return
	}
	if repeated {
		w.Header().Set(headerReplayed, "true")
	}
	if err := answer.write(w); err != nil {
		i.cfg.Log.DebugContext(r.Context(), "answer not delivered", "function", f.Name, "namespace", f.Namespace, "err", err)
	}
}

func (i *Invoker) invoke(w http.ResponseWriter, r *http.Request, f *function.Function, idGiven bool) (got answer, repeated bool, err error) {
	request, body, err := i.request(w, r, i.cfg.MaxBodyBytes)
	if err != nil {
		return answer{}, false, err
	}
	c := call{body: body}
	if idGiven {
		if c, err = newCall(r, body); err != nil {
			return answer{}, false, err
		}
	}
	if c.id == "" {
		got, err := i.run(f, request, c)
		return got, false, err
	}
	leave, err := i.running.enter(r.Context(), callKey{heap: f.Heap(), id: c.id})
	if err != nil {
		return answer{}, false, err
	}
	defer leave()
	if got, found, err := i.recorded(r.Context(), f, c); err != nil || found {
		return got, found, err
	}
	got, err = i.run(f, request, c)
	if errors.Is(err, function.ErrConflict) {
		// Another provider was faster, or the queue; what we have got has no effect.
		if got, found, lookup := i.recorded(r.Context(), f, c); lookup != nil || found {
			return got, found, lookup
		}
	}
	return got, false, err
}

// run makes the call and commits its effects, of a serial contract when it has its turn.
func (i *Invoker) run(f *function.Function, request *http.Request, c call) (answer, error) {
	ctx := request.Context()
	send := func(got answer) ([]function.Item, error) { return i.chainMessages(f, request, c, got) }
	if !f.Policy.Serial || i.cfg.Queue == nil {
		return i.effect(ctx, f, request, c, nil, send)
	}
	turn, err := i.turn(ctx, f.Heap())
	if err != nil {
		return answer{}, err
	}
	if c.id != "" {
		// The queue may have had the same call before us in the line.
		if _, found, err := i.recorded(ctx, f, c); err != nil || found {
			i.endTurn(ctx, f, turn)
			return answer{}, errors.Join(err, function.ErrConflict)
		}
	}
	got, err := i.effect(ctx, f, request, c, &turn, send)
	if err != nil {
		i.endTurn(ctx, f, turn)
	}
	return got, err
}

// turn waits for it, behind at most maxLine others.
func (i *Invoker) turn(ctx context.Context, h function.Heap) (function.Lease, error) {
	if !i.inLine.enter(h) {
		return function.Lease{}, ErrLineFull
	}
	defer i.inLine.leave(h)
	return i.cfg.Queue.Line(ctx, h)
}

// endTurn lets the next in line go, though our caller may have left.
func (i *Invoker) endTurn(ctx context.Context, f *function.Function, turn function.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settlePatience)
	defer cancel()
	if err := i.cfg.Queue.Settle(ctx, f.Heap(), turn, function.Settlement{}); err != nil && !errors.Is(err, function.ErrConflict) {
		i.cfg.Log.Warn("a turn was not ended; the next in line waits until it ends by itself", "function", f.Name, "namespace", f.Namespace, "err", err)
	}
}

// effect makes the call and commits its effects, which end the lease, with what send makes of the answer. It does so again as long
// as others change what the call has compared. An error of send's ends it, with the answer.
func (i *Invoker) effect(
	ctx context.Context, f *function.Function, request *http.Request, c call, leave *function.Lease, send func(answer) ([]function.Item, error),
) (answer, error) {
	for attempt := 1; ; attempt++ {
		got, err := i.call(ctx, f, request)
		if err != nil {
			return answer{}, err
		}
		items, err := send(got)
		if err != nil {
			return got, err
		}
		if err := i.commit(ctx, f, c, got, leave, items); !errors.Is(err, ErrContended) || attempt == contendedAttempts {
			return got, err
		}
		if err := pause(ctx, attempt); err != nil {
			return answer{}, err
		}
		request.Body, _ = request.GetBody() // never fails, see setBody
	}
}

// contendedAttempts is how often a call is made at most, as long as others change what it has compared.
const contendedAttempts = 8

// pause lets those who contend commit one after the other: up to 2, 4, 8, ... ms, at random.
func pause(ctx context.Context, attempt int) error {
	timer := time.NewTimer(rand.N(time.Millisecond << attempt))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// request is the caller's request with its body in memory, so that a call that reached no endpoint can be made again. Its headers are
// r's: whoever hands r over has made it for this call, and to copy it once more is a good part of a call's own time.
func (i *Invoker) request(w http.ResponseWriter, r *http.Request, maxBytes int64) (request *http.Request, body []byte, err error) {
	if err := checkUpgrade(r.Header); err != nil {
		return nil, nil, err
	}
	if r.ContentLength > maxBytes {
		return nil, nil, &http.MaxBytesError{Limit: maxBytes}
	}
	if body, err = i.readBody(w, r, maxBytes); err != nil {
		return nil, nil, bodyError(r.Context(), err)
	}
	request = new(http.Request)
	*request = *r
	setBody(request, body)
	// The body is here already; nobody need be asked whether to send it.
	request.Header.Del("Expect")
	// The answer has to be read.
	request.Header.Set("Accept-Encoding", "identity")
	return request, body, nil
}

// readBody reads the caller's body, so that one sent a byte at a time does not hold its connection and memory for ever.
func (i *Invoker) readBody(w http.ResponseWriter, r *http.Request, maxBytes int64) ([]byte, error) {
	control := http.NewResponseController(w)
	// An error means that the listener's own limits are all there are.
	_ = control.SetReadDeadline(time.Now().Add(i.cfg.BodyTimeout))
	body, err := readAll(http.MaxBytesReader(w, r.Body, maxBytes), r.ContentLength, maxBytes)
	if err == nil {
		// The server goes on reading the connection to notice that the caller left. After an error the deadline stays:
		// before it answers, the server reads on for the rest of the body.
		_ = control.SetReadDeadline(time.Time{})
	}
	return body, err
}

// setBody gives request a body that can be read again. Its trailers are dropped: what has a length has none.
func setBody(request *http.Request, body []byte) {
	request.ContentLength = int64(len(body))
	request.TransferEncoding, request.Trailer = nil, nil
	request.GetBody = func() (io.ReadCloser, error) {
		if len(body) == 0 {
			// Otherwise a length of 0 means to net/http that it is not known.
			return http.NoBody, nil
		}
		return io.NopCloser(bytes.NewReader(body)), nil
	}
	request.Body, _ = request.GetBody() // never fails, see above
}

// bodyError tells whose fault it is that a request's body could not be read.
func bodyError(ctx context.Context, err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrSlowRequest
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return function.Invalidf("the request's body ended early")
	}
}

// call makes the call and reads the answer to its end: half an answer must not be committed.
func (i *Invoker) call(ctx context.Context, f *function.Function, request *http.Request) (got answer, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() { got.writer = request.Header.Get(headerCallID) }()
	// Nobody else may name one.
	request.Header.Del(HeaderHeapURL)
	if i.cfg.HeapURL != nil && f.Policy.Heap {
		id, view := i.views.open(f, i.cfg.Store)
		defer i.views.close(id)
		defer func() { got.viewWrites, got.conditions = view.end() }()
		if url := i.cfg.HeapURL(f, id); url != "" {
			request.Header.Set(HeaderHeapURL, url)
		}
	}
	response, err := i.cfg.Call(ctx, f, request)
	if err != nil {
		return answer{}, err
	}
	timer := time.AfterFunc(i.cfg.AnswerTimeout, func() { cancel(errSlowAnswer) })
	defer timer.Stop()
	got, err = readAnswer(response, request.Method == http.MethodHead, i.cfg.MaxAnswerBytes)
	// What Close could tell concerns a connection that is of no further use; the answer is whole or err says why not.
	_ = response.Body.Close()
	if err != nil {
		return answer{}, fmt.Errorf("invoke %q: %w", f.Ref, answerError(ctx, err))
	}
	return got, nil
}

// answerError tells a contract that broke off from one that was cut off because the caller left or time ran out.
func answerError(ctx context.Context, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), errSlowAnswer):
		return errSlowAnswer
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrAnswerTooLarge), errors.Is(err, context.DeadlineExceeded):
		return err
	default:
		return fmt.Errorf("%w: %w", ErrBrokenAnswer, err)
	}
}

// commit makes the answer's effects permanent. The caller's context ends it only until the commit has begun.
// leave, if there is one, ends with it, and send is queued with it.
func (i *Invoker) commit(ctx context.Context, f *function.Function, c call, got answer, leave *function.Lease, send []function.Item) error {
	writes, err := got.writes(i.cfg.MaxAnswerBytes)
	if err != nil {
		return fmt.Errorf("invoke %q: %w", f.Ref, err)
	}
	var conditions []function.HeapCondition
	if got.succeeded() {
		// The answer's own writes come last, and count.
		writes, conditions = append(got.viewWrites, writes...), got.conditions
	}
	id := c.id
	if !got.hasEffect() {
		id = ""
	}
	if len(writes) == 0 && len(conditions) == 0 && id == "" && leave == nil && len(send) == 0 {
		return nil
	}
	start := time.Now()
	if err := i.cfg.Store.Commit(ctx, f.Heap(), function.Commit{
		Writes: writes, Conditions: conditions, Writer: got.writer, QuotaBytes: f.Policy.HeapQuotaBytes, CallID: id,
		Record: function.Record{Digest: c.digest, Answer: got.record()},
		Leave:  leave, Send: send,
	}); err != nil {
		if errors.Is(err, function.ErrCondition) {
			return fmt.Errorf("invoke %q: %w", f.Ref, ErrContended)
		}
		return err
	}
	if i.cfg.Log.Enabled(ctx, slog.LevelDebug) {
		i.cfg.Log.DebugContext(ctx, "invocation committed", "function", f.Name, "namespace", f.Namespace,
			"status", got.status, "keys", len(writes), "duration_seconds", time.Since(start).Seconds())
	}
	return nil
}
