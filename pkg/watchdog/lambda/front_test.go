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
	w := start(t, Config{Timeout: shortBut})
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
	w.invoke("/long", strings.Repeat(" ", 2*freeBytes))
	w.waitFor("an invocation that is given", func(p *Pool) bool { return len(p.idle) == 0 })
}

// TestRaw_CallerThatDoesNotRead gets an answer that is larger than the buffers of the connection.
func TestRaw_CallerThatDoesNotRead(t *testing.T) {
	w := start(t, Config{PayloadBytes: 12 << 20, Timeout: limited(8 * time.Second)})
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

// TestRaw_SlowReadersGiveWay has callers that read nothing hold all the memory there is for answers. Whoever comes next must get his
// answer all the same, long before their time is over.
func TestRaw_SlowReadersGiveWay(t *testing.T) {
	const size = 8 << 20 // more than the buffers of a connection
	w := start(t, Config{PayloadBytes: size, Timeout: limited(10 * time.Minute)})
	f := w.process()
	answerNext := func() {
		id, _ := f.next()
		f.respond(id, strings.Repeat(" ", size)).is(t, 202, `{"status":"OK"}`)
	}
	for range 3 { // processes + 2
		conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		answerNext()
	}
	answer := w.invoke("/", `1`)
	answerNext()
	if a := get(t, answer); a.status != 200 || len(a.body) != size {
		t.Errorf("%d, %d bytes", a.status, len(a.body))
	}
}

// TestRaw_SlowSendersGiveWay does the same with events.
func TestRaw_SlowSendersGiveWay(t *testing.T) {
	const size = 1 << 20
	w := start(t, Config{PayloadBytes: size, Timeout: limited(10 * time.Minute)})
	f := w.process()
	var slow []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", w.front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat(" ", 2*freeBytes))
		slow = append(slow, conn)
	}
	w.waitFor("memory that is all taken", func(p *Pool) bool {
		p.events.mu.Lock()
		defer p.events.mu.Unlock()
		return p.events.left == 0
	})
	answer := w.invoke("/", strings.Repeat(" ", size))
	id, a := f.next()
	if len(a.body) != size {
		t.Errorf("%d bytes", len(a.body))
	}
	f.respond(id, `1`)
	get(t, answer).is(t, 200, `1`)
	refused := 0
	for _, conn := range slow {
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
			res.Body.Close()
			if res.StatusCode == 408 {
				refused++
			}
		}
	}
	if refused != 1 {
		t.Errorf("%d of those who held the memory were refused, want the first", refused)
	}
}

func TestAPIOf(t *testing.T) {
	for path, want := range map[string]api{
		"/2015-03-31/functions/x/invocations":                                                invokeAPI,
		"/2015-03-31/functions/arn:aws:lambda:us-east-1:012345678912:function:x/invocations": invokeAPI,
		"/2015-03-31/functions//invocations":                                                 noAPI,
		"/2015-03-31/functions/invocations":                                                  noAPI,
		"/2015-03-31/functions/a/b/invocations":                                              noAPI,
		"/2015-03-31/functions/x/invocations/":                                               noAPI,
		"/x/2015-03-31/functions/x/invocations":                                              noAPI,
		"/2014-11-13/functions/x/invoke-async":                                               invokeAsyncAPI,
		"/2014-11-13/functions/x/invoke-async/":                                              invokeAsyncAPI,
		"/2014-11-13/functions/invoke-async/":                                                noAPI,
		"/2014-11-13/functions/x/invocations":                                                noAPI,
		"/2021-11-15/functions/x/response-streaming-invocations":                             invokeStreamAPI,
		"/2015-03-31/functions/x/response-streaming-invocations":                             noAPI,
		"/": noAPI,
	} {
		if got := apiOf(path); got != want {
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
			p, err := b.read(context.Background(), strings.NewReader(body), tt.length, 200<<10, 500<<10, nil)
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
