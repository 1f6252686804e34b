package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clientTo is a Client with a pool to an endpoint.
type clientTo struct {
	Client
	pool *Pool
}

func newClientTo(t testing.TB, address string) *clientTo {
	t.Helper()
	pool, err := NewPool(PoolConfig{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.CloseIdle)
	return &clientTo{pool: pool}
}

// do makes a request and reads the answer to its end.
func (c *clientTo) do(ctx context.Context, method, path, body string, deadline time.Time) (*http.Response, string, error) {
	r, err := http.NewRequest(method, "http://ignored"+path, nil)
	if err != nil {
		return nil, "", err
	}
	r.Host = ""
	answer, _, err := c.RoundTrip(ctx, c.pool, r, []byte(body), deadline)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer, string(text), err
}

func (c *clientTo) idle() int {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	return len(c.pool.idle)
}

// What a Client makes of an answer is what net/http makes of it, and so is what the endpoint sees.
func TestClient_IsNetHTTPToBothSides(t *testing.T) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		seen := fmt.Sprintf("%s %s host=%s length=%d coding=%v header=%v body=%d %v", r.Method, r.RequestURI, r.Host, r.ContentLength, r.TransferEncoding, r.Header, len(body), err)
		h := w.Header()
		h["Date"] = nil
		switch strings.TrimPrefix(r.URL.Path, "/") {
		case "chunks":
			io.WriteString(w, "first ")
			w.(http.Flusher).Flush()
		case "trailers":
			h.Set("Trailer", "X-Sum, X-Never")
			defer h.Set("X-Sum", "42")
		case "unannounced":
			w.(http.Flusher).Flush()
			defer h.Set(http.TrailerPrefix+"X-Late", "1")
		case "hints":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusProcessing)
		case "204":
			w.WriteHeader(http.StatusNoContent)
			return
		case "304":
			w.WriteHeader(http.StatusNotModified)
			return
		case "empty":
			return
		case "many":
			h.Add("Set-Cookie", "a")
			h.Add("Set-Cookie", "b")
			h["x-lower"] = []string{"1"}
		case "large":
			w.Write(bytes.Repeat([]byte("x"), 300<<10))
			return
		case "500":
			w.WriteHeader(500)
		}
		io.WriteString(w, seen)
	}))
	defer endpoint.Close()
	client := newClientTo(t, endpoint.Listener.Addr().String())
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	tell := func(answer *http.Response, text string) string {
		answer.Header.Del("Trailer") // of one connection; net/http leaves it in where there is no body
		return fmt.Sprint(answer.Status, answer.StatusCode, answer.Proto, answer.ProtoMajor, answer.ProtoMinor, answer.ContentLength, answer.Header, answer.Trailer, text)
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		for _, path := range []string{"/", "/chunks", "/trailers", "/unannounced", "/hints", "/204", "/304", "/empty", "/many", "/large", "/500", "/a%2Fb?x=%zz"} {
			for _, size := range []int{0, 4, bufferBytes, bufferBytes + 1, 64 << 10} {
				body := bytes.Repeat([]byte("b"), size)
				r, err := http.NewRequest(method, "http://"+endpoint.Listener.Addr().String()+path, bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header = http.Header{"User-Agent": {""}, "X-Two": {"1", "2"}, "Accept": {"*/*"}}
				if size == 0 {
					r.Body = http.NoBody
				}
				answer, err := transport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				want := tell(answer, string(text)) + fmt.Sprint(err)

				delete(r.Header, "User-Agent")
				r.Header["Connection"] = []string{"X-Private, close"}
				r.Header["X-Private"] = []string{"1"}
				r.Header["Keep-Alive"] = []string{"5"}
				if !CanSend(r) {
					t.Fatalf("%s %s cannot be sent", method, path)
				}
				answer, _, err = client.RoundTrip(t.Context(), client.pool, r, body, time.Now().Add(patience))
				if err != nil {
					t.Fatalf("%s %s: %v", method, path, err)
				}
				text, err = io.ReadAll(answer.Body)
				answer.Body.Close()
				if got := tell(answer, string(text)) + fmt.Sprint(err); got != want {
					t.Errorf("%s %s with %d bytes\nours     %.500s\nnet/http %.500s", method, path, size, got, want)
				}
			}
		}
	}
	if n := client.idle(); n != 1 {
		t.Errorf("%d connections are kept, want one, which was used for all", n)
	}
}

