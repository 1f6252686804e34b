package main

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRoutes(t *testing.T) {
	t.Setenv("GREETED_BY", "the test")
	server := httptest.NewServer(routes())
	defer server.Close()

	tests := []struct {
		name, path, body string
		status           int
		contains         string
	}{
		{"greeting", "/", "", 200, "Hello from a Go function.\n"},
		{"any other path greets too, as probes expect", "/_/health", "", 200, "Hello"},
		{"echo gives the body back", "/echo", "moo", 200, "moo"},
		{"events count from zero", "/events?n=2&interval=1ms", "", 200, "id: 0\ndata: tick 0\n\nid: 1\ndata: tick 1\n\n"},
		{"a bad count is refused", "/events?n=-1", "", 400, `n="-1": want a whole number`},
		{"sleep tells how long", "/sleep?d=1ms", "", 200, "slept 1ms\n"},
		{"a bad duration is refused", "/sleep?d=long", "", 400, `d="long": want a duration`},
		{"environment", "/env", "", 200, "GREETED_BY=the test\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := http.Post(server.URL+tt.path, "text/plain", strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != tt.status || !strings.Contains(string(body), tt.contains) {
				t.Errorf("%s: got %d %q, want %d with %q", tt.path, res.StatusCode, body, tt.status, tt.contains)
			}
		})
	}
}

func TestEcho_StreamsBothWays(t *testing.T) {
	server := httptest.NewServer(routes())
	defer server.Close()
	body, feed := io.Pipe()
	defer feed.Close()
	go io.WriteString(feed, "first\n") // ends with the read below, or with feed

	res, err := http.Post(server.URL+"/echo", "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer := bufio.NewReader(res.Body)
	for _, line := range []string{"first\n", "second\n"} {
		// The request is not finished, and yet its first part comes back.
		if got, err := answer.ReadString('\n'); got != line {
			t.Fatalf("got %q, %v; want %q", got, err, line)
		}
		if line == "first\n" {
			io.WriteString(feed, "second\n")
		}
	}
}
