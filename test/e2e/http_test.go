package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// callTimeout is longer than any deadline of the provider, so that the provider's answer is seen and not our own.
const callTimeout = 100 * time.Second

// httpClient follows no redirect, adds no header of its own and undoes no compression: tests see what was sent.
var httpClient = &http.Client{
	Timeout: callTimeout,
	Transport: &http.Transport{
		MaxIdleConnsPerHost: 256,
		DisableCompression:  true,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// request is what a test sends. The zero value of each field sends nothing of the kind.
type request struct {
	method, path, body string
	header             http.Header
	// auth is who asks.
	auth auth
}

type auth int

const (
	admin    auth = iota // with the right credentials
	nobody               // with none
	impostor             // with the right user and a wrong password
	emptyJWT             // as a faas-cli that never logged in: an empty bearer token
)

func (l listener) send(ctx context.Context, q request) (answer, error) {
	r, err := l.request(ctx, q)
	if err != nil {
		return answer{}, err
	}
	res, err := httpClient.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(body)}, err
}

// insist sends q again for as long as the connection is refused, which carries no request: some tests kill the provider, and it
// takes a moment to be back.
func (l listener) insist(ctx context.Context, q request) (answer, error) {
	for {
		a, err := l.send(ctx, q)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return a, err
		}
		select {
		case <-ctx.Done():
			return a, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (l listener) request(ctx context.Context, q request) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, q.method, l.url+q.path, strings.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	if q.header != nil {
		r.Header = q.header.Clone()
	}
	switch q.auth {
	case admin:
		r.SetBasicAuth(l.user, l.password)
	case impostor:
		r.SetBasicAuth(l.user, l.password+"x")
	case emptyJWT:
		r.Header.Set("Authorization", "Bearer ")
	}
	return r, nil
}

// stream sends q and returns the answer as soon as it begins; the test's end closes it. A body that is given is sent chunked,
// as it can be read.
func (l listener) stream(t *testing.T, q request, body io.Reader) *http.Response {
	t.Helper()
	r, err := l.request(within(t, callTimeout), q)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		r.Body, r.GetBody, r.ContentLength = io.NopCloser(body), nil, -1
	}
	res, err := httpClient.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// do sends as admin and fails the test where there is no answer.
func (l listener) do(t *testing.T, method, path, body string) answer {
	t.Helper()
	return l.ask(t, request{method: method, path: path, body: body})
}

func (l listener) ask(t *testing.T, q request) answer {
	t.Helper()
	a, err := l.insist(within(t, callTimeout), q)
	if err != nil {
		t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	return a
}

// is fails the test unless the answer has the status.
func (a answer) is(t *testing.T, what string, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("%s: got %d %q, want %d", what, a.status, a.body, status)
	}
	return a
}

// refused fails the test unless the answer is a 4xx of one line that is fit to be shown.
func (a answer) refused(t *testing.T, what string, status int) {
	t.Helper()
	if a.status != status {
		t.Errorf("%s: got %d %q, want %d", what, a.status, a.body, status)
		return
	}
	if line := strings.TrimSuffix(a.body, "\n"); line == "" || strings.Contains(line, "\n") {
		t.Errorf("%s: body %q, want one line", what, a.body)
	}
	if got := a.header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
		t.Errorf("%s: content type %q of an error", what, got)
	}
}

// decode reads the answer's JSON into a T.
func decode[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("answer %q: %v", a.body, err)
	}
	return v
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
