package lambda

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const prelude8 = "\x00\x00\x00\x00\x00\x00\x00\x00"

// streaming is a response that the test writes piece by piece.
type streaming struct {
	io.WriteCloser
	done chan reply
}

// stream begins a response to id. A trailer is "Name: value".
func (f *fakeProcess) stream(id string, headers []string, trailers ...string) *streaming {
	f.t.Helper()
	from, to := io.Pipe()
	req, err := http.NewRequest("POST", "http://"+f.api+invocations+id+"/response", from)
	if err != nil {
		f.t.Fatal(err)
	}
	setHeaders(req, headers)
	for _, h := range trailers {
		name, value, _ := strings.Cut(h, ": ")
		if req.Trailer == nil {
			req.Trailer = http.Header{}
		}
		req.Trailer.Set(name, value)
	}
	s := &streaming{to, make(chan reply, 1)}
	go func() {
		a, _ := f.do(req) // status 0 if the process was killed meanwhile
		from.Close()
		s.done <- a
	}()
	return s
}

func (s *streaming) write(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatal(err)
	}
}

// open sends a request and returns its response with the body unread.
func (w *world) open(path string) <-chan *http.Response {
	got := make(chan *http.Response, 1)
	go func() {
		res, err := w.front.Client().Post(w.front.URL+path, "", strings.NewReader("{}"))
		if err == nil {
			w.t.Cleanup(func() { res.Body.Close() })
		}
		got <- res
	}()
	return got
}

const modeStreaming = "Lambda-Runtime-Function-Response-Mode: streaming"

func TestStream_ArrivesAsItIsWritten(t *testing.T) {
	for name, header := range map[string]string{
		"by its mode": modeStreaming,
		"by its type": "Content-Type: application/octet-stream",
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, Config{})
			f := w.process()
			got := w.open("/")
			id, _ := f.next()
			s := f.stream(id, []string{header})
			s.write(t, "one")
			res := <-got
			if res == nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/octet-stream" {
				t.Fatalf("%+v", res)
			}
			buffer := make([]byte, 100)
			for _, part := range []string{"one", "two"} {
				if n, err := res.Body.Read(buffer); err != nil || string(buffer[:n]) != part {
					t.Fatalf("read %q, %v", buffer[:n], err)
				}
				if part == "one" {
					s.write(t, "two")
				}
			}
			s.Close()
			if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
				t.Errorf("then %q, %v", rest, err)
			}
			get(t, s.done).is(t, 202, `{"status":"OK"}`)
		})
	}
}

func TestStream_Prelude(t *testing.T) {
	tests := []struct {
		name, text string
		status     int
		body       string
	}{
		{"status, headers and cookies", `{"statusCode":418,"headers":{"X-A":"b","Content-Length":"99"},"cookies":["c=1","d=2"]}` + prelude8 + "tea", 418, "tea"},
		{"no status", `{"headers":{"X-A":"b"},"cookies":["c=1","d=2"]}` + prelude8, 200, ""},
		{"zero bytes in the body", `{"headers":{"X-A":"b"},"cookies":["c=1","d=2"]}` + prelude8 + prelude8, 200, prelude8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, Config{})
			f := w.process()
			answer := w.invoke("/", "{}")
			id, _ := f.next()
			f.respond(id, tt.text, modeStreaming, "Content-Type: application/vnd.awslambda.http-integration-response").is(t, 202, `{"status":"OK"}`)
			a := get(t, answer)
			a.is(t, tt.status, tt.body)
			if a.header.Get("X-A") != "b" || strings.Join(a.header["Set-Cookie"], " ") != "c=1 d=2" {
				t.Errorf("headers %v", a.header)
			}
		})
	}
	for name, text := range map[string]string{
		"no end": `{"statusCode":200}`, "no JSON": "x" + prelude8, "no status that there is": `{"statusCode":42}` + prelude8, "empty": "",
		"too long": strings.Repeat("x", 2<<20),
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, Config{})
			f := w.process()
			answer := w.invoke("/", "{}")
			id, _ := f.next()
			f.respond(id, text, "Content-Type: application/vnd.awslambda.http-integration-response")
			get(t, answer).isFault(t, 502, "Runtime.InvalidResponse")
		})
	}
}

const boom = "Lambda-Runtime-Function-Error-Body: eyJlcnJvck1lc3NhZ2UiOiJiIn0="

