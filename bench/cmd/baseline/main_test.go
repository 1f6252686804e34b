package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	answer, err := http.Post(url, "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(got)
}

func TestFork(t *testing.T) {
	for command, want := range map[string]string{"cat": "moo", "printenv Http_Content_Type": "text/plain\n"} {
		server := httptest.NewServer(fork(strings.Fields(command)))
		if status, got := post(t, server.URL, "moo"); status != 200 || got != want {
			t.Errorf("%s: %d %q", command, status, got)
		}
		server.Close()
	}
	server := httptest.NewServer(fork([]string{"false"}))
	defer server.Close()
	if status, _ := post(t, server.URL, "moo"); status != http.StatusInternalServerError {
		t.Errorf("false: %d", status)
	}
}

func TestForward(t *testing.T) {
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		io.Copy(w, r.Body)
		io.WriteString(w, r.URL.RequestURI())
	}))
	server := httptest.NewServer(forward(behind.URL))
	defer server.Close()
	if status, got := post(t, server.URL+"/a?b", "moo"); status != http.StatusTeapot || got != "moo/a?b" {
		t.Errorf("%d %q", status, got)
	}
	behind.Close()
	if status, _ := post(t, server.URL, "moo"); status != http.StatusInternalServerError {
		t.Errorf("nobody behind it: %d", status)
	}
}
