package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A contract's answer is in its heap when the caller has it, and what is accepted for later is made.
func TestRun(t *testing.T) {
	made := make(chan string, 8)
	function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		made <- r.URL.Path
		io.WriteString(w, `{"balance":7}`)
	}))
	defer function.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, file := listener.Addr().String(), filepath.Join(t.TempDir(), "heap.db")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, options{endpoint: function.Listener.Addr().String(), file: file}, listener)
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for _, step := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"POST", "/function/plain", 200, `{"balance":7}`},
		{"POST", "/function/contract", 200, `{"balance":7}`},
		{"POST", "/function/serial", 200, `{"balance":7}`},
		{"GET", "/heap/contract/balance", 200, "7"},
		{"GET", "/heap/serial/balance", 200, "7"},
		{"GET", "/noop", 200, noop},
		{"GET", "/noop-passed", 200, noop},
		{"POST", "/async-function/plain/later", 202, ""},
	} {
		r, err := http.NewRequest(step.method, "http://"+address+step.path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(user, password)
		r.Close = true // a connection that was passed on does not come back, and /noop is not there
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != step.status || string(body) != step.body {
			t.Errorf("%s %s: %d %s, %v", step.method, step.path, answer.StatusCode, body, err)
		}
	}
	for limit := time.After(30 * time.Second); ; {
		select {
		case path := <-made:
			if path == "/later" {
				return
			}
		case <-limit:
			t.Fatal("what was accepted is not made")
		}
	}
}
