package handlers_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/handlers"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
)

// callWith is call with pairs of header and value.
func callWith(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.SetBasicAuth(user, password)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func wantCode(t *testing.T, w *httptest.ResponseRecorder, status int) *httptest.ResponseRecorder {
	t.Helper()
	if w.Code != status {
		t.Errorf("status %d, %q, want %d", w.Code, w.Body, status)
	}
	return w
}

func TestHeap_PutAndDelete(t *testing.T) {
	_, api := withHeap(t)
	h := api.Gateway()
	put := wantCode(t, callWith(h, "PUT", "/heap/cow/a%2Fb", `{ "x": 1.0 }`, "X-Call-Id", "mine"), 204)
	got := wantCode(t, call(h, "GET", "/heap/cow/a/b", ""), 200)
	at, err := http.ParseTime(got.Header().Get("Last-Modified"))
	if got.Body.String() != `{"x":1.0}` || got.Header().Get("ETag") == "" || got.Header().Get("ETag") != put.Header().Get("ETag") ||
		got.Header().Get("X-Heap-Call-Id") != "mine" || put.Header().Get("X-Call-Id") != "mine" || err != nil || time.Since(at) > time.Hour {
		t.Errorf("%q, %v, %v", got.Body, got.Header(), put.Header())
	}
	wantEmpty(t, callWith(h, "GET", "/heap/cow/a/b", "", "If-None-Match", got.Header().Get("ETag")), 304)
	if made := wantCode(t, call(h, "PUT", "/heap/cow/b", `"text"`), 204).Header().Get("X-Call-Id"); made == "" ||
		call(h, "GET", "/heap/cow/b", "").Header().Get("X-Heap-Call-Id") != made {
		t.Errorf("an id of its own: %q", made)
	}
	for range 2 {
		wantEmpty(t, call(h, "DELETE", "/heap/cow/a/b", ""), 204)
		wantLine(t, call(h, "GET", "/heap/cow/a/b", ""), 404, "no such key")
	}
	for _, test := range []struct {
		method, path, body string
		status             int
		tells              string
	}{
		{"PUT", "cow/a", "", 400, "no JSON"},
		{"PUT", "cow/a", "text", 400, "needs its quotes"},
		{"PUT", "cow/a", "{} {}", 400, "no JSON"},
		{"PUT", "cow/a", "\"\xff\"", 400, "UTF-8"},
		{"PUT", "cow/a", `"` + strings.Repeat("x", 1<<20) + `"`, 413, "more than"},
		{"PUT", "cow/" + strings.Repeat("k", 1025), "1", 413, "key"},
		{"PUT", "cow/", "1", 400, "at least one byte"},
		{"PUT", "cow/%FF", "1", 400, "UTF-8"},
		{"PUT", "cow", "1", 400, "name a key"},
		{"DELETE", "cow", "", 400, "name a key"},
		{"DELETE", "gone/k", "", 404, "gone"},
		{"POST", "cow/k", "", 400, "POST /heap/cow"},
	} {
		wantLine(t, call(h, test.method, "/heap/"+test.path, test.body), test.status, test.tells)
	}
	wantLine(t, callWith(h, "PUT", "/heap/cow/a", "1", "X-Call-Id", strings.Repeat("i", 257)), 400, "256")
	for _, method := range []string{"PUT", "DELETE", "POST", "GET"} {
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequest(method, "/heap/cow/b", strings.NewReader("1")))
		wantCode(t, r, 401)
	}
}

