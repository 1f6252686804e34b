package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// newContract is a world in which echo is a contract that serve answers.
func newContract(t *testing.T, serve func(w http.ResponseWriter, r *http.Request)) *world {
	w := newWorld(t, func(c *Config) {
		c.Contract = func(rw http.ResponseWriter, r *http.Request, _ *function.Function, _ bool) { serve(rw, r) }
	})
	contract := *w.deploy(echo)
	contract.Policy.Heap = true
	w.mu.Lock()
	w.functions[echo] = &contract
	w.mu.Unlock()
	return w
}

func TestContract_CallerLeaves(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	w := newContract(t, func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // net/http looks whether its client is there once the body is read
		close(began)
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	conn := w.dial()
	io.WriteString(conn, "POST /function/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
	<-began
	conn.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A body that does not come in time is told from one that ends, and both can be answered.
func TestContract_BodyThatDoesNotEnd(t *testing.T) {
	w := newContract(t, func(rw http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(rw).SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Error(err)
		}
		body, err := io.ReadAll(r.Body)
		rw.Header().Set("Connection", "close") // what is left of the body is not the next request
		fmt.Fprintf(rw, "%s %t %t", body, err == nil, errors.Is(err, os.ErrDeadlineExceeded))
	})
	for raw, want := range map[string]string{
		"Content-Length: 4\r\n\r\nha":                           "ha false true",
		"Transfer-Encoding: chunked\r\n\r\n2\r\nha":             "ha false true",
		"Transfer-Encoding: chunked\r\n\r\n2\r\nha\r\nzz\r\n":   "ha false false",
		"Content-Length: 4\r\n\r\nbody":                         "body true false",
		"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody": "body true false",
	} {
		conn := w.dial()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "POST /function/echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%s", raw)
		answer, err := io.ReadAll(conn)
		conn.Close()
		if !strings.Contains(string(answer), " 200 OK\r\n") || !strings.HasSuffix(string(answer), "\r\n\r\n"+want) {
			t.Errorf("%q: %q, %v", raw, answer, err)
		}
	}
}

// The deadline of a body is none of the call's.
func TestContract_ReadDeadlineEndsWithTheAnswer(t *testing.T) {
	w := newContract(t, func(rw http.ResponseWriter, r *http.Request) {
		http.NewResponseController(rw).SetReadDeadline(time.Now().Add(time.Minute))
		io.Copy(io.Discard, r.Body)
		http.NewResponseController(rw).SetReadDeadline(time.Time{})
	})
	for range 3 {
		if answer, _ := w.request("POST", "/function/echo", "body"); answer.StatusCode != 200 || answer.ContentLength != 0 {
			t.Errorf("%d, %d bytes", answer.StatusCode, answer.ContentLength)
		}
	}
}

// BenchmarkContract is a call of a contract without the call of its endpoint.
func BenchmarkContract(b *testing.B) {
	for _, alone := range []bool{false, true} {
		b.Run(map[bool]string{false: "http1", true: "nethttp"}[alone], func(b *testing.B) {
			f := &function.Function{Spec: function.Spec{Ref: echo}, ID: "1", Replicas: 1}
			f.Policy.Heap = true
			p, err := New(Config{
				Lookup:    func(function.Ref) (*function.Function, bool) { return f, true },
				Endpoints: func(function.Ref) []function.Endpoint { return nil },
				Error:     func(http.ResponseWriter, *http.Request, error) {},
				Contract: func(rw http.ResponseWriter, r *http.Request, _ *function.Function, _ bool) {
					io.Copy(io.Discard, r.Body)
					rw.Header().Set("Content-Length", "2")
					io.WriteString(rw, "ok")
				},
			})
			if err != nil {
				b.Fatal(err)
			}
			front := newFront(b, p, p, alone)
			b.ReportAllocs()
			for b.Loop() {
				answer, err := front.Client().Post(front.URL+"/function/echo", "text/plain", strings.NewReader("body"))
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
		})
	}
}
