package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
	"github.com/dragonchain/dc-provider/pkg/handlers"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
	"github.com/dragonchain/dc-provider/pkg/invoke"
	"github.com/dragonchain/dc-provider/pkg/watchdog"
	"github.com/dragonchain/dc-provider/test/freeport"
)

// contractVariable makes this test's binary the contract: see runContract.
const contractVariable = "HANDLERS_TEST_CONTRACT"

// step is one request of a contract for its heap: METHOD PATH [BODY], below the URL that it was given.
type step struct {
	Method, Path, Body, Match, None string
}

// result is how it was answered.
type result struct {
	Status int
	Body   string
	ETag   string
}

// order is what the contract is told to do.
type order struct {
	Steps []step
	// Count increments a key by compare-and-set, as a contract would.
	Count string
	// Answer is what it answers in the end; empty means the results. Exit is its status.
	Answer string
	Exit   int
}

// runContract is a contract that does as its caller says.
func runContract() {
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	heap := os.Getenv("Http_X_Heap_Url")
	var results []result
	for _, s := range o.Steps {
		results = append(results, ask(heap, s))
	}
	if o.Count != "" {
		now := ask(heap, step{Method: "GET", Path: "/heap/" + o.Count})
		n, _ := strconv.Atoi(now.Body) // 0 when it is absent
		set := step{Method: "PUT", Path: "/heap/" + o.Count, Body: strconv.Itoa(n + 1), Match: now.ETag}
		if now.Status == http.StatusNotFound {
			set.Body, set.None = "1", "*"
		}
		results = append(results, ask(heap, set))
	}
	if o.Answer == "" {
		text, err := json.Marshal(map[string]any{"OUTPUT_TO_HEAP": false, "url": heap, "results": results})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		o.Answer = string(text)
	}
	fmt.Print(o.Answer)
	os.Exit(o.Exit)
}

func ask(base string, s step) result {
	r, err := http.NewRequest(s.Method, base+s.Path, strings.NewReader(s.Body))
	if err != nil {
		return result{Body: err.Error()}
	}
	for name, value := range map[string]string{"If-Match": s.Match, "If-None-Match": s.None} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return result{Body: err.Error()}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return result{Body: err.Error()}
	}
	return result{Status: answer.StatusCode, Body: string(body), ETag: answer.Header.Get("ETag")}
}

// contractBench is a contract behind a real watchdog, called through an Invoker, with the provider's listener on loopback.
type contractBench struct {
	t        *testing.T
	store    *bolt.Store
	contract *function.Function
	gateway  *httptest.Server
	provider *httptest.Server
	heapPort int
}

var contractKey = []byte("the key of these tests")

func newContractBench(t *testing.T) *contractBench {
	t.Helper()
	w := newWorld()
	cfg := w.config(t)
	b := &contractBench{t: t, store: openStore(t)}
	cfg.Heaps = b.store
	spec := cow("fns")
	spec.Annotations = map[string]string{"com.dragonchain.heap": "true"}
	b.contract = w.put(t, spec, function.Status{})
	if err := b.store.Create(t.Context(), b.contract.Heap()); err != nil {
		t.Fatal(err)
	}
	token := readypush.DeriveToken(contractKey, b.contract.Ref.String(), b.contract.ID)
	port := 0
	port, b.heapPort = freeport.Reserve(t), freeport.Reserve(t)
	b.runWatchdog(port, token)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	invoker, err := invoke.New(invoke.Config{
		Store: b.store,
		Call: func(ctx context.Context, _ *function.Function, r *http.Request) (*http.Response, error) {
			r = r.WithContext(ctx)
			r.RequestURI, r.URL.Scheme, r.URL.Host = "", "http", fmt.Sprint("127.0.0.1:", port)
			return transport.RoundTrip(r)
		},
		HeapURL: func(_ *function.Function, id string) string {
			at := netip.MustParseAddrPort(b.provider.Listener.Addr().String())
			return fmt.Sprintf("http://127.0.0.1:%d/%s", b.heapPort, token.SealHeapCall(id, at))
		},
		Error: handlers.ErrorWriter(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.ContractHeap, err = handlers.NewContractHeap(contractKey, invoker.View); err != nil {
		t.Fatal(err)
	}
	b.provider = httptest.NewServer(newAPI(t, cfg).Provider())
	t.Cleanup(b.provider.Close)
	b.gateway = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		invoker.ServeContract(w, r, b.contract, r.Header.Get("X-Call-Id") != "")
	}))
	t.Cleanup(b.gateway.Close)
	return b
}