func TestCanSend(t *testing.T) {
	for _, r := range []struct {
		name string
		edit func(*http.Request)
		want bool
	}{
		{name: "plain", edit: func(*http.Request) {}, want: true},
		{name: "no host", edit: func(r *http.Request) { r.Host = "" }, want: true},
		{name: "method", edit: func(r *http.Request) { r.Method = "GET /\r\n" }},
		{name: "connect", edit: func(r *http.Request) { r.Method = "CONNECT" }},
		{name: "host", edit: func(r *http.Request) { r.Host = "a b" }},
		{name: "host with a line", edit: func(r *http.Request) { r.Host = "a\r\nX: 1" }},
		{name: "query with a line", edit: func(r *http.Request) { r.URL.RawQuery = "a\r\nX: 1" }},
		{name: "opaque", edit: func(r *http.Request) { r.URL.Opaque = "a" }},
		{name: "field's name", edit: func(r *http.Request) { r.Header["A b"] = []string{"1"} }},
		{name: "field's value", edit: func(r *http.Request) { r.Header["A"] = []string{"1\r\nB: 2"} }},
		{name: "expect", edit: func(r *http.Request) { r.Header.Set("Expect", "100-continue") }},
		{name: "trailer", edit: func(r *http.Request) { r.Trailer = http.Header{"A": nil} }},
		{name: "coding", edit: func(r *http.Request) { r.TransferEncoding = []string{"chunked"} }},
	} {
		request := httptest.NewRequest("GET", "http://h/a?b", nil)
		r.edit(request)
		if got := CanSend(request); got != r.want {
			t.Errorf("%s: %t", r.name, got)
		}
	}
}

