package lambda

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const invokePath = "/2015-03-31/functions/function/invocations"

func TestInvoke_Refusals(t *testing.T) {
	tests := []struct {
		name, body string
		headers    []string
		status     int
		exception  string
	}{
		{"event too large", strings.Repeat("1", 101), nil, 413, "RequestTooLargeException"},
		{"no JSON", `{`, nil, 400, "InvalidRequestContentException"},
		{"context not base64", `{}`, []string{"X-Amz-Client-Context: %%"}, 400, "InvalidRequestContentException"},
		{"context not JSON", `{}`, []string{"X-Amz-Client-Context: eHg="}, 400, "InvalidRequestContentException"},
		{"context too large", `{}`, []string{"X-Amz-Client-Context: " + strings.Repeat("A", 3584)}, 400, "InvalidRequestContentException"},
		{"type not there", `{}`, []string{"X-Amz-Invocation-Type: Maybe"}, 400, "InvalidRequestContentException"},
	}
	w := start(t, Config{PayloadBytes: 100})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := get(t, w.invoke(invokePath, tt.body, tt.headers...))
			if a.status != tt.status || a.header.Get("X-Amzn-ErrorType") != tt.exception || !strings.Contains(a.body, `"Type":"User"`) {
				t.Errorf("%d %s %v", a.status, a.body, a.header)
			}
		})
	}
	if res, err := http.Get(w.front.URL + invokePath); err != nil || res.StatusCode != 405 {
		t.Errorf("GET: %v, %v", res, err)
	} else {
		res.Body.Close()
	}
}

func TestInvoke_Types(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	get(t, w.invoke(invokePath, `1`, "X-Amz-Invocation-Type: DryRun")).is(t, 204, "")
	get(t, w.invoke(invokePath, `2`, "X-Amz-Invocation-Type: Event")).is(t, 202, "")
	id, a := f.next() // the caller has been answered
	a.is(t, 200, `2`)
	f.respond(id, `x`)
	answer := w.invoke(invokePath, `3`, "X-Amz-Invocation-Type: RequestResponse")
	id, a = f.next()
	a.is(t, 200, `3`)
	f.call("POST", invocations+id+"/error", strings.NewReader(`{"errorMessage":"e"}`))
	got := get(t, answer)
	got.is(t, 200, `{"errorMessage":"e"}`)
	if got.header.Get("X-Amz-Function-Error") != "Unhandled" {
		t.Errorf("headers %v", got.header)
	}
}

// An event that nobody will handle must not be taken: its caller would never learn of it.
func TestInvoke_EventWithoutAPlaceIsRefused(t *testing.T) {
	w := start(t, Config{QueueDepth: -1})
	f := w.process()
	w.invoke("/", `1`)
	f.next()
	a := get(t, w.invoke(invokePath, `2`, "X-Amz-Invocation-Type: Event"))
	if a.status != 429 || a.header.Get("Retry-After") != "1" || a.header.Get("X-Amzn-ErrorType") != "TooManyRequestsException" {
		t.Errorf("all busy: %d %s %v", a.status, a.body, a.header)
	}
	w.stop()
	if a := get(t, w.invoke(invokePath, `3`, "X-Amz-Invocation-Type: Event")); a.status != 503 {
		t.Errorf("at the end: %d %s", a.status, a.body)
	}
}

func TestRaw(t *testing.T) {
	w := start(t, Config{PayloadBytes: 1 << 20})
	f := w.process()
	const callID = "0d4a3b2c-1111-4222-8333-444455556666"
	large := `"` + strings.Repeat("x", 1<<20-2) + `"`
	answer := w.invoke("/a/b?c", large, "X-Call-Id: "+callID)
	id, a := f.next()
	if id != callID || a.body != large {
		t.Errorf("event %s of %d bytes", id, len(a.body))
	}
	f.respond(id, large)
	got := get(t, answer)
	if got.status != 200 || got.body != large || got.header.Get("Content-Type") != "application/json" ||
		got.header.Get("X-Amzn-RequestId") != callID || got.header.Get("X-Duration-Seconds") == "" {
		t.Errorf("%d of %d bytes, %v", got.status, len(got.body), got.header)
	}
	for _, body := range []string{large + " ", large + strings.Repeat(" ", 300<<10)} {
		if a := get(t, w.invoke("/", body)); a.status != 413 {
			t.Errorf("an event of %d bytes: %d", len(body), a.status)
		}
	}
	w.pool.events.mu.Lock()
	defer w.pool.events.mu.Unlock()
	if want := int64(3 << 20); w.pool.events.left != want {
		t.Errorf("%d bytes are left for events, want %d", w.pool.events.left, want)
	}
}