func TestHeap_Conditions(t *testing.T) {
	_, api := withHeap(t)
	h := api.Gateway()
	first := wantCode(t, callWith(h, "PUT", "/heap/cow/k", "1", "If-None-Match", "*"), 204).Header().Get("ETag")
	wantLine(t, callWith(h, "PUT", "/heap/cow/k", "2", "If-None-Match", "*"), 412, `"k"`)
	second := wantCode(t, callWith(h, "PUT", "/heap/cow/k", "2", "If-Match", first), 204).Header().Get("ETag")
	wantLine(t, callWith(h, "PUT", "/heap/cow/k", "3", "If-Match", first), 412, `"k"`)
	wantLine(t, callWith(h, "DELETE", "/heap/cow/k", "", "If-Match", first), 412, `"k"`)
	wantLine(t, callWith(h, "DELETE", "/heap/cow/absent", "", "If-Match", "*"), 412, `"absent"`)
	if got := call(h, "GET", "/heap/cow/k", "").Body.String(); got != "2" {
		t.Errorf("k is %q", got)
	}
	wantCode(t, callWith(h, "PUT", "/heap/cow/k", "4", "If-Match", "*"), 204)
	wantLine(t, callWith(h, "DELETE", "/heap/cow/k", "", "If-Match", second), 412, `"k"`)
	wantCode(t, callWith(h, "DELETE", "/heap/cow/k", "", "If-Match", "*"), 204)
	third := wantCode(t, callWith(h, "PUT", "/heap/cow/k", "1", "If-None-Match", "*"), 204).Header().Get("ETag")
	if third == first {
		t.Errorf("a key that was deleted and set again has its old version %s", third)
	}
	for _, headers := range [][]string{
		{"If-Match", "42"}, {"If-Match", `"x"`}, {"If-Match", `W/"1"`}, {"If-Match", `"1", "2"`}, {"If-Match", `"0"`}, {"If-Match", `"01"`},
		{"If-Match", `"18446744073709551615"`}, {"If-None-Match", `"1"`}, {"If-Match", `"1"`, "If-None-Match", "*"}, {"If-Match", `"1"`, "If-Match", `"2"`},
	} {
		wantLine(t, callWith(h, "PUT", "/heap/cow/k", "1", headers...), 400, "If-")
	}
}

func TestHeap_EntriesAndUsage(t *testing.T) {
	w, api := withHeap(t)
	h := api.Gateway()
	wantJSON(t, call(h, "GET", "/heap/cow?view=entries", ""), `{"entries":[]}`)
	wantJSON(t, call(h, "GET", "/heap/cow?view=usage", ""), `{"keys":0,"bytes":0,"quota_bytes":0}`)
	for i, key := range []string{"a", "a/b", "b"} {
		wantCode(t, callWith(h, "PUT", "/heap/cow/"+key, fmt.Sprint(i), "X-Call-Id", "call "+key), 204)
	}
	var page struct {
		Entries []struct {
			Key     string
			Version uint64
			Bytes   int
			CallID  string `json:"call_id"`
			At      time.Time
		}
		Next string
	}
	if err := json.Unmarshal(call(h, "GET", "/heap/cow?view=entries&prefix=a&limit=1", "").Body.Bytes(), &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Entries) != 1 || page.Next != "a" || page.Entries[0].Key != "a" || page.Entries[0].CallID != "call a" ||
		page.Entries[0].Bytes != 1 || page.Entries[0].Version == 0 || time.Since(page.Entries[0].At) > time.Hour {
		t.Errorf("%+v", page)
	}
	wantJSON(t, call(h, "GET", "/heap/cow?view=usage", ""), `{"keys":3,"bytes":8,"quota_bytes":0}`)
	wantLine(t, call(h, "GET", "/heap/cow?view=all", ""), 400, "entries")

	w.functions[cow("fns").Ref].Policy.HeapQuotaBytes = 100
	wantJSON(t, call(h, "GET", "/heap/cow?view=usage", ""), `{"keys":3,"bytes":8,"quota_bytes":100}`)
	wantLine(t, call(h, "PUT", "/heap/cow/large", `"`+strings.Repeat("x", 100)+`"`), 413, "100 are allowed")
}

// TestHeap_ExportAndImport moves a heap of several pages into another contract's.
func TestHeap_ExportAndImport(t *testing.T) {
	var pairs []string
	for i := range 2500 {
		pairs = append(pairs, fmt.Sprintf("k%04d <ü&>\n", i), fmt.Sprintf(`{"n":%d,"pad":%q}`, i, strings.Repeat("<", i%2000)))
	}
	_, api := withHeap(t, pairs...)
	h := api.Gateway()
	export := wantCode(t, call(h, "GET", "/heap/cow?view=export", ""), 200)
	if got := export.Header().Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("type %q", got)
	}
	lines := strings.Split(strings.TrimSpace(export.Body.String()), "\n")
	if len(lines) != 2500 {
		t.Fatalf("%d lines", len(lines))
	}
	wantJSON(t, call(h, "POST", "/heap/cow.dev", export.Body.String()+"\n \n"), `{"imported":2502}`)
	for i := 0; i < len(pairs); i += 2 {
		if got := call(h, "GET", "/heap/cow.dev/"+strings.NewReplacer(" ", "%20", "\n", "%0A").Replace(pairs[i]), ""); got.Body.String() != pairs[i+1] {
			t.Fatalf("%q is %.80q, want %.80q", pairs[i], got.Body, pairs[i+1])
		}
	}
	if rest := call(h, "GET", "/heap/cow?view=export&after=k2497%20%3C%C3%BC%26%3E%0A", "").Body.String(); strings.Count(rest, "\n") != 2 {
		t.Errorf("gone on with: %q", rest)
	}
	if some := call(h, "GET", "/heap/cow?view=export&prefix=k000", "").Body.String(); strings.Count(some, "\n") != 10 {
		t.Errorf("of a prefix: %q", some)
	}
	wantCode(t, call(h, "GET", "/heap/cow?view=export&prefix=none", ""), 200)
}

