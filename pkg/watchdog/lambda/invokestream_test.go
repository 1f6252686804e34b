package lambda

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"strings"
	"testing"
)

const streamPath = "/2021-11-15/functions/function/response-streaming-invocations"

// streamEvent is a message in AWS's event stream encoding.
type streamEvent struct {
	headers map[string]string
	payload string
}

// decodeStream reads messages by the description of the encoding, and not by our encoder.
func decodeStream(t *testing.T, text string) (events []streamEvent) {
	t.Helper()
	for b := []byte(text); len(b) > 0; {
		if len(b) < 16 {
			t.Fatalf("%d bytes are left", len(b))
		}
		total, headers := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
		if int(total) > len(b) || headers > total-16 {
			t.Fatalf("a message of %d bytes, %d of them headers, in %d", total, headers, len(b))
		}
		if binary.BigEndian.Uint32(b[8:]) != crc32.ChecksumIEEE(b[:8]) || binary.BigEndian.Uint32(b[total-4:]) != crc32.ChecksumIEEE(b[:total-4]) {
			t.Fatal("a checksum is wrong")
		}
		e := streamEvent{headers: map[string]string{}, payload: string(b[12+headers : total-4])}
		for h := b[12 : 12+headers]; len(h) > 0; {
			name := h[1 : 1+h[0]]
			h = h[1+h[0]:]
			if h[0] != 7 {
				t.Fatalf("header %s is of type %d, not a text", name, h[0])
			}
			size := binary.BigEndian.Uint16(h[1:])
			e.headers[string(name)] = string(h[3 : 3+size])
			h = h[3+size:]
		}
		events = append(events, e)
		b = b[total:]
	}
	return events
}

// streamed is what the events say: the whole of the payload, and what completed it.
func (a reply) streamed(t *testing.T) (payload string, complete struct{ ErrorCode, ErrorDetails, LogResult string }) {
	t.Helper()
	if a.status != 200 || a.header.Get("Content-Type") != eventStreamType {
		t.Fatalf("%d %v %q", a.status, a.header, a.body)
	}
	events := decodeStream(t, a.body)
	for i, e := range events {
		want := "PayloadChunk"
		if i == len(events)-1 {
			want = "InvokeComplete"
		}
		if e.headers[":event-type"] != want || e.headers[":message-type"] != "event" {
			t.Fatalf("event %d of %d: %v", i, len(events), e.headers)
		}
		if want == "PayloadChunk" {
			payload += e.payload
		} else if err := json.Unmarshal([]byte(e.payload), &complete); err != nil {
			t.Fatal(err)
		}
	}
	return payload, complete
}

func TestInvokeStream(t *testing.T) {
	large := strings.Repeat("x", 100<<10)
	for _, tt := range []struct {
		name                string
		answer              func(f *fakeProcess, id string)
		payload, code, tell string
	}{
		{"whole", func(f *fakeProcess, id string) { f.respond(id, `{"a":1}`) }, `{"a":1}`, "", ""},
		{"whole and large", func(f *fakeProcess, id string) { f.respond(id, large) }, large, "", ""},
		{"empty", func(f *fakeProcess, id string) { f.respond(id, "") }, "", "", ""},
		{"streamed", func(f *fakeProcess, id string) { f.respond(id, large, modeStreaming) }, large, "", ""},
		{"with a head of its own", func(f *fakeProcess, id string) {
			f.respond(id, "{\"statusCode\":201}\x00\x00\x00\x00\x00\x00\x00\x00made", "Content-Type: "+preludeType)
		}, "{\"statusCode\":201}\x00\x00\x00\x00\x00\x00\x00\x00made", "", ""},
		{"error", func(f *fakeProcess, id string) {
			f.call("POST", invocations+id+"/error", strings.NewReader(`{"errorType":"Odd","errorMessage":"as wished"}`))
		}, "", "Odd", `{"errorType":"Odd","errorMessage":"as wished"}`},
		{"error of another shape", func(f *fakeProcess, id string) {
			f.call("POST", invocations+id+"/error", strings.NewReader(`oh`))
		}, "", "Unhandled", `oh`},
		{"exit", func(f *fakeProcess, id string) { f.exit("exit status 3") }, "", "Runtime.ExitError", "exit status 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, Config{})
			f := w.process()
			answer := w.invoke(streamPath, `1`, "X-Amz-Log-Type: Tail")
			id, _ := f.next()
			tt.answer(f, id)
			payload, complete := get(t, answer).streamed(t)
			if payload != tt.payload || complete.ErrorCode != tt.code || !strings.Contains(complete.ErrorDetails, tt.tell) || complete.LogResult == "" {
				t.Errorf("%d bytes %.50q, %+v", len(payload), payload, complete)
			}
		})
	}
}

func TestInvokeStream_BreaksOff(t *testing.T) {
	w := start(t, Config{})
	f := w.process()
	answer := w.invoke(streamPath, `1`)
	id, _ := f.next()
	s := f.stream(id, []string{modeStreaming}, "Lambda-Runtime-Function-Error-Type: boom", boom)
	s.write(t, "part")
	s.Close()
	payload, complete := get(t, answer).streamed(t)
	if payload != "part" || complete.ErrorCode != "Unhandled" || complete.ErrorDetails != `{"errorMessage":"b"}` || complete.LogResult != "" {
		t.Errorf("%q, %+v", payload, complete)
	}

	f.poll()
	w.waitIdle()
	answer = w.invoke(streamPath, `2`)
	w.waitFor("an invocation that is given", func(p *Pool) bool { return len(p.idle) == 0 })
	f.exit("exit status 1")
	if _, complete := get(t, answer).streamed(t); complete.ErrorCode != "Runtime.ExitError" {
		t.Errorf("%+v", complete)
	}
}

func TestInvokeStream_Types(t *testing.T) {
	w := start(t, Config{})
	get(t, w.invoke(streamPath, `1`, "X-Amz-Invocation-Type: DryRun")).is(t, 204, "")
	if a := get(t, w.invoke(streamPath, `1`, "X-Amz-Invocation-Type: Event")); a.status != 400 {
		t.Errorf("%+v", a)
	}
	if a := get(t, w.invoke(streamPath, `no JSON`)); a.status != 400 {
		t.Errorf("%+v", a)
	}
	f := w.process()
	get(t, w.invoke("/2014-11-13/functions/x/invoke-async/", `2`)).is(t, 202, "")
	id, a := f.next()
	a.is(t, 200, `2`)
	f.respond(id, `x`)
}
