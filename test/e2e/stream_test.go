package e2e

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/websocket"
)

// Streaming is shown without a clock: the function sends its next part only once the test has read the last. Whoever held a
// part back on the way would leave both waiting, until the test's own limit.

func streamed(t *testing.T, test func(t *testing.T, f function)) {
	for name, d := range map[string]deployment{"own entrypoint": probe(t), "behind the watchdog": watchedProbe(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, deploy(t, d))
		})
	}
}

func TestStream_ServerSentEvents(t *testing.T) {
	t.Parallel()
	streamed(t, func(t *testing.T, f function) {
		res := gateway.stream(t, request{
			method: "GET", path: f.path("/events?id=1"), auth: nobody, header: http.Header{"Accept": {"text/event-stream"}},
		}, nil)
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%s, content type %q", res.Status, res.Header.Get("Content-Type"))
		}
		events := bufio.NewReader(res.Body)
		wantEvent(t, events, "open")
		for _, event := range []string{"first", "second"} {
			emit(t, f, event)
			wantEvent(t, events, event)
		}
		emit(t, f, "")
		if rest, err := io.ReadAll(events); err != nil || len(rest) > 0 {
			t.Errorf("after the last event: %q, %v", rest, err)
		}
	})
}

func emit(t *testing.T, f function, event string) {
	t.Helper()
	gateway.ask(t, request{method: "POST", path: f.path("/emit?id=1"), body: event, auth: nobody}).is(t, "emit "+event, http.StatusOK)
}

func wantEvent(t *testing.T, from *bufio.Reader, want string) {
	t.Helper()
	line, err := from.ReadString('\n')
	if err != nil || line != "data: "+want+"\n" {
		t.Fatalf("event %q, %v; want %q", line, err, want)
	}
	if _, err := from.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

func TestStream_BothWaysAtOnce(t *testing.T) {
	t.Parallel()
	streamed(t, func(t *testing.T, f function) {
		body, feed := io.Pipe()
		defer feed.Close()
		res := gateway.stream(t, request{method: "POST", path: f.path("/duplex"), auth: nobody}, body)
		answer := bufio.NewReader(res.Body)
		for _, line := range []string{"moo\n", "low\n"} {
			if _, err := io.WriteString(feed, line); err != nil {
				t.Fatal(err)
			}
			if got, err := answer.ReadString('\n'); got != strings.ToUpper(line) {
				t.Fatalf("got %q, %v; want %q", got, err, strings.ToUpper(line))
			}
		}
		feed.Close()
		if rest, err := io.ReadAll(answer); err != nil || len(rest) > 0 {
			t.Errorf("after the last line: %q, %v", rest, err)
		}
		if got := res.Trailer.Get("X-Lines"); got != "2" {
			t.Errorf("trailer X-Lines: %q, want 2", got)
		}
	})
}

func TestStream_Websocket(t *testing.T) {
	t.Parallel()
	streamed(t, func(t *testing.T, f function) {
		f.get(t, "/").is(t, "warm up", http.StatusOK)
		u, err := url.Parse(gateway.url + f.path("/ws"))
		if err != nil {
			t.Fatal(err)
		}
		u.Scheme = "ws"
		conn, err := websocket.Dial(u.String(), "", gateway.url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, message := range []string{"moo", "low", strings.Repeat("long ", 20_000)} {
			if err := websocket.Message.Send(conn, message); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(message))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != message {
				t.Fatalf("echo of %.10q: %.10q, %v", message, got, err)
			}
		}
	})
}

// TestStream_LargeBodies sends more than any buffer on the way holds, with a length and without one.
func TestStream_LargeBodies(t *testing.T) {
	t.Parallel()
	f := deploy(t, parrot())
	body := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB
	for name, chunked := range map[string]io.Reader{"with a length": nil, "chunked": strings.NewReader(body)} {
		t.Run(name, func(t *testing.T) {
			res := gateway.stream(t, request{method: "POST", path: f.path(""), body: body, auth: nobody}, chunked)
			got, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != http.StatusOK || string(got) != body {
				t.Errorf("%s, %d bytes came back of %d, %v", res.Status, len(got), len(body), err)
			}
		})
	}
}