func TestStream_ErrorAfterTheFirstByteBreaksOff(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	answer := w.invoke("/", "{}")
	id, _ := f.next()
	s := f.stream(id, []string{modeStreaming}, "Lambda-Runtime-Function-Error-Type: boom", boom)
	s.write(t, "part")
	s.Close()
	get(t, s.done).is(t, 202, `{"status":"OK"}`)
	if a := get(t, answer); a.status != 200 || !strings.HasPrefix(a.body, "part and then ") {
		t.Errorf("%d %q", a.status, a.body)
	}
}

func TestStream_ErrorBeforeTheFirstByteIsTold(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	answer := w.invoke("/", "{}")
	id, _ := f.next()
	s := f.stream(id, []string{modeStreaming}, "Lambda-Runtime-Function-Error-Type: boom", boom)
	s.Close()
	get(t, answer).is(t, 500, `{"errorMessage":"b"}`)
}

func TestStream_InvokeAPIGathers(t *testing.T) {
	const path = "/2015-03-31/functions/fn/invocations"
	t.Run("an answer", func(t *testing.T) {
		w := start(t, Config{})
		f := w.process()
		answer := w.invoke(path, "{}")
		id, _ := f.next()
		s := f.stream(id, []string{modeStreaming})
		s.write(t, "one")
		s.write(t, "two")
		s.Close()
		get(t, answer).is(t, 200, "onetwo")
	})
	t.Run("an error", func(t *testing.T) {
		w := start(t, Config{})
		f := w.process()
		answer := w.invoke(path, "{}")
		id, _ := f.next()
		s := f.stream(id, []string{modeStreaming}, "Lambda-Runtime-Function-Error-Type: boom", boom)
		s.write(t, "part")
		s.Close()
		a := get(t, answer)
		a.is(t, 200, `{"errorMessage":"b"}`)
		if a.header.Get("X-Amz-Function-Error") != "Unhandled" {
			t.Errorf("headers %v", a.header)
		}
	})
	t.Run("too much", func(t *testing.T) {
		w := start(t, Config{PayloadBytes: 100})
		f := w.process()
		answer := w.invoke(path, "{}")
		id, _ := f.next()
		f.respond(id, strings.Repeat("x", 150), modeStreaming)
		get(t, answer).isFault(t, 200, "Function.ResponseSizeTooLarge")
	})
}

// begun opens a stream whose first part has arrived.
func begun(t *testing.T, w *world, f *fakeProcess) (*streaming, *http.Response) {
	t.Helper()
	got := w.open("/")
	id, _ := f.next()
	s := f.stream(id, []string{modeStreaming})
	s.write(t, "part")
	res := <-got
	if res == nil {
		t.Fatal("no response")
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	return s, res
}

func TestStream_Limit(t *testing.T) {
	w := start(t, Config{StreamBytes: 1000})
	s, res := begun(t, w, w.process())
	_, _ = io.WriteString(s, strings.Repeat("x", 2000)) // refused somewhere on the way
	s.Close()
	<-s.done
	if rest, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("%d bytes and a good end", len(rest))
	}
}

// A caller that does not read holds the process up, but not beyond its deadline.
func TestStream_CallerThatDoesNotRead(t *testing.T) {
	w := start(t, Config{Timeout: limited(300 * time.Millisecond)})
	f := w.process()
	got := w.open("/")
	id, _ := f.next()
	s := f.stream(id, []string{modeStreaming})
	go io.Copy(s, strings.NewReader(strings.Repeat("x", 64<<20)))
	if res := <-got; res == nil {
		t.Fatal("no response")
	}
	<-f.exited
	s.Close()
	<-s.done
	w.process()
}

func TestStream_CallerThatLeaves(t *testing.T) {
	w := start(t, Config{})
	s, res := begun(t, w, w.process())
	res.Body.Close()
	s.write(t, strings.Repeat("x", 4<<20)) // it never learns
	s.Close()
	get(t, s.done).is(t, 202, `{"status":"OK"}`)
}

func TestStream_ProcessThatDies(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	s, res := begun(t, w, f)
	f.exit("signal: killed") // its connection stays open for a while, as that of a child of it would
	if rest, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("%d bytes and a good end", len(rest))
	}
	s.Close()
	<-s.done
}

func TestStream_DeadlineBeforeTheFirstByte(t *testing.T) {
	for path, status := range map[string]int{"/": 504, invokePath: 200} {
		w := start(t, Config{Timeout: limited(short)})
		f := w.process()
		answer := w.invoke(path, "{}")
		id, _ := f.next()
		s := f.stream(id, []string{modeStreaming})
		get(t, answer).isFault(t, status, "Sandbox.Timedout")
		s.Close()
		<-s.done
	}
}
