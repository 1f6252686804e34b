package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestServe(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(serve))
	defer server.Close()
	long := strings.Repeat("x", 1<<20)
	for _, tt := range []struct{ path, body, want string }{
		{"/", "moo", "hello world\n"},
		{"/function/f0", "", "hello world\n"},
		{"/function/f0/echo", long, long},
		{"/sleep", "moo", "hello world\n"},
		{"/function/contract/members", "{}", members}, {"/unwritten", "{}", unwritten}, {"/nothing", "moo", "{}\n"},
	} {
		started := time.Now()
		answer, err := http.Post(server.URL+tt.path, "text/plain", strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || string(got) != tt.want || answer.ContentLength != int64(len(tt.want)) {
			t.Errorf("%s: %d bytes of %d, %v", tt.path, len(got), answer.ContentLength, err)
		}
		if tt.path == "/sleep" && time.Since(started) < sleep {
			t.Errorf("slept %v", time.Since(started))
		}
	}
}
