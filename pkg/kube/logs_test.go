package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

var logStart = time.Now().Add(-time.Minute).UTC().Truncate(time.Second)

// kubelet keeps logs as a kubelet does: lines with times, cut by tailLines and sinceTime, and followed.
type kubelet struct {
	mu    sync.Mutex
	lines map[string][]string // by pod; each "SECONDS[.FRACTION] TEXT"
	ended map[string]bool
	news  chan struct{}
}

func newKubelet() *kubelet {
	return &kubelet{lines: make(map[string][]string), ended: make(map[string]bool), news: make(chan struct{})}
}

// write has a pod write lines.
func (k *kubelet) write(pod string, lines ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lines[pod] = append(k.lines[pod], lines...)
	close(k.news)
	k.news = make(chan struct{})
}

// end ends a pod's container.
func (k *kubelet) end(pod string) {
	k.write(pod)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended[pod] = true
}

func (k *kubelet) serve(ctx context.Context, w io.Writer, pod string, query url.Values) {
	since, _ := time.Parse(time.RFC3339, query.Get("sinceTime")) // whole seconds, as Kubernetes has it
	for sent := 0; ; {
		k.mu.Lock()
		lines, ended, news := k.lines[pod], k.ended[pod], k.news
		k.mu.Unlock()
		if sent == 0 {
			if tail, err := strconv.Atoi(query.Get("tailLines")); err == nil {
				sent = max(0, len(lines)-tail)
			}
		}
		for _, line := range lines[sent:] {
			seconds, text, _ := strings.Cut(line, " ")
			at := logTime(seconds)
			if at.Before(since) {
				continue
			}
			if _, err := fmt.Fprintf(w, "%s %s\n", at.Format(time.RFC3339Nano), text); err != nil {
				return
			}
		}
		sent = len(lines)
		w.(http.Flusher).Flush()
		if query.Get("follow") != "true" || ended {
			return
		}
		select {
		case <-news:
		case <-ctx.Done():
			return
		}
	}
}

func logTime(seconds string) time.Time {
	f, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		panic(err)
	}
	return logStart.Add(time.Duration(f*1000) * time.Millisecond)
}

func newLogWorld(t *testing.T) (*world, *kubelet) {
	t.Helper()
	w, k := newWorld(t, nil), newKubelet()
	w.api.logsBy(k.serve)
	w.create(cow())
	return w, k
}

func (w *world) logs(query function.LogQuery) []string {
	w.Helper()
	query.Ref = cowRef
	lines, err := w.cluster.Logs(w.Context(), query)
	if err != nil {
		w.Fatal(err)
	}
	var got []string
	for line := range lines {
		got = append(got, strings.TrimPrefix(line.Instance, "cow-")+":"+line.Text)
	}
	return got
}

func (w *world) replica(name string) {
	w.Helper()
	w.pod("cow", name, "10.0.0.1", true)
	w.eventually("replica "+name, func() string {
		if p := w.cluster.table.podsOf(cowRef)[name]; p == nil || !p.started {
			return "not seen"
		}
		return ""
	})
}

