package lambda

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAPI_EventCarriesEverything(t *testing.T) {
	w := start(t, Config{Name: "fn", Timeout: func(*http.Request) time.Duration { return 42 * time.Second }})
	f := w.process()
	polled := f.poll()
	w.ready(true)
	before := time.Now()
	answer := w.invoke("/2015-03-31/functions/anything/invocations", `{"a": 1}`, "X-Amzn-Trace-Id: Root=1-x",
		"X-Amz-Client-Context: eyJhIjoKMX0=")
	a := get(t, polled)
	a.is(t, http.StatusOK, `{"a": 1}`)
	id := a.header.Get("Lambda-Runtime-Aws-Request-Id")
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("request id %q", id)
	}
	for name, want := range map[string]string{
		"Content-Type":                        "application/json",
		"Content-Length":                      "8",
		"Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:012345678912:function:fn",
		"Lambda-Runtime-Trace-Id":             "Root=1-x",
		"Lambda-Runtime-Client-Context":       `{"a": 1}`,
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	ms, err := strconv.ParseInt(a.header.Get("Lambda-Runtime-Deadline-Ms"), 10, 64)
	if left := time.UnixMilli(ms).Sub(before); err != nil || left < 41*time.Second || left > 62*time.Second {
		t.Errorf("deadline in %v, %v", left, err)
	}
	f.respond(id, `"done"`).is(t, http.StatusAccepted, `{"status":"OK"}`)
	got := get(t, answer)
	got.is(t, http.StatusOK, `"done"`)
	if got.header.Get("X-Amz-Executed-Version") != "$LATEST" || got.header.Get("X-Amzn-RequestId") != id ||
		got.header.Get("X-Amz-Function-Error") != "" {
		t.Errorf("headers %v", got.header)
	}
}

func TestAPI_AbsentHeadersAreAbsent(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	w.invoke("/", "")
	_, a := f.next()
	a.is(t, http.StatusOK, "{}")
	for _, name := range []string{"Lambda-Runtime-Trace-Id", "Lambda-Runtime-Client-Context", "Lambda-Runtime-Cognito-Identity"} {
		if values, there := a.header[name]; there {
			t.Errorf("%s is %q", name, values)
		}
	}
}

// TestAPI_Refusals plays a process that does not keep to the protocol, one row per rule.
func TestAPI_Refusals(t *testing.T) {
	response := func(f *fakeProcess, id string) reply { return f.respond(id, `1`) }
	tests := []struct {
		name      string
		do        func(w *world, f *fakeProcess, id string) reply // with an event in hand
		status    int
		errorType string
	}{
		{"foreign id", func(_ *world, f *fakeProcess, _ string) reply { return response(f, "nobody") }, 400, "InvalidRequestID"},
		{"foreign id, error", func(_ *world, f *fakeProcess, _ string) reply {
			return f.call("POST", invocations+"nobody/error", strings.NewReader(`{}`))
		}, 400, "InvalidRequestID"},
		{"second reply", func(_ *world, f *fakeProcess, id string) reply { response(f, id); return response(f, id) }, 403, "InvalidStateTransition"},
		{"foreign id in the wrong state", func(_ *world, f *fakeProcess, id string) reply {
			response(f, id)
			return response(f, "nobody")
		}, 400, "InvalidRequestID"},
		{"late reply", func(w *world, f *fakeProcess, id string) reply {
			response(f, id)
			f.poll()
			w.waitIdle()
			return response(f, id)
		}, 400, "InvalidRequestID"},
		{"init error after the first next", func(_ *world, f *fakeProcess, _ string) reply {
			return f.call("POST", "/2018-06-01/runtime/init/error", strings.NewReader(`{}`))
		}, 403, "InvalidStateTransition"},
		{"unknown mode", func(_ *world, f *fakeProcess, id string) reply {
			return f.respond(id, `1`, "Lambda-Runtime-Function-Response-Mode: sideways")
		}, 400, "InvalidFunctionResponseMode"},
		{"too large", func(_ *world, f *fakeProcess, id string) reply { return f.respond(id, strings.Repeat("x", 101)) }, 413, "RequestEntityTooLarge"},
		{"too large, length unknown", func(_ *world, f *fakeProcess, id string) reply {
			return f.call("POST", invocations+id+"/response", io.MultiReader(strings.NewReader(strings.Repeat("x", 101))))
		}, 413, "RequestEntityTooLarge"},
		{"error too large", func(_ *world, f *fakeProcess, id string) reply {
			return f.call("POST", invocations+id+"/error", strings.NewReader(strings.Repeat("x", 101)))
		}, 413, "RequestEntityTooLarge"},
		{"cut short", func(_ *world, f *fakeProcess, id string) reply { return cutShort(f, id) }, 400, "TruncatedHTTPRequest"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, Config{PayloadBytes: 100})
			f := w.process()
			w.invoke("/", "{}")
			id, _ := f.next()
			tt.do(w, f, id).isFault(t, tt.status, tt.errorType)
		})
	}
}