// ends are how an endpoint may end a request, and what is told of it. After none of them is a connection kept.
func TestClient_EndpointBreaksOff(t *testing.T) {
	for _, r := range []struct {
		name   string
		answer string // "" reads nothing and closes
		want   error  // of RoundTrip
		body   error  // of its body
	}{
		{name: "nothing", want: ErrNoAnswer},
		{name: "half a head", answer: "HTTP/1.1 200 OK\r\nConte", want: ErrNoAnswer},
		{name: "no head", answer: "moo\r\n\r\n", want: ErrNoAnswer},
		{name: "two lengths", answer: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", want: ErrNoAnswer},
		{name: "switch", answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n", want: ErrNoAnswer},
		{name: "interim for ever", answer: strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100), want: ErrNoAnswer},
		{name: "half a body", answer: "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", body: io.ErrUnexpectedEOF},
		{name: "half a chunk", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal", body: io.ErrUnexpectedEOF},
		{name: "no chunk", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", body: errChunk},
		{name: "more than its length", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n"},
		{name: "until its end", answer: "HTTP/1.1 200 OK\r\n\r\nok"},
	} {
		t.Run(r.name, func(t *testing.T) {
			c := newClientTo(t, rawEndpoint(t, func(conn net.Conn, in *bufio.Reader) {
				if request, err := http.ReadRequest(in); err == nil && r.answer != "" {
					io.Copy(io.Discard, request.Body)
					io.WriteString(conn, r.answer)
				}
			}))
			_, text, err := c.do(t.Context(), "POST", "/", "body", time.Now().Add(patience))
			want := r.want
			if want == nil {
				want = r.body
			}
			if !errors.Is(err, want) || want == nil && (err != nil || text != "ok") || errors.Is(err, ErrNotReached) {
				t.Errorf("%q, %v, want %v", text, err, want)
			}
			if n := c.idle(); n != 0 {
				t.Errorf("%d connections are kept", n)
			}
		})
	}
}

func TestClient_NotReached(t *testing.T) {
	c := newClientTo(t, refusing(t))
	if _, _, err := c.do(t.Context(), "GET", "/", "", time.Time{}); !errors.Is(err, ErrNotReached) {
		t.Errorf("refused: %v", err)
	}
}

// A connection that the endpoint closed in the meantime is found to be closed before anything is written to it.
func TestClient_StaleConnection(t *testing.T) {
	closed := make(chan struct{}, 8)
	c := newClientTo(t, rawEndpoint(t, func(conn net.Conn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err == nil {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
		conn.Close()
		closed <- struct{}{}
	}))
	for range 5 {
		if _, text, err := c.do(t.Context(), "POST", "/", "body", time.Time{}); err != nil || text != "ok" {
			t.Fatalf("%q, %v", text, err)
		}
		<-closed // its end has left by loopback, and so has come
	}
}

// stalling answers with what it is given, and then nothing until the client has gone, which it tells.
func stalling(t *testing.T, answer string) (c *clientTo, read, gone chan struct{}) {
	read, gone = make(chan struct{}, 1), make(chan struct{}, 1)
	return newClientTo(t, rawEndpoint(t, func(conn net.Conn, in *bufio.Reader) {
		http.ReadRequest(in)
		io.WriteString(conn, answer)
		read <- struct{}{}
		io.Copy(io.Discard, in)
		gone <- struct{}{}
	})), read, gone
}

func TestClient_OutOfTime(t *testing.T) {
	for name, answer := range map[string]string{
		"no head": "", "half a head": "HTTP/1.1 200", "half a body": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _ := stalling(t, answer)
			if _, _, err := c.do(t.Context(), "GET", "/", "", time.Now().Add(200*time.Millisecond)); !errors.Is(err, ErrDeadline) {
				t.Error(err)
			}
			if n := c.idle(); n != 0 {
				t.Errorf("%d connections are kept", n)
			}
		})
	}
	c, _, _ := stalling(t, "")
	if _, _, err := c.do(t.Context(), "GET", "/", "", time.Now().Add(-time.Second)); !errors.Is(err, ErrDeadline) {
		t.Error("before it began:", err)
	}
}

// A body whose length is not known has no deadline: it ends with whoever asked.
func TestClient_StreamHasNoDeadline(t *testing.T) {
	release := make(chan struct{})
	c := newClientTo(t, rawEndpoint(t, func(conn net.Conn, in *bufio.Reader) {
		http.ReadRequest(in)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		<-release
		io.WriteString(conn, "2\r\nok\r\n0\r\n\r\n")
	}))
	deadline := time.Now().Add(3 * time.Second)
	time.AfterFunc(time.Until(deadline)+100*time.Millisecond, func() { close(release) })
	if _, text, err := c.do(t.Context(), "GET", "/", "", deadline); err != nil || text != "ok" || time.Now().Before(deadline) {
		t.Errorf("%q, %v", text, err)
	}
}

func TestClient_ContextEnds(t *testing.T) {
	for name, answer := range map[string]string{
		"no head": "", "half a body": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "stream": "HTTP/1.1 200 OK\r\n\r\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			c, read, gone := stalling(t, answer)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-read
				cancel()
			}()
			if _, _, err := c.do(ctx, "GET", "/", "", time.Now().Add(patience)); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			<-gone
			if n := c.idle(); n != 0 {
				t.Errorf("%d connections are kept", n)
			}
		})
	}
	c, _, _ := stalling(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.do(ctx, "GET", "/", "", time.Time{}); !errors.Is(err, context.Canceled) {
		t.Error("before it began:", err)
	}
}

// An answer that is given up takes its connection with it, and its body reads no other's.
func TestClient_BodyIsGivenUp(t *testing.T) {
	c, _, gone := stalling(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
	r := httptest.NewRequest("GET", "http://h/", nil)
	answer, _, err := c.RoundTrip(t.Context(), c.pool, r, nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	answer.Body.Close()
	if n, err := answer.Body.Read(make([]byte, 10)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("%d bytes, %v", n, err)
	}
	<-gone
}

// Many at once, of which some are given up or cancelled, get their own answers.
func TestClient_CallsDoNotMix(t *testing.T) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if len(body)%2 == 0 {
			w.(http.Flusher).Flush()
		}
		io.WriteString(w, r.URL.Path)
		w.Write(body)
	}))
	defer endpoint.Close()
	c := newClientTo(t, endpoint.Listener.Addr().String())
	var calls sync.WaitGroup
	var answered atomic.Int32
	for caller := range 8 {
		calls.Go(func() {
			for n := range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				body := strings.Repeat("b", caller*n*13)
				path := fmt.Sprintf("/%d/%d", caller, n)
				if n%7 == 0 {
					go func() {
						runtime.Gosched()
						cancel()
					}()
				}
				_, text, err := c.do(ctx, "POST", path, body, time.Now().Add(patience))
				switch {
				case err == nil && text != path+body:
					t.Errorf("%s got %.100q", path, text)
				case err == nil:
					answered.Add(1)
				case n%7 != 0 || !errors.Is(err, context.Canceled):
					t.Errorf("%s: %v", path, err)
				}
				cancel()
			}
		})
	}
	calls.Wait()
	if answered.Load() == 0 {
		t.Error("nothing was answered")
	}
}