func TestLogs_History(t *testing.T) {
	w, k := newLogWorld(t)
	k.write("cow-a", "1 one", "3 three", "5 five", "7.5 last of a")
	k.write("cow-b", "2 two", "4 four", "6  indented", "7.2 last of b")
	w.replica("cow-a")
	w.replica("cow-b")
	at := func(seconds string) *time.Time { since := logTime(seconds); return &since }
	all := []string{"a:one", "b:two", "a:three", "b:four", "a:five", "b: indented", "b:last of b", "a:last of a"}
	for _, test := range []struct {
		name  string
		query function.LogQuery
		want  []string
	}{
		{"merged by time", function.LogQuery{}, all},
		{"tail counts over all replicas", function.LogQuery{Tail: 3}, all[5:]},
		{"tail is more than there is", function.LogQuery{Tail: 100}, all},
		{"tail of one replica", function.LogQuery{Tail: 1, Instance: "cow-a"}, all[7:]},
		{"one replica", function.LogQuery{Instance: "cow-b"}, []string{"b:two", "b:four", "b: indented", "b:last of b"}},
		{"a replica that is not there", function.LogQuery{Instance: "cow-c"}, nil},
		{"since a time within a second", function.LogQuery{Since: at("7.3")}, all[7:]},
		{"since and tail", function.LogQuery{Since: at("6"), Tail: 2}, all[6:]},
		{"negative tail", function.LogQuery{Tail: -1}, all},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := w.logs(test.query); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestLogs_FiveMinutesUnlessAskedForMore(t *testing.T) {
	w, k := newLogWorld(t)
	k.write("cow-a", "-600 long ago", "1 lately")
	w.replica("cow-a")
	if got := w.logs(function.LogQuery{}); !slices.Equal(got, []string{"a:lately"}) {
		t.Errorf("got %q", got)
	}
	if got := w.logs(function.LogQuery{Tail: 5}); !slices.Equal(got, []string{"a:long ago", "a:lately"}) {
		t.Errorf("with a tail: got %q", got)
	}
}

func TestLogs_NoneAndNobody(t *testing.T) {
	w, _ := newLogWorld(t)
	if err := w.cluster.Scale(t.Context(), cowRef, 0); err != nil {
		t.Fatal(err)
	}
	if got := w.logs(function.LogQuery{}); len(got) != 0 {
		t.Errorf("at zero: got %q", got)
	}
	_, err := w.cluster.Logs(t.Context(), function.LogQuery{Ref: function.Ref{Name: "absent", Namespace: ns}})
	if !errors.Is(err, function.ErrNotFound) {
		t.Errorf("absent: got %v", err)
	}
}

func TestLogs_FailsIfNoReplicaCanBeRead(t *testing.T) {
	w, k := newLogWorld(t)
	k.write("cow-a", "1 one")
	w.replica("cow-a")
	w.api.refuseIf(func(r *http.Request) int {
		if strings.HasSuffix(r.URL.Path, "/log") {
			return http.StatusInternalServerError
		}
		return 0
	})
	if _, err := w.cluster.Logs(t.Context(), function.LogQuery{Ref: cowRef}); err == nil {
		t.Error("no error")
	}
}

func TestLogs_FollowMissesAndRepeatsNothing(t *testing.T) {
	w, k := newLogWorld(t)
	k.write("cow-a", "1 too old", "2 history", "2 history of the same time")
	w.replica("cow-a")
	lines, err := w.cluster.Logs(t.Context(), function.LogQuery{Ref: cowRef, Tail: 2, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want ...string) {
		t.Helper()
		for _, text := range want {
			select {
			case line := <-lines:
				if line.Text != text {
					t.Fatalf("got %q, want %q", line.Text, text)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("waited in vain for %q", text)
			}
		}
	}
	expect("history", "history of the same time")
	k.write("cow-a", "2 one more of the same time", "3 new")
	expect("one more of the same time", "new")

	k.write("cow-b", "4 from a replica that came later")
	w.replica("cow-b")
	expect("from a replica that came later")

	k.end("cow-a") // its stream ends, and is asked for again
	k.mu.Lock()
	k.ended["cow-a"] = false
	k.mu.Unlock()
	k.write("cow-a", "5 after the restart")
	expect("after the restart")
}

func TestLogs_FollowGoesBackNoFurtherThanAskedFor(t *testing.T) {
	at := func(seconds string) *time.Time { since := logTime(seconds); return &since }
	for _, test := range []struct {
		name  string
		query function.LogQuery
		want  []string
	}{
		{"nothing in the usual window", function.LogQuery{Tail: -1}, []string{"new"}},
		{"nothing since a time", function.LogQuery{Since: at("5")}, []string{"new"}},
		{"nothing since a time within a second", function.LogQuery{Since: at("-599.5")}, []string{"new"}},
		{"nothing since a time, with a tail", function.LogQuery{Since: at("5"), Tail: 1}, []string{"new"}},
		{"a tail alone", function.LogQuery{Tail: 1}, []string{"of the same second", "new"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, k := newLogWorld(t)
			k.write("cow-a", "-601 long ago", "-600 long ago", "-599.8 of the same second")
			w.replica("cow-a")
			test.query.Ref, test.query.Follow = cowRef, true
			lines, err := w.cluster.Logs(t.Context(), test.query)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range test.want {
				if i == len(test.want)-1 {
					k.write("cow-a", "6 new") // behind what there was: a tail is counted when the stream is opened
				}
				if line := <-lines; line.Text != want {
					t.Fatalf("got %q, want %q", line.Text, want)
				}
			}
			if test.query.Since == nil {
				return
			}
			k.write("cow-b", "-599.8 of the same second", "7 of a replica that came later")
			w.replica("cow-b")
			if line := <-lines; line.Text != "of a replica that came later" {
				t.Errorf("got %q", line.Text)
			}
		})
	}
}

func TestLogs_FollowEndsWithItsContext(t *testing.T) {
	w, k := newLogWorld(t)
	k.write("cow-a", "1 one")
	w.replica("cow-a")
	ctx, cancel := context.WithCancel(t.Context())
	lines, err := w.cluster.Logs(ctx, function.LogQuery{Ref: cowRef, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if line := <-lines; line.Text != "one" {
		t.Errorf("got %q", line.Text)
	}
	cancel()
	for range lines {
		t.Error("a line after the end")
	}
}

func TestLogStream_LinesOfAnyShape(t *testing.T) {
	stamp := "2026-01-02T03:04:05.123456789Z "
	long := strings.Repeat("x", maxLogLine+5000)
	text := stamp + "plain\n" + stamp + "\n" + stamp + "carriage\r\n" + "the kubelet's own words\n" + stamp + long + "\n" + stamp + "no newline"
	s := newLogStream("p", io.NopCloser(strings.NewReader(text)))
	var got []string
	longest := 0
	for line, ok := s.next(); ok; line, ok = s.next() {
		longest = max(longest, len(line.Text))
		if len(line.Text) < 100 {
			got = append(got, line.Text)
		}
		if line.Time.IsZero() {
			t.Errorf("%q has no time", line.Text)
		}
	}
	if want := []string{"plain", "", "carriage\r", "no newline"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if longest > maxLogLine+8192 {
		t.Errorf("a line of %d bytes", longest)
	}
}

// FuzzLogStream checks that any log is read to its end, with a time for each line and no line of more than the limit.
func FuzzLogStream(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05.123456789Z moo\n"), 1)
	f.Add([]byte("no time\n2026-01-02T03:04:05Z \r\n\n \n\x00"), 3)
	f.Add([]byte("2026-01-02T03:04:05Z no end"), 50000)
	f.Fuzz(func(t *testing.T, text []byte, times int) {
		text = bytes.Repeat(text, min(max(times, 1), 1+(2<<20)/(len(text)+1)))
		s := newLogStream("p", io.NopCloser(bytes.NewReader(text)))
		read := 0
		for line, ok := s.next(); ok; line, ok = s.next() {
			if len(line.Text) > maxLogLine+8192 || line.Instance != "p" {
				t.Fatalf("a line of %d bytes of %s", len(line.Text), line.Instance)
			}
			read += len(line.Text)
		}
		if rest, err := io.ReadAll(s.reader); err != nil || len(rest) != 0 || read > len(text) {
			t.Errorf("%d bytes read and %d left of %d: %v", read, len(rest), len(text), err)
		}
	})
}

func TestLastLines(t *testing.T) {
	for _, test := range []struct{ tail, streams, lines, want int }{
		{0, 3, 10, 10}, {4, 2, 10, 4}, {4, 2, 3, 3}, {4, 2, 4, 4}, {4, 1, 10, 10}, {1, 2, 10, 1},
	} {
		last := newLastLines(test.tail, test.streams)
		var got []string
		for i := range test.lines {
			if line, ok := last.push(function.LogLine{Text: strconv.Itoa(i)}); ok {
				got = append(got, line.Text)
			}
		}
		for _, line := range last.rest() {
			got = append(got, line.Text)
		}
		if len(got) != test.want || got[len(got)-1] != strconv.Itoa(test.lines-1) || got[0] != strconv.Itoa(test.lines-test.want) {
			t.Errorf("%+v: got %v", test, got)
		}
	}
}
