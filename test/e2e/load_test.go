package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

const (
	// pace is the pause of a client between two calls: the load is constant, and leaves the node able to start pods.
	pace = 20 * time.Millisecond
	// longCall is far above what ends by itself while a pod is shut down, and below what a pod is given for its calls.
	longCall = 3 * time.Second
	// loadBody is what is posted beside the call's number: more than one packet, less than a socket's buffer.
	loadBody = 8 << 10
)

// load is clients that call functions until they are told to stop, and count what became of every call. No call is made a
// second time, but for what Go's client itself repeats because it never left.
type load struct {
	stop    context.CancelFunc
	clients sync.WaitGroup

	mu      sync.Mutex
	counts  map[string]int
	slowest map[string]time.Duration
	failed  []string
}

// startLoad makes a load that calls nothing yet. The end of the test ends it.
func startLoad(t *testing.T) (*load, context.Context) {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop, counts: map[string]int{}, slowest: map[string]time.Duration{}}
	t.Cleanup(l.end)
	return l, ctx
}

// end has the clients finish the calls that they are at.
func (l *load) end() {
	l.stop()
	l.clients.Wait()
}

// report ends the load, tells the counts and fails the test for every call that was lost, or could not be made as the
// connection was refused.
func (l *load) report(t *testing.T) {
	t.Helper()
	l.end()
	for _, what := range slices.Sorted(maps.Keys(l.counts)) {
		t.Logf("%-40s %6d, slowest %v", what, l.counts[what], l.slowest[what].Round(time.Millisecond))
	}
	if l.counts["refused"] > 0 {
		t.Errorf("%d connections were refused", l.counts["refused"])
	}
	for i, f := range l.failed {
		if i == 20 {
			t.Errorf("... %d calls failed in all", len(l.failed))
			break
		}
		t.Error(f)
	}
	if len(l.counts) == 0 {
		t.Error("nothing was called")
	}
}

// note counts the outcome of one call.
func (l *load) note(kind string, began time.Time, err error) {
	outcome := kind + " answered"
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		outcome = "refused"
	case err != nil:
		outcome = kind + " lost"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[outcome]++
	l.slowest[outcome] = max(l.slowest[outcome], time.Since(began))
	if outcome == kind+" lost" {
		l.failed = append(l.failed, fmt.Sprintf("%s %s, begun %s, after %s: %v", time.Now().Format("15:04:05.000"), kind,
			began.Format("15:04:05.000"), time.Since(began).Round(time.Millisecond), err))
	}
}

// again calls once after another until the load ends. Calls go on to their end then.
func (l *load) again(ctx context.Context, kind string, once func(ctx context.Context, n int) error) {
	l.clients.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			began := time.Now()
			l.note(kind, began, once(context.WithoutCancel(ctx), n))
			select {
			case <-ctx.Done():
			case <-time.After(pace):
			}
		}
	})
}

// target is a function under load: what to send for an answer after a time, and what the answer is.
type target struct {
	function
	// request asks for an answer that begins after the time, and returns what the answer has to be.
	request func(text string, after time.Duration) (q request, want string)
	// websocket tells that the function has /ws.
	websocket bool
}

// scriptedTarget is a scripted function.
func scriptedTarget(f function) target {
	return target{function: f, request: func(text string, after time.Duration) (request, string) {
		script := fmt.Sprintf("sleep %g\ncat <<'END'\n%s\nEND\n", after.Seconds(), text)
		return request{method: http.MethodPost, path: f.path(""), body: script, auth: nobody}, text + "\n"
	}}
}

// probeTarget is a probe.
func probeTarget(f function) target {
	return target{function: f, websocket: true, request: func(text string, after time.Duration) (request, string) {
		return request{method: http.MethodPost, path: f.path("/echo?after=" + after.String()), body: text, auth: nobody}, text
	}}
}

// contractTarget is a scripted contract, which writes what it answers to its heap.
func contractTarget(f function) target {
	scripted := scriptedTarget(f)
	return target{function: f, request: func(text string, after time.Duration) (request, string) {
		return scripted.request(fmt.Sprintf(`{"text":%q}`, text), after)
	}}
}

// on adds eight clients that call f: short calls on connections that are kept and on new ones, calls of some seconds, and
// a websocket or, where there is none, more long ones.
func (l *load) on(ctx context.Context, f target) {
	for range 3 {
		l.calls(ctx, "short, kept connection", f, 0, keptConnections())
	}
	for range 2 {
		l.calls(ctx, "short, new connection", f, 0, newConnections())
	}
	for range 2 {
		l.calls(ctx, "long", f, longCall, keptConnections())
	}
	if f.websocket {
		l.again(ctx, "websocket", f.talk)
	} else {
		l.calls(ctx, "long", f, longCall, newConnections())
	}
}

func (l *load) calls(ctx context.Context, kind string, f target, after time.Duration, client *http.Client) {
	l.again(ctx, kind, func(ctx context.Context, n int) error { return f.callBy(ctx, client, fmt.Sprint(n), after) })
}

// onceEach calls the functions one after another, with a pause before each but the first, whether the former has answered
// or not.
func (l *load) onceEach(ctx context.Context, kind string, pause time.Duration, functions []target) {
	for i, f := range functions {
		l.clients.Go(func() {
			time.Sleep(time.Duration(i) * pause) // spreads the calls over what happens meanwhile
			began := time.Now()
			l.note(kind, began, f.callBy(context.WithoutCancel(ctx), newConnections(), "once", 0))
		})
	}
}

// callBy makes one call and compares the answer. Its body is long enough to be read in several pieces.
func (f target) callBy(ctx context.Context, client *http.Client, text string, after time.Duration) error {
	q, want := f.request(text+strings.Repeat("x", loadBody), after)
	r, err := gateway.request(ctx, q)
	if err != nil {
		return err
	}
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || string(body) != want) {
		err = errors.New("another answer")
	}
	if err != nil {
		return fmt.Errorf("%s %.100q of %d bytes, want %d: %w", res.Status, body, len(body), len(want), err)
	}
	return nil
}

// talk is one websocket, from its opening to its orderly end, longCall later.
func (f target) talk(context.Context, int) error {
	u, err := url.Parse(gateway.url + f.path("/ws"))
	if err != nil {
		return err
	}
	u.Scheme = "ws"
	conn, err := websocket.Dial(u.String(), "", gateway.url)
	if dial := new(websocket.DialError); errors.As(err, &dial) {
		err = dial.Err // it does not unwrap
	}
	if err != nil {
		return fmt.Errorf("open a websocket: %w", err)
	}
	defer conn.Close()
	for until, n := time.Now().Add(longCall), 0; time.Now().Before(until); n++ {
		sent := fmt.Sprint("message ", n)
		if err := websocket.Message.Send(conn, sent); err != nil {
			return fmt.Errorf("send %s: %w", sent, err)
		}
		var got string
		if err := websocket.Message.Receive(conn, &got); err != nil || got != sent {
			return fmt.Errorf("echo of %s: %q, %w", sent, got, err)
		}
		time.Sleep(pace) // the pace of the load, not a wait for anything
	}
	return nil
}

// keptConnections is a client of its own, so that its connections are used by one caller, and idle in between.
func keptConnections() *http.Client { return loadClient(false) }

func newConnections() *http.Client { return loadClient(true) }

func loadClient(anew bool) *http.Client {
	return &http.Client{Timeout: callTimeout, Transport: &http.Transport{DisableKeepAlives: anew, DisableCompression: true}}
}
