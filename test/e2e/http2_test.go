package e2e

import (
	"io"
	"net/http"
	"testing"
)

// TestHTTP2_Cleartext has a client that knows that the listener speaks HTTP/2 call a function, and get the answer as it is made.
func TestHTTP2_Cleartext(t *testing.T) {
	t.Parallel()
	d := scripted()
	d.EnvVars = map[string]string{"mode": "streaming"}
	f := deploy(t, d)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	r, err := gateway.request(within(t, callTimeout), request{method: http.MethodPost, path: f.path(""), auth: nobody})
	if err != nil {
		t.Fatal(err)
	}
	feed, body := io.Pipe()
	r.Body, r.ContentLength = io.NopCloser(feed), -1
	go func() {
		// An error shows in the answer.
		_, _ = io.WriteString(body, "echo begun; read x; echo $x\n")
	}()
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.ProtoMajor != 2 || answer.StatusCode != http.StatusOK {
		t.Fatalf("answered by %s, %s", answer.Proto, answer.Status)
	}
	begun := make([]byte, len("begun\n"))
	if _, err := io.ReadFull(answer.Body, begun); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.WriteString(body, "and ended\n")
		body.Close()
	}()
	rest, err := io.ReadAll(answer.Body)
	if got := string(begun) + string(rest); err != nil || got != "begun\nand ended\n" {
		t.Errorf("answer %q, %v", got, err)
	}
}