// TestRaw_StalledUpload sends a part of an event that needs more than the memory which is free for all, and no more.
func TestRaw_StalledUpload(t *testing.T) {
	w := start(t, Config{Timeout: limited(short)})
	whole := w.pool.events.left
	conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 4*freeBytes, strings.Repeat(" ", freeBytes+1))
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 408 || res.Header.Get("X-Amzn-ErrorType") != "RequestTimeoutException" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	w.pool.events.mu.Lock()
	defer w.pool.events.mu.Unlock()
	if w.pool.events.left != whole {
		t.Errorf("%d bytes are left for events, want %d", w.pool.events.left, whole)
	}
}

func TestRaw_WaitsForMemoryInVain(t *testing.T) {
	w := start(t, Config{Timeout: limited(short)})
	whole := w.pool.events.left
	if err := w.pool.events.take(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	if a := get(t, w.invoke("/", strings.Repeat(" ", 2*freeBytes))); a.status != 429 || a.header.Get("Retry-After") != "1" {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.pool.events.give(whole)
	w.process().poll()
	w.waitIdle()
	w.invoke("/", strings.Repeat(" ", 2*freeBytes))
	w.waitFor("an invocation that is given", func(p *Pool) bool { return len(p.idle) == 0 })
}

// TestRaw_CallerThatDoesNotRead gets an answer that is larger than the buffers of the connection.
func TestRaw_CallerThatDoesNotRead(t *testing.T) {
	w := start(t, Config{PayloadBytes: 12 << 20, Timeout: limited(2 * time.Second)})
	whole := w.pool.replies.left
	f := w.process()
	conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	id, _ := f.next()
	f.respond(id, strings.Repeat(" ", 12<<20)).is(t, 202, `{"status":"OK"}`)
	f.poll()
	w.waitFor("memory that is given back", func(p *Pool) bool {
		p.replies.mu.Lock()
		defer p.replies.mu.Unlock()
		return p.replies.left == whole
	})
}

func TestIsInvokePath(t *testing.T) {
	for path, want := range map[string]bool{
		"/2015-03-31/functions/x/invocations":   true,
		"/2015-03-31/functions//invocations":    false,
		"/2015-03-31/functions/invocations":     false,
		"/2015-03-31/functions/a/b/invocations": false,
		"/2015-03-31/functions/x/invocations/":  false,
		"/x/2015-03-31/functions/x/invocations": false,
	} {
		if got := isInvokePath(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestBudget_Read(t *testing.T) {
	tests := []struct {
		name            string
		bytes           int
		length          int64
		size            int64
		kept            bool
		reserved, total int64
	}{
		{"empty", 0, 0, 0, true, 0, 1 << 20},
		{"small", 100, 100, 100, true, 0, 1 << 20},
		{"small, length unknown", 100, -1, 100, true, 0, 1 << 20},
		{"large", 100 << 10, 100 << 10, 100 << 10, true, 100 << 10, 1 << 20},
		{"large, length unknown", 100 << 10, -1, 100 << 10, true, -1, 1 << 20},
		{"at the limit", 200 << 10, -1, 200 << 10, true, 200 << 10, 1 << 20},
		{"too large", 300 << 10, 300 << 10, 300 << 10, false, 0, 1 << 20},
		{"too large, length unknown", 300 << 10, -1, 300 << 10, false, 0, 1 << 20},
		{"far too large, length unknown", 900 << 10, -1, 500 << 10, false, 0, 1 << 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &budget{left: tt.total}
			body := strings.Repeat("x", tt.bytes)
			p, err := b.read(context.Background(), strings.NewReader(body), tt.length, 200<<10, 500<<10)
			if tt.reserved < 0 {
				tt.reserved = int64(cap(p.data)) // what it takes, which is less than the limit
			}
			if err != nil || p.size != tt.size || tt.kept != (string(p.data) == body) || tt.total-b.left != tt.reserved {
				t.Errorf("size %d, %d kept, %d reserved, %v", p.size, len(p.data), tt.total-b.left, err)
			}
			p.release()
			p.release()
			if b.left != tt.total {
				t.Errorf("%d left after release", b.left)
			}
		})
	}
}
