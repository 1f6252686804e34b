package invoke_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/dc1"
	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/invoke"
)

func TestChain_Payload(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": 1.0, "b": null}`:              `{"a":1.0,"b":null}`,
		`{}`:                                 `{}`,
		`{"OUTPUT_TO_CHAIN": false, "a": 1}`: "none",
		`{"OUTPUT_TO_CHAIN": 0}`:             `{"OUTPUT_TO_CHAIN":0}`,
		`{"OUTPUT_TO_CHAIN": "false"}`:       `{"OUTPUT_TO_CHAIN":"false"}`,
		`{"OUTPUT_TO_HEAP": false, "a": 1}`:  `{"OUTPUT_TO_HEAP":false,"a":1}`,
		`{"tag": "mine", "a": {"tag": "x"}}`: `{"a":{"tag":"x"}} tagged mine`,
		`{"tag": 7}`:                         `{"tag":7}`,
		`{"tag": null}`:                      `{"tag":null}`,
		`[1]`:                                `{"rawResponse":"[1]"}`,
		"bacon\n":                            `{"rawResponse":"bacon\n"}`,
		``:                                   `{"rawResponse":""}`,
	} {
		payload, tag, report, err := invoke.OutputPayload(text)
		got := payload
		if tag != nil {
			got += " tagged " + *tag
		}
		if !report {
			got = "none"
		}
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

// chainBench is an asyncBench whose contract's answers go to a chain, which tells what it got.
func chainBench(t *testing.T, serve http.HandlerFunc, refuse *atomic.Int64) (*asyncBench, chan string) {
	got := make(chan string, 100)
	signatures, err := dc1.New(dc1.Config{Chain: "chain", Key: func(id string) (string, bool) { return "key", id == "id" }})
	if err != nil {
		t.Fatal(err)
	}
	chain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse.Add(-1) >= 0 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("X-Call-Id") == "" {
			t.Errorf("sent with %v, %v", r.Header, err)
		}
		if err := signatures.Verify(r, body, time.Now()); err != nil {
			t.Errorf("sent with %v: %v", r.Header, err)
		}
		got <- string(body)
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(chain.Close)
	a := newAsyncBenchOn(t, serve, func(p *function.Policy) { p.Serial, p.Chain = true, true }, func(c *invoke.Config) {
		c.Chain = invoke.Chain{URL: chain.URL + "/v1/transaction", ID: "chain", KeyID: "id", Key: "key"}
	})
	return a, got
}

func TestChain_OutputsComeInOrderOnce(t *testing.T) {
	var runs, refuse atomic.Int64
	refuse.Store(1)
	a, got := chainBench(t, func(w http.ResponseWriter, r *http.Request) {
		switch n := runs.Add(1); n {
		case 2:
			io.WriteString(w, `{"OUTPUT_TO_CHAIN": false}`)
		case 3:
			w.WriteHeader(http.StatusBadRequest)
		default:
			fmt.Fprintf(w, `{"n": %d, "tag": "t%d"}`, n, n)
		}
	}, &refuse)
	defer a.work()()
	transaction := `{"version": "2", "header": {"txn_type": "banana", "dc_id": "d", "txn_id": "0-1", "timestamp": "7", "tag": "in", "invoker": ""}, "payload": {}}`
	if answer, _ := a.do(a.repeat("one", transaction)); answer.StatusCode != 200 {
		t.Fatalf("status %d", answer.StatusCode)
	}
	for range 2 {
		a.do(a.request("POST", "")) // one that keeps itself off the chain, and one that failed
	}
	a.do(a.repeat("one", transaction)) // the record
	a.wantAccepted("four", "{}")
	type transactionOf struct {
		Header  map[string]any
		Payload string
	}
	var first, second transactionOf
	for _, into := range []*transactionOf{&first, &second} {
		select {
		case text := <-got:
			if err := json.Unmarshal([]byte(text), into); err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("nothing reached the chain")
		}
	}
	h := first.Header
	if first.Payload != `{"n":1}` || h["tag"] != "t1" || h["invoker"] != "0-1" || h["timestamp"] != "7" || h["txn_type"] != "banana" || h["dc_id"] != "d" || len(fmt.Sprint(h["txn_id"])) != 36 {
		t.Errorf("the first is %+v", first)
	}
	if second.Payload != `{"n":4}` || second.Header["invoker"] != "four" || second.Header["txn_type"] != "ledger" || second.Header["txn_id"] == h["txn_id"] {
		t.Errorf("the second is %+v", second)
	}
	a.callback()
	a.wantDepth(function.Depth{})
	if len(got) != 0 {
		t.Errorf("and %q", <-got)
	}
}

func TestNew_RefusesChains(t *testing.T) {
	for _, c := range []invoke.Chain{
		{URL: "chain", ID: "i", KeyID: "k", Key: "k"}, {URL: "http://u:p@chain", ID: "i", KeyID: "k", Key: "k"}, {URL: "http://chain"}, {ID: "i"},
	} {
		if _, err := invoke.New(invoke.Config{
			Store: struct{ invoke.Store }{}, Call: callTo(t, "http://x"), Error: func(http.ResponseWriter, *http.Request, error) {}, Chain: c,
		}); err == nil {
			t.Errorf("%+v is taken for a chain", c)
		}
	}
}
