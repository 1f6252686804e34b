package proxy

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFootprint(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(hello))
	defer server.Close()
	transport := newTransport()
	defer transport.CloseIdleConnections()
	send := func(body io.Reader) (bool, error) {
		var trace footprint
		r, _ := http.NewRequestWithContext(trace.watch(context.Background()), "POST", server.URL, body)
		answer, err := transport.RoundTrip(r)
		if err == nil {
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
		return trace.reached(), err
	}
	for _, name := range []string{"a new connection", "a used one"} {
		if reached, err := send(strings.NewReader("body")); err != nil || !reached {
			t.Errorf("%s: reached %v, %v", name, reached, err)
		}
	}
	transport.CloseIdleConnections()
	server.Close()
	if reached, err := send(strings.NewReader("body")); err == nil || reached {
		t.Errorf("nobody there: reached %v, %v", reached, err)
	}
}
