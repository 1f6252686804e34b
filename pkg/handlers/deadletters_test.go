package handlers_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/handlers"
)

// sendTo sends a request as the one user, or as nobody.
func sendTo(h http.Handler, method, path string, known bool) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if known {
		r.SetBasicAuth(user, password)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// payload is one as package invoke writes it.
func payload(head, body string) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(head))), head+body...)
}

func TestDeadLetters(t *testing.T) {
	w := newWorld()
	cfg := w.config(t)
	store := openStore(t)
	cfg.DeadLetters = store
	f := w.put(t, cow("fns"), function.Status{})
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	for _, i := range []function.Item{
		{CallID: "one", Payload: payload(`{"method":"POST","path":"/a%2Fb","query":"x=1","header":{"X-Mine":["1"]},"name":"cow","callback":"http://r/"}`, "moo")},
		{CallID: "two", Payload: payload(`{"method":"POST","path":"/","name":"cow"}`, "")},
		{CallID: "three", Kind: function.ItemMessage, Payload: payload(`{"url":"http://r/","header":{"X-Call-Id":["three"]}}`, "body")},
	} {
		i.Function, i.Accepted, i.Due = f.Heap(), now, now
		if err := store.Enqueue(t.Context(), i, function.QueueBounds{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []function.ItemKind{function.ItemInvocation, function.ItemMessage} {
		leased, err := store.Lease(t.Context(), kind, 10, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range leased {
			if err := store.Settle(t.Context(), l.Function, l.Lease, function.Settlement{Bury: true, Attempts: 3, Reason: "it failed"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	h := newAPI(t, cfg).Gateway()
	want := func(method, path string, status int, body string) {
		t.Helper()
		got := sendTo(h, method, path, true)
		if got.Code != status || !strings.Contains(got.Body.String(), body) {
			t.Errorf("%s %s: %d %s, want %d %s", method, path, got.Code, got.Body, status, body)
		}
	}
	const letters = "/system/dead-letters/cow"
	for _, path := range []string{letters, letters + "/1", letters + "/1/replay"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			if got := sendTo(h, method, path, false); got.Code != http.StatusUnauthorized && got.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s by nobody: %d", method, path, got.Code)
			}
		}
	}
	want("GET", letters+"?limit=2", 200, `{"deadLetters":[{"id":"1","kind":"invocation","callId":"one","accepted":"2026-05-04T03:02:01Z","attempts":3,"reason":"it failed"},`)
	want("GET", letters+"?limit=2", 200, `"next":"2"}`)
	want("GET", letters+"?after=2&limit=2", 200, `{"deadLetters":[{"id":"3","kind":"message","callId":"three","accepted":"2026-05-04T03:02:01Z","attempts":3,"reason":"it failed"}]}`)
	want("GET", letters+"?after=9", 200, `{"deadLetters":[]}`)
	want("GET", letters+"/1", 200, `"method":"POST","path":"/a%2Fb","query":"x=1","callbackUrl":"http://r/","header":{"X-Mine":["1"]},"body":"bW9v"}`)
	want("GET", letters+"/3", 200, `"url":"http://r/","header":{"X-Call-Id":["three"]},"body":"Ym9keQ=="}`)
	want("POST", letters+"/1/replay", 202, "")
	want("DELETE", letters+"/2", 202, "")
	for _, gone := range []string{"1", "2", "99", "99999999999999999999"} {
		want("GET", letters+"/"+gone, 404, "no ")
		want("DELETE", letters+"/"+gone, 404, "no ")
		want("POST", letters+"/"+gone+"/replay", 404, "no ")
	}
	want("GET", letters+"?after=x", 400, "after=")
	want("GET", letters+"?limit=0", 400, "limit=")
	want("GET", letters+"?namespace=dev", 404, "cow")
	want("GET", "/system/dead-letters/nobody", 404, "nobody")
	want("PUT", letters, 405, "")
}

func TestAsyncRoute(t *testing.T) {
	w := newWorld()
	cfg := w.config(t)
	cfg.Async = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(r.URL.EscapedPath()))
	})
	api := newAPI(t, cfg)
	for path, status := range map[string]int{
		"/async-function/cow": 202, "/async-function/cow/": 202, "/async-function/cow.fns/a%2Fb//c/../d": 202, "/async-function/": 404, "/async-function": 404,
	} {
		got := sendTo(api.Gateway(), "POST", path, false)
		if got.Code != status || status == 202 && got.Body.String() != path {
			t.Errorf("POST %s: %d %q, want %d", path, got.Code, got.Body, status)
		}
		if got := sendTo(api.Provider(), "POST", path, false); got.Code != 404 {
			t.Errorf("POST %s of the provider: %d, want 404", path, got.Code)
		}
	}
	if got := sendTo(api.Gateway(), "GET", "/async-function/cow", false); got.Code != 405 {
		t.Errorf("GET: %d, want 405", got.Code)
	}
	cfg.Async = nil
	if got := sendTo(newAPI(t, cfg).Gateway(), "POST", "/async-function/cow", false); got.Code != 404 {
		t.Errorf("without a queue: %d, want 404", got.Code)
	}
}

func TestDeploy_RefusesWhatCheckSpecDoes(t *testing.T) {
	w := newWorld()
	cfg := w.config(t)
	cfg.CheckSpec = func(s function.Spec) error {
		if s.Annotations["bad"] != "" {
			return function.Invalidf("annotation bad")
		}
		return nil
	}
	h := newAPI(t, cfg).Gateway()
	for body, status := range map[string]int{
		`{"service":"a","image":"i","annotations":{"bad":"1"}}`: 400, `{"service":"a","image":"i"}`: 202,
	} {
		r := httptest.NewRequest("POST", "/system/functions", strings.NewReader(body))
		r.SetBasicAuth(user, password)
		got := httptest.NewRecorder()
		h.ServeHTTP(got, r)
		if got.Code != status {
			t.Errorf("%s: %d %s, want %d", body, got.Code, got.Body, status)
		}
	}
}

func TestStatus_NextTick(t *testing.T) {
	w := newWorld()
	cfg := w.config(t)
	cfg.NextTick = func(f *function.Function) (time.Time, bool) { return created, f.Name == "cow" }
	w.put(t, cow("fns"), function.Status{})
	got := sendTo(newAPI(t, cfg).Gateway(), "GET", "/system/function/cow", true)
	var status struct{ Annotations map[string]string }
	if err := json.Unmarshal(got.Body.Bytes(), &status); err != nil || status.Annotations["com.dragonchain.next-tick"] != "2026-05-04T03:02:01Z" {
		t.Errorf("status %s, %v", got.Body, err)
	}
}

func TestQueueMetrics(t *testing.T) {
	ref := function.Ref{Name: "cow", Namespace: "fns"}
	m := handlers.QueueMetrics(func() map[function.Heap]function.Depth {
		return map[function.Heap]function.Depth{{Ref: ref, ID: "1"}: {Waiting: 1}, {Ref: ref, ID: "2"}: {Waiting: 2, Messages: 3, Dead: 4}}
	})
	registry := prometheus.NewRegistry()
	want := `# HELP dc_invoke_dead_letters Invocations and callbacks that are tried no more.
# TYPE dc_invoke_dead_letters gauge
dc_invoke_dead_letters{function_name="cow.fns"} 4
# HELP dc_invoke_messages Callbacks that are not delivered yet.
# TYPE dc_invoke_messages gauge
dc_invoke_messages{function_name="cow.fns"} 3
# HELP dc_invoke_queued Asynchronous invocations that wait or run.
# TYPE dc_invoke_queued gauge
dc_invoke_queued{function_name="cow.fns"} 3
`
	if err := errors.Join(registry.Register(m), testutil.GatherAndCompare(registry, strings.NewReader(want))); err != nil {
		t.Error(err)
	}
}
