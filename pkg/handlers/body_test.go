package handlers_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/handlers"
)

// A body that stops halfway is given up, and so is its connection: the answer must not wait for the rest.
func TestReadBody_ThatDoesNotEnd(t *testing.T) {
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := handlers.ReadBody(w, r, 1000, 10*time.Millisecond); err == nil {
			t.Errorf("read %q", body)
		}
		w.WriteHeader(http.StatusBadRequest)
	}))
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nx"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		t.Errorf("answered %.60q, %v", answer, err)
	}
}