// Answers of our own: with a Date of the handler's, bodies that fit no buffer, heads alone, trailers.
func TestExchange_Answers(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	s := startServer(t, ServerConfig{Handler: func(x *Exchange) {
		switch string(x.Target) {
		case "/dated":
			x.ToClient.Add("date", "Thu, 01 Jan 1970 00:00:00 GMT")
			x.Answer(200, []byte("ok"))
		case "/large":
			x.Answer(200, large)
		case "/head":
			x.AnswerHead(200, 12)
		case "/nohead":
			x.AnswerHead(200, -1)
		case "/trailers":
			x.ToClient.Add("Trailer", "X-Sum")
			var last Edits
			last.Add("X-Sum", "42")
			x.AnswerTrailers(200, []byte("ok"), &last)
		}
	}})
	for _, r := range []struct {
		method, path string
		length       int64
		body         string
		trailer      string
	}{
		{"GET", "/dated", 2, "ok", ""},
		{"GET", "/large", int64(len(large)), string(large), ""},
		{"HEAD", "/large", int64(len(large)), "", ""},
		{"HEAD", "/head", 12, "", ""},
		{"HEAD", "/nohead", -1, "", ""},
		{"GET", "/trailers", -1, "ok", "42"},
	} {
		conn := s.dial(t)
		in := bufio.NewReader(conn)
		for range 2 { // the connection goes on
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: h\r\n\r\n", r.method, r.path)
			answer, body := get(t, in, r.method)
			if answer.ContentLength != r.length || body != r.body || answer.Trailer.Get("X-Sum") != r.trailer || len(answer.Header["Date"]) != 1 {
				t.Errorf("%s %s: %d, %.100q, %v, %v", r.method, r.path, answer.ContentLength, body, answer.Trailer, answer.Header)
			}
		}
		conn.Close()
	}
	conn := s.dial(t)
	defer conn.Close()
	fmt.Fprint(conn, "GET /trailers HTTP/1.0\r\n\r\n")
	if answer, body := get(t, bufio.NewReader(conn), "GET"); answer.ContentLength != 2 || body != "ok" {
		t.Errorf("HTTP/1.0: %v %q", answer, body)
	}
}

// BenchmarkClient compares a request and its answer with net/http's, to an endpoint that costs next to nothing.
func BenchmarkClient(b *testing.B) {
	body := strings.Repeat("b", 64)
	address := cannedEndpoint(b, len(body))
	b.Run("http1", func(b *testing.B) {
		c := newClientTo(b, address)
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := c.do(b.Context(), "POST", "/members", body, time.Now().Add(patience)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("nethttp", func(b *testing.B) {
		transport := &http.Transport{DisableCompression: true}
		defer transport.CloseIdleConnections()
		b.ReportAllocs()
		for b.Loop() {
			r, err := http.NewRequestWithContext(b.Context(), "POST", "http://"+address+"/members", strings.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			answer, err := transport.RoundTrip(r)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadAll(answer.Body); err != nil {
				b.Fatal(err)
			}
			answer.Body.Close()
		}
	})
}
