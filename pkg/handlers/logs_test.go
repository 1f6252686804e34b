package handlers_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestLogs_Query(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 600, time.FixedZone("", 3600))
	ref := function.Ref{Name: "cow", Namespace: "fns"}
	for _, c := range []struct {
		query string
		want  function.LogQuery
	}{
		{"name=cow", function.LogQuery{Ref: ref}},
		{"follow=true&name=cow&tail=-1", function.LogQuery{Ref: ref, Follow: true}},
		{"name=cow&namespace=fns&tail=5&since=2026-01-02T03:04:05.0000006%2B01:00", function.LogQuery{Ref: ref, Tail: 5, Since: &since}},
		{"name=cow&follow=1", function.LogQuery{Ref: ref, Follow: true}},
		{"name=cow&follow=0", function.LogQuery{Ref: ref}},
		{"name=cow&follow=perhaps", function.LogQuery{Ref: ref}},
		{"name=cow&instance=cow-1", function.LogQuery{Ref: ref, Instance: "cow-1"}},
		{"name=cow&tail=&since=&instance=", function.LogQuery{Ref: ref}},
		{"name=dog&tail=x&name=cow&tail=3&follow=true&follow=false", function.LogQuery{Ref: ref, Tail: 3}},
		{"name=cow&namespace=dev", function.LogQuery{Ref: function.Ref{Name: "cow", Namespace: "dev"}}},
	} {
		t.Run(c.query, func(t *testing.T) {
			w := newWorld()
			w.put(t, cow("fns"), function.Status{})
			w.put(t, cow("dev"), function.Status{})
			for _, h := range listeners(newAPI(t, w.config(t))) {
				got := call(h, "GET", "/system/logs?"+c.query, "")
				if got.Code != 200 || got.Body.Len() != 0 || got.Header().Get("Content-Type") != "application/x-ndjson" || !got.Flushed {
					t.Fatalf("status %d, %q, %v", got.Code, got.Body, got.Header())
				}
				q := w.query
				if q.Since != nil && c.want.Since != nil && q.Since.Equal(*c.want.Since) {
					q.Since = c.want.Since
				}
				if !reflect.DeepEqual(q, c.want) {
					t.Errorf("asked %+v, want %+v", q, c.want)
				}
			}
		})
	}
}

func TestLogs_Refused(t *testing.T) {
	w := newWorld()
	w.put(t, cow("fns"), function.Status{})
	h := newAPI(t, w.config(t)).Gateway()
	for _, c := range []struct {
		query  string
		status int
		tells  string
	}{
		{"", 400, "name the function"},
		{"name=", 400, "name the function"},
		{"name=cow&tail=x", 422, `tail="x"`},
		{"name=cow&tail=1.5", 422, `tail="1.5"`},
		{"name=cow&tail=99999999999999999999", 422, "tail"},
		{"name=cow&since=yesterday", 422, `since="yesterday"`},
		{"name=cow&since=5m", 422, "since"},
		{"name=gone&tail=x", 422, "tail"},
		{"name=gone", 404, `"gone"`},
		{"name=cow.fns", 404, `"cow.fns"`},
		{"name=cow&namespace=dev", 404, `"dev"`},
		{"name=cow&namespace=other", 400, `"other"`},
		{"name=cow&namespace=kube-system", 400, "kube-system"},
		{"name=%zz", 400, "query"},
	} {
		t.Run(c.query, func(t *testing.T) {
			wantLine(t, call(h, "GET", "/system/logs?"+c.query, ""), c.status, c.tells)
		})
	}
}

// stream opens a log over a real connection and returns once its headers are there.
func stream(t *testing.T, w *world) (lines *bufio.Reader, leave func(), drain func()) {
	t.Helper()
	w.lines = make(chan function.LogLine)
	w.put(t, cow("fns"), function.Status{})
	api := newAPI(t, w.config(t))
	server := serve(t, api.Gateway())
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/system/logs?name=cow&follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(user, password)
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != 200 || response.ContentLength != -1 || response.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("status %d, length %d, %v", response.StatusCode, response.ContentLength, response.Header)
	}
	return bufio.NewReader(response.Body), cancel, api.Drain
}

func TestLogs_LineByLineUntilTheLogEnds(t *testing.T) {
	w := newWorld()
	// Headers came before any line.
	lines, _, _ := stream(t, w)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	for _, c := range []struct {
		line function.LogLine
		want string
	}{
		{function.LogLine{Instance: "cow-1", Time: at, Text: `moo "<&>"`},
			`{"name":"cow","namespace":"fns","instance":"cow-1","timestamp":"2026-01-02T02:04:05.000000006Z","text":"moo \"\u003c\u0026\u003e\""}`},
		{function.LogLine{}, `{"name":"cow","namespace":"fns","instance":"","timestamp":"0001-01-01T00:00:00Z","text":""}`},
		{function.LogLine{Text: "a\nb\x00"}, `{"name":"cow","namespace":"fns","instance":"","timestamp":"0001-01-01T00:00:00Z","text":"a\nb\u0000"}`},
	} {
		w.lines <- c.line
		// Each line arrives before the next one is written.
		if got, err := lines.ReadString('\n'); err != nil || got != c.want+"\n" {
			t.Fatalf("%q, %v; want %q", got, err, c.want)
		}
	}
	close(w.lines)
	if rest, err := io.ReadAll(lines); err != nil || len(rest) != 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

func TestLogs_EndWithTheCaller(t *testing.T) {
	w := newWorld()
	ended := make(chan struct{})
	w.reading = func(ctx context.Context) {
		context.AfterFunc(ctx, func() { close(ended) })
	}
	_, leave, _ := stream(t, w)
	leave()
	<-ended
}

func TestLogs_EndWithDrain(t *testing.T) {
	w := newWorld()
	lines, _, drain := stream(t, w)
	drain()
	drain()
	if rest, err := io.ReadAll(lines); err != nil || strings.TrimSpace(string(rest)) != "" {
		t.Errorf("%q, %v", rest, err)
	}
}
