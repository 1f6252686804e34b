package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

func TestStream_AnswersArriveAsTheyAreWritten(t *testing.T) {
	w := newWorld(t, nil)
	next := make(chan struct{})
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Accept"))
		for i := range 3 {
			fmt.Fprintf(w, "event %d\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	})
	for _, accept := range []string{"text/event-stream", "application/x-ndjson", "text/plain"} {
		t.Run(accept, func(t *testing.T) {
			conn := w.dial()
			fmt.Fprintf(conn, "GET /function/echo HTTP/1.1\r\nHost: h\r\nAccept: %s\r\n\r\n", accept)
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(answer.Body)
			for i := range 3 {
				line, err := lines.ReadString('\n') // the function goes on only when this has arrived
				if want := fmt.Sprintf("event %d\n", i); line != want {
					t.Fatalf("line %q, %v; want %q", line, err, want)
				}
				next <- struct{}{}
			}
		})
	}
}

func TestStream_HeadersOfAnUnknownLengthArriveAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	next := make(chan struct{})
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-next
	})
	defer close(next)
	conn := w.dial()
	io.WriteString(conn, "GET /function/echo HTTP/1.1\r\nHost: h\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
		t.Error(err)
	}
}

// Both bodies are under way at once, each waiting for the other.
func TestStream_BothWays(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(w, strings.ToUpper(line))
			w.(http.Flusher).Flush()
		}
	})
	body, say := io.Pipe()
	r, _ := http.NewRequest("POST", w.server.URL+"/function/echo", body)
	go io.WriteString(say, "one\n")
	answer, err := w.server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	for _, word := range []string{"two", "three", ""} {
		if line, err := lines.ReadString('\n'); err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		if word != "" {
			fmt.Fprintln(say, word)
		}
	}
	say.Close()
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestStream_LargeBodies(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
	})
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<20/4)
	for _, known := range []bool{true, false} {
		var reader io.Reader = bytes.NewReader(body)
		if !known {
			reader = io.MultiReader(reader)
		}
		r, _ := http.NewRequest("POST", w.server.URL+"/function/echo", reader)
		answer, err := w.server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("length known %v: %d bytes came back of %d, %v", known, len(got), len(body), err)
		}
	}
}

// A function may answer without reading the body, and the caller may be one that sends all before it reads.
func TestStream_EarlyAnswer(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "no")
	})
	for _, size := range []int{10, 100 << 10, 10 << 20} {
		conn := w.dial()
		fmt.Fprintf(conn, "POST /function/echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size)
		go conn.Write(make([]byte, size))
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%d bytes: %v", size, err)
			continue
		}
		if got, err := io.ReadAll(answer.Body); answer.StatusCode != http.StatusForbidden || string(got) != "no" {
			t.Errorf("%d bytes: status %d, %q, %v", size, answer.StatusCode, got, err)
		}
	}
}

func TestStream_FunctionThatBreaksOffIsNoWholeAnswer(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", "100")
		}
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	for _, path := range []string{"/function/echo", "/function/echo/length"} {
		conn := w.dial()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			_, err = io.ReadAll(answer.Body)
		}
		// One that is small and has a length is waited for, so that the caller can be told.
		told := err == nil && answer.StatusCode == http.StatusBadGateway && answer.Header.Get("X-OpenFaaS-Internal") == "proxy"
		if err == nil && !told {
			t.Errorf("%s: half an answer was passed on as a whole one", path)
		}
	}
	w.await(func() bool { return w.proxy.Load(echo).InFlight == 0 })
}

func TestStream_Trailers(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.Copy(w, r.Body)
		w.Header().Set("X-Sum", r.Trailer.Get("X-Check"))
	})
	r, _ := http.NewRequest("POST", w.server.URL+"/function/echo", io.MultiReader(strings.NewReader("body")))
	r.Trailer = http.Header{"X-Check": {"42"}}
	answer, err := w.server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got, _ := io.ReadAll(answer.Body); string(got) != "body" || answer.Trailer.Get("X-Sum") != "42" {
		t.Errorf("body %q, trailer %v", got, answer.Trailer)
	}
}

func TestStream_ExpectContinueIsTheFunctionsToGrant(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		io.Copy(w, r.Body)
	})
	begin := func(path string) (io.Writer, *bufio.Reader) {
		conn := w.dial()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n", path)
		return conn, bufio.NewReader(conn)
	}

	conn, reader := begin("/function/echo")
	answer, err := http.ReadResponse(reader, nil)
	if err != nil || answer.StatusCode != http.StatusContinue {
		t.Fatalf("%v, %v; want 100", answer, err)
	}
	io.WriteString(conn, "body")
	if answer, err = http.ReadResponse(reader, nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(answer.Body); string(got) != "body" {
		t.Errorf("answer %q", got)
	}

	_, reader = begin("/function/echo/refuse")
	if answer, err = http.ReadResponse(reader, nil); err != nil || answer.StatusCode != http.StatusExpectationFailed {
		t.Errorf("%v, %v; want 417", answer, err)
	}
}

func TestStream_InformationalAnswers(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	})
	var hints string
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			hints = h.Get("Link")
			return nil
		},
	})
	r, _ := http.NewRequestWithContext(ctx, "GET", w.server.URL+"/function/echo", nil)
	answer, err := w.server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if hints == "" || answer.StatusCode != 200 || answer.Header.Get("X-Call-Id") == "" {
		t.Errorf("hints %q, status %d, call id %q", hints, answer.StatusCode, answer.Header.Get("X-Call-Id"))
	}
}

// shout takes an upgraded connection over and answers each line in capitals.
func shout(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-Websocket-Accept: yes\r\n\r\n", r.Header.Get("Upgrade"))
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			return
		}
		io.WriteString(conn, strings.ToUpper(line))
	}
}

func TestStream_Upgrade(t *testing.T) {
	for _, tt := range []struct{ name, headers string }{
		{"as browsers send it", "Connection: Upgrade\r\nUpgrade: websocket"},
		{"in any case", "connection: keep-alive, uPGRADE\r\nupgrade: WebSocket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// No deadline is for an upgraded connection.
			w := newWorld(t, func(c *Config) { c.Timeout = time.Second })
			w.deploy(echo, shout)
			conn := w.dial()
			fmt.Fprintf(conn, "GET /function/echo/ws HTTP/1.1\r\nHost: h\r\n%s\r\nSec-WebSocket-Key: k\r\n\r\n", tt.headers)
			reader := bufio.NewReader(conn)
			answer, err := http.ReadResponse(reader, nil)
			if err != nil || answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Sec-Websocket-Accept") != "yes" {
				t.Fatalf("%v, %v", answer, err)
			}
			if answer.Header.Get("Content-Type") != "" {
				t.Error("a 101 got a content type")
			}
			for range 3 {
				fmt.Fprintln(conn, "hello")
				if line, err := reader.ReadString('\n'); line != "HELLO\n" {
					t.Fatalf("%q, %v", line, err)
				}
				time.Sleep(400 * time.Millisecond) // past the deadline of a call
			}
			if load := w.proxy.Load(echo); load.InFlight != 1 {
				t.Errorf("load %+v while a connection is upgraded", load)
			}
			conn.Close()
			for w.proxy.Load(echo).InFlight != 0 {
				time.Sleep(time.Millisecond)
			}
		})
	}
}

func TestStream_UpgradeRefused(t *testing.T) {
	w := newWorld(t, nil)
	w.deploy(echo, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	answer, _ := w.request("GET", "/function/echo", "", "Connection", "Upgrade", "Upgrade", "websocket")
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", answer.StatusCode)
	}
}