func TestHeap_ImportStopsAtALine(t *testing.T) {
	for name, test := range map[string]struct {
		line   string
		status int
		tells  string
	}{
		"no JSON":         {`{"key":"x"`, 400, "line 3"},
		"no value":        {`{"key":"x"}`, 400, "line 3"},
		"no key":          {`{"value":1}`, 400, "line 3"},
		"empty key":       {`{"key":"","value":1}`, 400, "line 3"},
		"another type":    {`{"key":1,"value":1}`, 400, "line 3"},
		"half a pair":     {`{"key":"\ud800","value":1}`, 400, "surrogate"},
		"not UTF-8":       {"{\"key\":\"x\",\"value\":\"\xff\"}", 400, "UTF-8"},
		"key too long":    {`{"key":"` + strings.Repeat("k", 1025) + `","value":1}`, 413, "line 3"},
		"value too large": {`{"key":"x","value":"` + strings.Repeat("v", 1<<20) + `"}`, 413, "line 3"},
		"line too long":   {`{"key":"x","value":"` + strings.Repeat("v", 2<<20) + `"}`, 413, "line 3"},
	} {
		t.Run(name, func(t *testing.T) {
			_, api := withHeap(t)
			answer := call(api.Gateway(), "POST", "/heap/cow", "{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\",\"value\":null}\n"+test.line+"\n{\"key\":\"c\",\"value\":1}\n")
			wantLine(t, answer, test.status, test.tells)
			if !strings.Contains(answer.Body.String(), "the 2 lines before are imported") {
				t.Errorf("%q", answer.Body)
			}
			wantJSON(t, call(api.Gateway(), "GET", "/heap/cow", ""), `{"keys":["a","b"]}`)
		})
	}
}

// TestHeap_ImportBreaksOff has a client go away in the middle: what came whole is in, and nothing else.
func TestHeap_ImportBreaksOff(t *testing.T) {
	_, api := withHeap(t)
	server := httptest.NewServer(api.Gateway())
	defer server.Close()
	body, sender := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/heap/cow", body)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(user, password)
	go func() {
		for i := range 1000 {
			fmt.Fprintf(sender, "{\"key\":\"k%03d\",\"value\":%d}\n", i, i)
		}
		io.WriteString(sender, `{"key":"half","value":"`)
		sender.CloseWithError(io.ErrUnexpectedEOF)
	}()
	if answer, err := server.Client().Do(r); err == nil {
		answer.Body.Close()
		t.Errorf("status %d", answer.StatusCode)
	}
	server.Close() // waits for the handler
	keys := call(api.Gateway(), "GET", "/heap/cow?limit=1000&after=k998", "").Body.String()
	if keys != `{"keys":["k999"]}` && keys != `{"keys":[]}` {
		t.Errorf("%s", keys)
	}
	wantLine(t, call(api.Gateway(), "GET", "/heap/cow/half", ""), 404, "no such key")
}

func TestHeap_Backup(t *testing.T) {
	w, api := withHeap(t, "k", `"v"`)
	backup := wantCode(t, call(api.Gateway(), "GET", "/heap-backup", ""), 200)
	if fmt.Sprint(backup.Body.Len()) != backup.Header().Get("Content-Length") || !strings.Contains(backup.Header().Get("Content-Disposition"), ".db") {
		t.Errorf("%d bytes, %v", backup.Body.Len(), backup.Header())
	}
	path := filepath.Join(t.TempDir(), "heap.db")
	if err := bolt.Restore(bytes.NewReader(backup.Body.Bytes()), path); err != nil {
		t.Fatal(err)
	}
	restored, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	if e, err := restored.Get(t.Context(), w.functions[cow("fns").Ref].Heap(), "k"); err != nil || string(e.Value) != `"v"` {
		t.Errorf("%+v, %v", e, err)
	}
	unauthorised := httptest.NewRecorder()
	api.Gateway().ServeHTTP(unauthorised, httptest.NewRequest("GET", "/heap-backup", nil))
	wantCode(t, unauthorised, 401)
	wantLine(t, call(api.Provider(), "GET", "/heap-backup", ""), 404, "")
}

var _ handlers.Heaps = (*bolt.Store)(nil)