// cutShort announces more than it sends.
func cutShort(f *fakeProcess, id string) reply {
	conn, err := net.Dial("tcp", f.api)
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s%s/response HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\nshort", invocations, id)
	_ = conn.(*net.TCPConn).CloseWrite()
	text, _ := io.ReadAll(conn)
	head, body, _ := strings.Cut(string(text), "\r\n\r\n")
	status, _ := strconv.Atoi(strings.Fields(head + " 0 0")[1])
	return reply{status: status, body: body}
}

func TestAPI_ReplyTooLargeReachesTheCaller(t *testing.T) {
	w := start(t, Config{PayloadBytes: 100})
	f := w.process()
	answer := w.invoke("/", "{}")
	id, _ := f.next()
	f.respond(id, strings.Repeat("x", 2000)).isFault(t, 413, "RequestEntityTooLarge")
	a := get(t, answer)
	a.isFault(t, 500, "Function.ResponseSizeTooLarge")
	if _, message := a.fault(t); message != "Response payload size (2000 bytes) exceeded maximum allowed payload size (100 bytes)." {
		t.Errorf("message %q", message)
	}
	f.poll() // it is still alive
	w.waitIdle()
}

func TestAPI_BrokenReplyMayBeRepeated(t *testing.T) {
	w := start(t, Config{PayloadBytes: 100})
	f := w.process()
	answer := w.invoke("/", "{}")
	id, _ := f.next()
	cutShort(f, id).isFault(t, 400, "TruncatedHTTPRequest")
	f.respond(id, `2`).is(t, 202, `{"status":"OK"}`)
	get(t, answer).is(t, 200, `2`)
}

func TestAPI_LostEventIsGivenAgain(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	answer := w.invoke("/", `{"x":1}`)
	first, _ := f.next()
	second, a := f.next()
	if first != second || a.body != `{"x":1}` {
		t.Errorf("%s then %s %q", first, second, a.body)
	}
	f.respond(first, `1`)
	get(t, answer).is(t, 200, `1`)
}

func TestAPI_SecondPollTakesTheFirstsPlace(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	first := f.poll()
	w.ready(true)
	second := f.poll()
	get(t, first).isFault(t, 403, "InvalidStateTransition")
	answer := w.invoke("/", "{}")
	f.respond(get(t, second).header.Get(headerRequestID), `1`)
	get(t, answer).is(t, 200, `1`)
}

func TestAPI_ErrorIsRelayedUnchanged(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	answer := w.invoke("/", "{}")
	id, _ := f.next()
	text := `{ "errorMessage":"no",  "errorType":"x", "stackTrace":[{"path":"a.go","line":3,"label":"f"}]}`
	f.call("POST", invocations+id+"/error", strings.NewReader(text), "Lambda-Runtime-Function-Error-Type: unhandled",
		"Lambda-Runtime-Function-XRay-Error-Cause: "+strings.Repeat("x", 1<<20)).is(t, 202, `{"status":"OK"}`)
	a := get(t, answer)
	a.is(t, 500, text)
	if a.header.Get("X-Amz-Function-Error") != "Unhandled" {
		t.Errorf("headers %v", a.header)
	}
}

