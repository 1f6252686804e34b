package lambda

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// FuzzRuntimeAPI lets a process with an event in hand send anything. Whatever that is, the API answers, the invocation gets no more
// than one outcome, memory is given back, and a process that then keeps to the protocol can go on.
func FuzzRuntimeAPI(f *testing.F) {
	const id = "0d4a3b2c-1111-4222-8333-444455556666"
	base := "/2018-06-01/runtime/invocation/" + id
	f.Add("POST", base+"/response", "", "application/json", "", "", "{}")
	f.Add("POST", base+"/response", "streaming", preludeType, "", "", `{"statusCode":200}`+prelude8+"body")
	f.Add("POST", base+"/response", "", "application/octet-stream", "boom", "e30=", "part")
	f.Add("POST", base+"/response", "sideways", "", "", "", "x")
	f.Add("POST", base+"/error", "", "", "Runtime.X", "", `{"errorMessage":"m","errorType":"t"}`)
	f.Add("POST", "/2018-06-01/runtime/invocation/other/response", "", "", "", "", "x")
	f.Add("POST", "/2018-06-01/runtime/init/error", "", "", "", "", "{}")
	f.Add("GET", "/2018-06-01/runtime/invocation/next", "", "", "", "", "")
	f.Add("POST", "/2020-01-01/extension/register", "", "", "", "", `{"events":["INVOKE"]}`)
	f.Add("POST", base+"/response", "", "", "", "", strings.Repeat("x", 200))
	f.Fuzz(func(t *testing.T, method, path, mode, contentType, trailerType, trailerBody, body string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://api"+path, strings.NewReader(body))
		if err != nil {
			return // it cannot be sent
		}
		req.Header.Set(headerMode, mode)
		req.Header.Set("Content-Type", contentType)
		req.Header.Set(headerExtensionName, contentType)
		req.Trailer = http.Header{headerErrorType: {trailerType}, headerErrorBody: {trailerBody}}
		req.ContentLength = -1

		pool, err := New(Config{PayloadBytes: 100, StreamBytes: 1000}, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		r := &runtime{pool: pool, log: pool.log, ctx: t.Context(), rest: pool.rest, settled: func() {}, timer: time.NewTimer(time.Hour)}
		defer r.timer.Stop()
		po, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		inv := &invocation{id: id, event: []byte("{}"), timeout: time.Hour, deadline: time.Now().Add(time.Hour), outcome: make(chan outcome, 1)}
		if err := pool.admit(inv); err != nil {
			t.Fatal(err)
		}
		<-po.given
		used := make(chan struct{})
		stop := make(chan struct{})
		go func() { // the caller
			defer close(used)
			select {
			case o := <-inv.outcome:
				if o.stream != nil {
					_, _ = io.Copy(io.Discard, o.stream)
				}
				o.done()
			case <-stop:
			}
		}()
		handler := r.handler()
		rec := httptest.NewRecorder()
		if req.URL.Path != "/2020-01-01/extension/event/next" {
			handler.ServeHTTP(rec, req)
		}
		if rec.Code < 200 || rec.Code > 499 {
			t.Errorf("status %d %s", rec.Code, rec.Body)
		}
		if r.machine.state == running {
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", base+"/response", strings.NewReader("1")))
		}
		if _, err := r.next(); err != nil {
			t.Errorf("next: %v", err)
		}
		close(stop)
		<-used
		if pool.replies.left != 300 || len(inv.outcome) > 0 && !inv.settled {
			t.Errorf("%d bytes left for answers", pool.replies.left)
		}
	})
}

// FuzzAnswer makes responses out of whatever a function answers: always one, and never one that cannot be sent.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"statusCode":200,"headers":{"a":"b"},"cookies":["c"],"body":"eA==","isBase64Encoded":true}`), false)
	f.Add([]byte(`{"statusCode":null,"StatusCode":204}`), false)
	f.Add([]byte(`{"statusCode":204}`+prelude8+"body"), true)
	f.Add([]byte(`[1]`), false)
	pool, err := New(Config{}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer []byte, streamed bool) {
		rec := httptest.NewRecorder()
		inv := &invocation{id: "id"}
		if !streamed {
			pool.sendHTTP(rec, inv, &outcome{body: answer})
		} else {
			from, to := io.Pipe()
			go func() {
				_, _ = to.Write(answer)
				_ = to.Close()
			}()
			pool.sendStream(rec, inv, &outcome{stream: from, contentType: preludeType})
			from.Close()
		}
		if rec.Code < 200 || rec.Code > 999 {
			t.Errorf("status %d", rec.Code)
		}
	})
}