// runWatchdog runs this binary as the contract until the test ends.
func (b *contractBench) runWatchdog(port int, token readypush.Token) {
	b.t.Helper()
	environ := append(os.Environ(), "fprocess="+os.Args[0], contractVariable+"=1", fmt.Sprint("port=", port), "metrics_port=0",
		fmt.Sprint("DC_HEAP_PORT=", b.heapPort), "DC_READY_TOKEN="+token.Hex(), "healthcheck_interval=1ms")
	cfg, err := watchdog.ParseEnv(environ)
	if err != nil {
		b.t.Fatal(err)
	}
	out, errs := watchdog.NewSink(io.Discard), watchdog.NewSink(os.Stderr)
	w, err := watchdog.New(cfg, slog.New(slog.DiscardHandler), out, errs)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Error(err)
		}
		out.Close()
		errs.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/_/ready", port))
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("the watchdog is not ready: %v", err)
		}
	}
}

// call has the contract do something, and returns its answer.
func (b *contractBench) call(id string, o order) (status int, body string) {
	b.t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(b.t.Context(), "POST", b.gateway.URL, strings.NewReader(string(text)))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("X-Heap-Url", "http://127.0.0.1:1/another")
	if id != "" {
		r.Header.Set("X-Call-Id", id)
	}
	answer, err := b.gateway.Client().Do(r)
	if err != nil {
		b.t.Error(err)
		return 0, ""
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Error(err)
	}
	return answer.StatusCode, string(got)
}

