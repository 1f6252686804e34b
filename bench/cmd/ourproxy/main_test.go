package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProxy(t *testing.T) {
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) }))
	defer behind.Close()
	p, err := newProxy(behind.Listener.Addr().String(), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	server := httptest.NewServer(p)
	defer server.Close()
	for path, want := range map[string]int{"/function/f0/echo": 200, "/function/f2": 200, "/function/f3": 404} {
		answer, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != want || want == 200 && !strings.HasPrefix(string(body), "/") {
			t.Errorf("%s: %d %q %v", path, answer.StatusCode, body, err)
		}
	}
}