func TestAPI_TrailersMakeAnError(t *testing.T) {
	for name, tt := range map[string]struct{ errorType, body, want string }{
		"with a body":         {"boom", "eyJlcnJvck1lc3NhZ2UiOiJiIn0=", `{"errorMessage":"b"}`},
		"with a type only":    {"boom", "", `{"errorMessage":"","errorType":"boom"}`},
		"with a body of junk": {"boom", "%%", `{"errorMessage":"","errorType":"boom"}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, Config{})
			f := w.process()
			answer := w.invoke("/", "{}")
			id, _ := f.next()
			req, _ := http.NewRequest("POST", "http://"+f.api+invocations+id+"/response", io.MultiReader(strings.NewReader("part")))
			req.Trailer = http.Header{headerErrorType: {tt.errorType}, headerErrorBody: {tt.body}}
			a, err := f.do(req)
			if err != nil {
				t.Fatal(err)
			}
			a.is(t, 202, `{"status":"OK"}`)
			get(t, answer).is(t, 500, tt.want)
		})
	}
}

func TestAPI_Rest(t *testing.T) {
	w := start(t, Config{Name: "fn", Handler: "app.handler"})
	f := w.process()
	f.call("GET", "/2018-06-01/ping", nil).is(t, 200, "pong")
	for _, path := range []string{"/2018-06-01/runtime/restore/next", "/", "/2018-06-01/runtime/invocation/x/y/response"} {
		if a := f.call("GET", path, nil); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

func TestAPI_Extensions(t *testing.T) {
	w := start(t, Config{Name: "fn", Handler: "app.handler"})
	f := w.process()
	const base = "/2020-01-01/extension/"
	f.call("POST", base+"register", strings.NewReader(`{}`)).isFault(t, 403, "Extension.InvalidExtensionName")
	f.call("POST", base+"register", strings.NewReader(`{`), "Lambda-Extension-Name: x").isFault(t, 400, "Extension.InvalidRequestFormat")
	f.call("GET", base+"event/next", nil).isFault(t, 403, "Extension.MissingExtensionIdentifier")
	f.call("GET", base+"event/next", nil, "Lambda-Extension-Identifier: x").isFault(t, 403, "Extension.InvalidExtensionIdentifier")
	f.call("PUT", "/2022-07-01/telemetry", strings.NewReader(`{}`)).isFault(t, 202, "Telemetry.NotSupported")
	f.call("PUT", "/2020-08-15/logs", strings.NewReader(`{}`)).isFault(t, 202, "Logs.NotSupported")

	a := f.call("POST", base+"register", strings.NewReader(`{"events":null}`), "Lambda-Extension-Name: quiet")
	a.is(t, 200, `{"functionName":"fn","functionVersion":"$LATEST","handler":"app.handler"}`)
	a = f.call("POST", base+"register", strings.NewReader(`{"events":["INVOKE"]}`), "Lambda-Extension-Name: x", "Lambda-Extension-Accept-Feature: accountId")
	a.is(t, 200, `{"accountId":"012345678912","functionName":"fn","functionVersion":"$LATEST","handler":"app.handler"}`)
	id := "Lambda-Extension-Identifier: " + a.header.Get("Lambda-Extension-Identifier")
	f.call("POST", base+"init/error", strings.NewReader(`{}`), id).is(t, 202, `{"status":"OK"}`)

	answer := w.invoke("/", "{}", "X-Amzn-Trace-Id: Root=1-x")
	event, _ := f.next()
	a = f.call("GET", base+"event/next", nil, id)
	if a.status != 200 || !strings.Contains(a.body, `"eventType":"INVOKE"`) || !strings.Contains(a.body, event) ||
		!strings.Contains(a.body, `"tracing":{"type":"X-Amzn-Trace-Id","value":"Root=1-x"}`) {
		t.Errorf("event %d %s", a.status, a.body)
	}
	f.respond(event, `1`)
	get(t, answer).is(t, 200, `1`)

	go w.stop() // a process that has registered is told before it is killed
	select {
	case sig := <-f.signals:
		if sig != syscall.SIGTERM {
			t.Errorf("signal %v", sig)
		}
	case <-time.After(patience):
		t.Error("no SIGTERM")
	}
	f.exit("")
}
