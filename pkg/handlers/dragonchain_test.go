package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/dc1"
	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/handlers"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

const contractID = "11111111-2222-4333-8444-555555555555"

// chainWorld has the contracts cow of both namespaces, of which that in fns has these keys, one that was deployed by a Dragonchain,
// and a function that is no contract. Requests that are signed with the key KEY are let in.
func chainWorld(t testing.TB, pairs ...string) (*world, http.Handler) {
	t.Helper()
	w, store := newWorld(), openStore(t)
	cfg := w.config(t)
	cfg.Heaps = store
	heap := map[string]string{"com.dragonchain.heap": "true"}
	w.secrets["fns"]["sc-"+contractID+"-secret-key"] = "k"
	for _, spec := range []function.Spec{
		{Ref: function.Ref{Name: "cow", Namespace: "fns"}, Image: "i:1", Annotations: heap},
		{Ref: function.Ref{Name: "cow", Namespace: "dev"}, Image: "i:1", Annotations: heap},
		{
			Ref: function.Ref{Name: "contract-" + contractID, Namespace: "fns"}, Image: "r/i@sha256:ab", Process: "python3 -u main.py",
			Env:         map[string]string{"SMART_CONTRACT_NAME": "banana"},
			Annotations: map[string]string{"com.dragonchain.heap": "true", "com.dragonchain.execution-order": "serial", "com.dragonchain.seconds": "7"},
			Secrets:     []string{"old", "sc-" + contractID + "-secret-key"},
		},
		{Ref: function.Ref{Name: "plain", Namespace: "fns"}, Image: "i"},
	} {
		if err := store.Create(t.Context(), w.put(t, spec, function.Status{}).Heap()); err != nil {
			t.Fatal(err)
		}
	}
	var writes []function.HeapWrite
	for i := 0; i < len(pairs); i += 2 {
		writes = append(writes, function.HeapWrite{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	f := w.functions[function.Ref{Name: "cow", Namespace: "fns"}]
	if err := store.Commit(t.Context(), f.Heap(), function.Commit{Writes: writes}); err != nil {
		t.Fatal(err)
	}
	signatures, err := dc1.New(dc1.Config{Chain: "chain", Key: func(id string) (string, bool) { return "text", id == "KEY" }})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Signatures = signatures
	return w, newAPI(t, cfg).Gateway()
}

// askSigned makes a request of a Dragonchain's client.
func askSigned(h http.Handler, method, target, key string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	dc1.Sign(r, nil, "chain", dc1.Key{ID: key, Text: "text"}, time.Now())
	got := httptest.NewRecorder()
	h.ServeHTTP(got, r)
	return got
}

// wantChainError wants the form of a Dragonchain's errors.
func wantChainError(t testing.TB, got *httptest.ResponseRecorder, status int, kind, details string) {
	t.Helper()
	want := fmt.Sprintf(`{"error":{"type":%q,"details":%q}}`, kind, details) // of ASCII, which Go spells as JSON does
	if got.Code != status || strings.TrimSpace(got.Body.String()) != want || got.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d, %v, %s; want %d %s", got.Code, got.Header(), got.Body, status, want)
	}
}

const notFound = "The requested resource(s) cannot be found."

func TestDragonchain_Get(t *testing.T) {
	_, h := chainWorld(t, "rawResponse", `"bacon\n"`, "null", "null", "d/e", `{"a":1.0}`, "ü ?", "7", "a%2Fb", "8", "empty", "")
	for path, want := range map[string]string{
		"cow/rawResponse": `"bacon\n"`, "cow/null": "null", "cow/d/e": `{"a":1.0}`, "cow//d/e": `{"a":1.0}`, "cow///d/e": `{"a":1.0}`,
		"cow/d%2Fe": `{"a":1.0}`, "cow/%C3%BC%20%3F": "7", "cow/a%252Fb": "8", "cow.fns/null": "null", "cow.openfaas-fn/null": "null",
		"cow/empty": "", "cow/null?x=y": "null",
	} {
		got := call(h, "GET", "/v1/get/"+path, "")
		if got.Code != 200 || got.Body.String() != want || got.Header().Get("Content-Type") != "text/plain; charset=utf-8" ||
			got.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: status %d, %q, %v", path, got.Code, got.Body, got.Header())
		}
	}
	for _, path := range []string{"cow/nokey", "cow/", "cow/d", "cow/d/", "cow/d//e", "cow.dev/null", "gone/null", "/null", "plain/x", contractID + "/null", "cow/%FF"} {
		t.Run(path, func(t *testing.T) {
			wantChainError(t, call(h, "GET", "/v1/get/"+path, ""), 404, "NOT_FOUND", notFound)
		})
	}
	wantChainError(t, call(h, "GET", "/v1/get/cow", ""), 400, "BAD_REQUEST", "Path must look like /v1/get/<contract_id>/<object_key>")
}

func TestDragonchain_List(t *testing.T) {
	_, h := chainWorld(t, "rawResponse", "1", "d/e", "1", "d2", "1", "ü&", "1", "/odd", "1")
	for path, want := range map[string]string{
		"cow/": `["//odd","/d/e","/d2","/rawResponse","/ü\u0026"]`, "cow/d": `["/d/e","/d2"]`, "cow/d/": `["/d/e"]`, "cow//d": `[]`, "cow//": `["//odd"]`,
		"cow/%C3%BC": `["/ü\u0026"]`, "cow/nothing/": `[]`, "gone/": `[]`, "plain/": `[]`, "cow.dev/": `[]`, contractID + "/": `[]`,
	} {
		t.Run(path, func(t *testing.T) { wantJSON(t, call(h, "GET", "/v1/list/"+path, ""), want) })
	}
	wantChainError(t, call(h, "GET", "/v1/list/cow", ""), 400, "BAD_REQUEST",
		"Path must look like /v1/list/<contract_id>/<object_folder> or /v1/list/<contract_id>/ to search the root of the heap")
}

// TestDragonchain_ListOfMany has a heap of more keys than a store lists at once: a Dragonchain answers all of them.
func TestDragonchain_ListOfMany(t *testing.T) {
	var pairs, want []string
	for i := range 2*heapstore.MaxListLimit + 1 {
		key := fmt.Sprintf("%06d", i)
		pairs, want = append(pairs, key, "1"), append(want, "/"+key)
	}
	_, h := chainWorld(t, pairs...)
	got := call(h, "GET", "/v1/list/cow/", "")
	var keys []string
	if err := json.Unmarshal(got.Body.Bytes(), &keys); err != nil || !slices.Equal(keys, want) {
		t.Errorf("%d keys, %v, want %d", len(keys), err, len(want))
	}
}

func TestDragonchain_Contracts(t *testing.T) {
	w, h := chainWorld(t)
	const cow = `{"dcrn":"SmartContract::L1::AtRest","version":"1","txn_type":"cow","id":"cow",` +
		`"status":{"state":"active","msg":"Creation success","timestamp":"2026-05-04 03:02:01.000000"},"image":"i:1","auth_key_id":null,"image_digest":null,` +
		`"cmd":"","args":[],"env":null,"existing_secrets":null,"cron":null,"seconds":null,"execution_order":"parallel"}`
	const banana = `{"dcrn":"SmartContract::L1::AtRest","version":"1","txn_type":"banana","id":"` + contractID + `",` +
		`"status":{"state":"active","msg":"Creation success","timestamp":"2026-05-04 03:02:01.000000"},"image":"r/i@sha256:ab","auth_key_id":null,"image_digest":"sha256:ab",` +
		`"cmd":"python3","args":["-u","main.py"],"env":{"SMART_CONTRACT_NAME":"banana"},"existing_secrets":["old","secret-key"],"cron":null,"seconds":7,"execution_order":"serial"}`
	wantJSON(t, call(h, "GET", "/v1/contract", ""), `{"smart_contracts":[`+banana+`,`+cow+`]}`)
	wantJSON(t, call(h, "GET", "/v1/contract?namespace=dev", ""), `{"smart_contracts":[`+strings.Replace(cow, `"id":"cow"`, `"id":"cow.dev"`, 1)+`]}`)
	wantJSON(t, call(h, "GET", "/v1/contract/cow", ""), cow)
	wantJSON(t, call(h, "GET", "/v1/contract/cow.fns", ""), cow)
	wantJSON(t, call(h, "GET", "/v1/contract/"+contractID, ""), banana)
	wantJSON(t, call(h, "GET", "/v1/contract/txn_type/banana", ""), banana)
	for _, path := range []string{"gone", "plain", "txn_type/gone", "txn_type/plain", "txn_type/contract-" + contractID, "cow.kube-system", "gone/logs"} {
		t.Run(path, func(t *testing.T) {
			wantChainError(t, call(h, "GET", "/v1/contract/"+path, ""), 404, "NOT_FOUND", notFound)
		})
	}
	wantChainError(t, call(h, "GET", "/v1/contract?namespace=kube-system", ""), 400, "BAD_REQUEST",
		`namespace "kube-system" belongs to Kubernetes`)

	ref := function.Ref{Name: "cow", Namespace: "fns"}
	cron := w.functions[ref].Spec
	cron.Annotations = map[string]string{"com.dragonchain.heap": "true", "com.dragonchain.cron": "* * * * *"}
	if err := w.Update(t.Context(), cron); err != nil {
		t.Fatal(err)
	}
	w.statuses[ref] = function.Status{Reason: "image is not there"}
	want := strings.Replace(cow, `"cron":null`, `"cron":"* * * * *"`, 1)
	want = strings.Replace(want, `"state":"active","msg":"Creation success"`, `"state":"error","msg":"image is not there"`, 1)
	wantJSON(t, call(h, "GET", "/v1/contract/cow", ""), want)
	// One replica that cannot be had leaves a contract working that has another.
	w.statuses[ref] = function.Status{Reason: "quota", Available: 1}
	if got := call(h, "GET", "/v1/contract/cow", ""); !strings.Contains(got.Body.String(), `"state":"active"`) {
		t.Errorf("%s", got.Body)
	}
}

func TestDragonchain_Logs(t *testing.T) {
	since := time.Date(8000, 1, 2, 3, 4, 5, 0, time.UTC)
	ref := function.Ref{Name: "cow", Namespace: "fns"}
	for query, want := range map[string]function.LogQuery{
		"":                              {Ref: ref, Tail: 100},
		"?tail=0":                       {Ref: ref, Tail: 100},
		"?tail=1&follow=true":           {Ref: ref, Tail: 1},
		"?tail=5&since=":                {Ref: ref, Tail: 5},
		"?since=8000-01-02T03:04:05Z":   {Ref: ref, Tail: 100, Since: &since},
		"?since=8000-01-02T03%3A04:05Z": {Ref: ref, Tail: 100, Since: &since},
	} {
		w, h := chainWorld(t)
		wantJSON(t, call(h, "GET", "/v1/contract/cow/logs"+query, ""), `{"logs":[]}`)
		q := w.query
		if q.Since != nil && want.Since != nil && q.Since.Equal(*want.Since) {
			q.Since = want.Since
		}
		if q != want {
			t.Errorf("%s: asked %+v, want %+v", query, q, want)
		}
	}
	w, h := chainWorld(t)
	for query, details := range map[string]string{
		"tail=x": "Invalid parameter for tail", "since=yesterday": "Invalid parameter for since: give a time such as 2006-01-02T15:04:05Z",
	} {
		wantChainError(t, call(h, "GET", "/v1/contract/cow/logs?"+query, ""), 400, "BAD_REQUEST", details)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	w.lines = make(chan function.LogLine, 2000)
	var want []string
	for n := range cap(w.lines) { // more than is sent at once
		w.lines <- function.LogLine{Instance: "cow-1", Time: at, Text: fmt.Sprintf("<%d>", n)}
		want = append(want, fmt.Sprintf(
			`{"name":"cow","namespace":"fns","instance":"cow-1","timestamp":"2026-01-02T02:04:05.000000006Z","text":"\u003c%d\u003e"}`, n))
	}
	close(w.lines)
	wantJSON(t, call(h, "GET", "/v1/contract/cow/logs", ""), `{"logs":[`+strings.Join(want, ",")+`]}`)
}

func TestDragonchain_Signed(t *testing.T) {
	_, h := chainWorld(t, "d/ e", "1")
	for _, target := range []string{
		"/v1/contract", "/v1/contract/cow", "/v1/contract/txn_type/cow", "/v1/contract/cow/logs?tail=1&since=2019-09-16T23%3A10%3A04.000Z",
		"/v1/get/cow/d/%20e", "/v1/list/cow/", "/v1/list/cow/d/",
	} {
		if got := askSigned(h, "GET", target, "KEY"); got.Code != 200 {
			t.Errorf("%s: status %d %s", target, got.Code, got.Body)
		}
		wantChainError(t, askSigned(h, "GET", target, "OTHER"), 401, "AUTHENTICATION_ERROR", "Invalid HMAC Authentication")
		none := httptest.NewRecorder()
		h.ServeHTTP(none, httptest.NewRequest("GET", target, nil))
		wantChainError(t, none, 401, "AUTHENTICATION_ERROR", "Missing Dragonchain ID in request header")
		wrong := httptest.NewRequest("GET", target, nil)
		wrong.SetBasicAuth(user, "x")
		got := httptest.NewRecorder()
		h.ServeHTTP(got, wrong)
		wantChainError(t, got, 401, "AUTHENTICATION_ERROR", "invalid credentials")
		if got.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %v", target, got.Header())
		}
	}
	again := httptest.NewRequest("GET", "/v1/contract?a", nil)
	dc1.Sign(again, nil, "chain", dc1.Key{ID: "KEY", Text: "text"}, time.Now())
	for _, want := range []int{200, 401} {
		got := httptest.NewRecorder()
		if h.ServeHTTP(got, again); got.Code != want {
			t.Errorf("status %d, want %d", got.Code, want)
		}
	}
	body := httptest.NewRequest("GET", "/v1/contract", strings.NewReader(strings.Repeat("x", 65<<10)))
	got := httptest.NewRecorder()
	if h.ServeHTTP(got, body); got.Code != 413 {
		t.Errorf("a large body: %d %s", got.Code, got.Body)
	}
	// What a signature lets in is these routes alone.
	if got := askSigned(h, "GET", "/system/functions", "KEY"); got.Code != 401 {
		t.Errorf("another route: %d", got.Code)
	}
}

// TestDragonchain_Unsigned has no keys: then the API's credentials are the only ones.
func TestDragonchain_Unsigned(t *testing.T) {
	w := newWorld()
	h := newAPI(t, w.config(t)).Gateway()
	wantJSON(t, call(h, "GET", "/v1/contract", ""), `{"smart_contracts":[]}`)
	wantChainError(t, askSigned(h, "GET", "/v1/contract", "KEY"), 401, "AUTHENTICATION_ERROR", "invalid credentials")
}

func TestDragonchain_WhatIsNotThere(t *testing.T) {
	_, h := chainWorld(t)
	for _, target := range []string{"/v1/", "/v1/status", "/v1//contract", "/v1/contract/", "/v1/contract/cow/x", "/v1/%67et", "/v1/get"} {
		wantChainError(t, call(h, "GET", target, ""), 404, "NOT_FOUND", "The requested route was not found.")
	}
	for _, c := range []string{"POST /v1/contract", "PUT /v1/contract/cow", "DELETE /v1/contract/cow", "POST /v1/transaction", "HEAD /v1/get/cow/k", "POST /v1/get/cow/k"} {
		method, target, _ := strings.Cut(c, " ")
		wantChainError(t, call(h, method, target, "{}"), 405, "METHOD_NOT_ALLOWED", "contracts are only read here: deploy, update and delete them by the OpenFaaS API")
	}
}

// brokenHeaps cannot be reached.
type brokenHeaps struct{ handlers.Heaps }

func (brokenHeaps) Get(context.Context, function.Heap, string) (function.HeapEntry, error) {
	return function.HeapEntry{}, heapstore.ErrUnavailable
}

func (brokenHeaps) List(context.Context, function.Heap, string, string, int) ([]string, string, error) {
	return nil, "", heapstore.ErrUnavailable
}

func TestDragonchain_TroublesOfTheStoreAndTheCluster(t *testing.T) {
	w, _ := chainWorld(t)
	cfg := w.config(t) // whose store has no heaps
	cfg.Heaps = brokenHeaps{cfg.Heaps}
	h := newAPI(t, cfg).Gateway()
	for _, target := range []string{"/v1/get/cow/k", "/v1/list/cow/"} {
		wantChainError(t, call(h, "GET", target, ""), 503, "INTERNAL_SERVER_ERROR", heapstore.ErrUnavailable.Error())
	}
	w.broken = fmt.Errorf("10.1.2.3 is secret")
	wantChainError(t, call(h, "GET", "/v1/contract/cow/logs", ""), 500, "INTERNAL_SERVER_ERROR", "internal error; the provider's log has the cause")
}