// steps has the contract make requests, and returns how they were answered, and where it made them.
func (b *contractBench) steps(steps ...step) (results []result, url string) {
	b.t.Helper()
	status, body := b.call("", order{Steps: steps})
	var answer struct {
		Results []result
		URL     string
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK || len(answer.Results) != len(steps) {
		b.t.Fatalf("status %d, %s, %v", status, body, err)
	}
	return answer.Results, answer.URL
}

// wantHeap checks all that is committed.
func (b *contractBench) wantHeap(want map[string]string) {
	b.t.Helper()
	entries, _, err := b.store.Entries(b.t.Context(), b.contract.Heap(), "", "", 1000)
	got := map[string]string{}
	for _, e := range entries {
		got[e.Key] = string(e.Value)
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		b.t.Errorf("the heap has %v, %v, want %v", got, err, want)
	}
}

func wantStatuses(t *testing.T, results []result, want ...int) {
	t.Helper()
	for i, r := range results {
		if r.Status != want[i] {
			t.Errorf("step %d: status %d, %s, want %d", i, r.Status, r.Body, want[i])
		}
	}
}

func TestContractHeap_SeesItsOwnWrites(t *testing.T) {
	b := newContractBench(t)
	if err := b.store.Commit(t.Context(), b.contract.Heap(), function.Commit{Writes: []function.HeapWrite{
		{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("2")}, {Key: "d/x", Value: []byte("3")},
	}}); err != nil {
		t.Fatal(err)
	}
	got, _ := b.steps(
		step{Method: "GET", Path: "/heap/a"},
		step{Method: "PUT", Path: "/heap/a", Body: ` { "n": 1.0 } `},
		step{Method: "GET", Path: "/heap/a"},
		step{Method: "DELETE", Path: "/heap/b"},
		step{Method: "GET", Path: "/heap/b"},
		step{Method: "PUT", Path: "/heap/c%2F..//%C3%BC", Body: `"x"`},
		step{Method: "GET", Path: "/heap/c/..//%C3%BC"},
		step{Method: "GET", Path: "/heap"},
		step{Method: "GET", Path: "/heap/?prefix=c/&limit=1"},
		step{Method: "GET", Path: "/heap?limit=1&after=a"},
		step{Method: "PUT", Path: "/heap/a", Body: "2", Match: `"1"`},
		step{Method: "PUT", Path: "/heap/b", Body: "2", None: "*"},
		step{Method: "PUT", Path: "/heap/b", Body: "3", None: "*"},
		step{Method: "DELETE", Path: "/heap/d/x", Match: "*"},
		step{Method: "DELETE", Path: "/heap/d/x", Match: "*"},
		step{Method: "PUT", Path: "/heap/e", Body: "no JSON"},
		step{Method: "PUT", Path: "/heap/" + strings.Repeat("k", 1025), Body: "1"},
		step{Method: "PUT", Path: "/heap/", Body: "1"},
		step{Method: "POST", Path: "/heap/a", Body: "1"},
		step{Method: "GET", Path: "/other"},
		step{Method: "GET", Path: "/heapa"},
		step{Method: "PUT", Path: "/heap/f", Body: "4"},
		step{Method: "GET", Path: "/heap"},
	)
	wantStatuses(t, got, 200, 204, 200, 204, 404, 204, 200, 200, 200, 200, 412, 204, 412, 204, 412, 400, 413, 400, 405, 404, 404, 204, 200)
	for i, want := range map[int]string{
		0: "1", 2: `{"n":1.0}`, 6: `"x"`, 7: `{"keys":["a","c/..//ü","d/x"]}`, 8: `{"keys":["c/..//ü"]}`,
		9: `{"keys":["c/..//ü"],"next":"c/..//ü"}`, 22: `{"keys":["a","b","c/..//ü","f"]}`,
	} {
		if got[i].Body != want {
			t.Errorf("step %d: %s, want %s", i, got[i].Body, want)
		}
	}
	b.wantHeap(map[string]string{"a": `{"n":1.0}`, "b": "2", "c/..//ü": `"x"`, "f": "4"})
}

// TestContractHeap_CommitsWithTheAnswer has the answer's members win over what was written before, all under one call id, and
// nothing left of a call that fails.
func TestContractHeap_CommitsWithTheAnswer(t *testing.T) {
	b := newContractBench(t)
	write := []step{{Method: "PUT", Path: "/heap/early", Body: "1"}, {Method: "PUT", Path: "/heap/both", Body: "1"}}
	for range 2 { // the second is a repeat
		if status, body := b.call("mine", order{Steps: write, Answer: `{"both": 2, "late": 3}`}); status != 200 || body != `{"both": 2, "late": 3}` {
			t.Errorf("status %d, %s", status, body)
		}
	}
	want := map[string]string{"early": "1", "both": "2", "late": "3"}
	b.wantHeap(want)
	for key := range want {
		if e, err := b.store.Get(t.Context(), b.contract.Heap(), key); err != nil || e.CallID != "mine" || e.Version != 2 {
			t.Errorf("%+v, %v", e, err)
		}
	}
	failing := []step{{Method: "PUT", Path: "/heap/early", Body: "9"}, {Method: "DELETE", Path: "/heap/both"}}
	if status, _ := b.call("", order{Steps: failing, Answer: "{}", Exit: 1}); status != 500 {
		t.Errorf("a contract that fails: status %d", status)
	}
	if status, _ := b.call("", order{Steps: failing, Answer: `{"": 1}`}); status != 502 {
		t.Errorf("an answer that cannot be stored: status %d", status)
	}
	b.wantHeap(want)
}

// TestContractHeap_CompareAndSet counts in parallel: no increment is lost, and a call that finds no gap says so.
func TestContractHeap_CompareAndSet(t *testing.T) {
	b := newContractBench(t)
	const callers, each = 4, 5
	var done, contended sync.Map
	var calling sync.WaitGroup
	for caller := range callers {
		calling.Go(func() {
			for n := 0; n < each; {
				id := fmt.Sprint(caller, "/", n)
				switch status, body := b.call(id, order{Count: "n"}); {
				case status == 200 && strings.Contains(body, `"Status":204`):
					done.Store(id, true)
					n++
				case status == 200 && strings.Contains(body, `"Status":412`):
					// It saw the conflict itself, and its answer is its last word on this call.
					contended.Store(id, true)
					n++
				case status != http.StatusConflict:
					t.Errorf("status %d, %s", status, body)
					return
				}
			}
		})
	}
	calling.Wait()
	want := 0
	done.Range(func(any, any) bool { want++; return true })
	e, err := b.store.Get(t.Context(), b.contract.Heap(), "n")
	if err != nil || string(e.Value) != fmt.Sprint(want) || want == 0 {
		t.Errorf("n is %s, %v, after %d increments", e.Value, err, want)
	}
}

// TestContractHeap_BelongsToTheCall tries to get at a heap with what others have.
func TestContractHeap_BelongsToTheCall(t *testing.T) {
	b := newContractBench(t)
	results, old := b.steps(step{Method: "PUT", Path: "/heap/k", Body: "1"})
	wantStatuses(t, results, 204)
	for name, test := range map[string]struct {
		step
		status int
	}{
		"a call that has ended, read":  {step{Method: "GET", Path: "/heap/k"}, http.StatusGone},
		"a call that has ended, write": {step{Method: "PUT", Path: "/heap/k", Body: "2"}, http.StatusGone},
		"a call that has ended, list":  {step{Method: "GET", Path: "/heap"}, http.StatusGone},
	} {
		if got := ask(old, test.step); got.Status != test.status {
			t.Errorf("%s: %+v", name, got)
		}
	}
	sealed := old[strings.LastIndexByte(old, '/')+1:]
	other := readypush.DeriveToken(contractKey, b.contract.Ref.String(), "another record")
	id, at, _ := readypush.DeriveToken(contractKey, b.contract.Ref.String(), b.contract.ID).OpenHeapCall(sealed)
	root := fmt.Sprint("http://127.0.0.1:", b.heapPort)
	for name, url := range map[string]string{
		"no call":               root,
		"another record's seal": root + "/" + other.SealHeapCall(id, at),
		"a changed address":     root + "/" + strings.Replace(sealed, "3132372e", "3132382e", 1),
		"a way up":              root + "/" + sealed + "/..",
	} {
		if got := ask(url, step{Method: "GET", Path: "/heap/k"}); got.Status != http.StatusNotFound {
			t.Errorf("%s: %+v", name, got)
		}
	}

	// While a call is under way, nobody but a pod of its function gets in at the provider's listener.
	contract := b.contract
	called := make(chan string)
	goOn := make(chan struct{})
	invoker := b.pausing(called, goOn)
	heap, err := handlers.NewContractHeap(contractKey, invoker.View)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	cfg := w.config(t)
	cfg.ContractHeap = heap
	api := newAPI(t, cfg)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		invoker.ServeContract(httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil).WithContext(t.Context()), contract, false)
	}()
	call := <-called
	token := readypush.DeriveToken(contractKey, contract.Ref.String(), contract.ID)
	for name, test := range map[string]struct {
		call, proof string
		status      int
	}{
		"its own":                 {call, token.HeapProof(call), 200},
		"no proof":                {call, "", 410},
		"another contract's":      {call, other.HeapProof(call), 410},
		"a proof of another call": {call, token.HeapProof(id), 410},
		"a call of the past":      {id, token.HeapProof(id), 410},
		"no call":                 {"", token.HeapProof(""), 410},
	} {
		r := httptest.NewRequest("GET", readypush.HeapPath+"k", nil)
		r.Header.Set(readypush.HeapCallHeader, test.call)
		r.Header.Set(readypush.HeapProofHeader, test.proof)
		got := httptest.NewRecorder()
		api.Provider().ServeHTTP(got, r)
		if got.Code != test.status {
			t.Errorf("%s: status %d, %s, want %d", name, got.Code, got.Body, test.status)
		}
		outside := httptest.NewRecorder()
		api.Gateway().ServeHTTP(outside, r)
		if outside.Code != 404 {
			t.Errorf("%s: status %d where clients are", name, outside.Code)
		}
	}
	close(goOn)
	<-ended
}

// pausing is an Invoker whose calls tell their id, and end with an error when they may.
func (b *contractBench) pausing(called chan<- string, goOn <-chan struct{}) *invoke.Invoker {
	b.t.Helper()
	invoker, err := invoke.New(invoke.Config{
		Store: b.store, Error: handlers.ErrorWriter(slog.New(slog.DiscardHandler)),
		HeapURL: func(_ *function.Function, id string) string { return id },
		Call: func(_ context.Context, _ *function.Function, r *http.Request) (*http.Response, error) {
			called <- r.Header.Get(invoke.HeaderHeapURL)
			<-goOn
			return nil, context.Canceled
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return invoker
}
