package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const cow = `(oo)\_______
 (__)\       )\/\
     ||----w |`

// fakeProvider answers as the provider does, with contracts that follow their descriptions. Its fields break it.
type fakeProvider struct {
	functions map[string]bool
	accounts  map[string]int

	statusOf   map[string]int // of an invocation, by function
	deployed   int            // status of a deploy; 0 means 202
	cow        string
	forgetful  bool // the heap keeps nothing
	overdrafts bool // the contract lets accounts go below zero
}

func newFake() *fakeProvider {
	return &fakeProvider{functions: map[string]bool{}, accounts: map[string]int{}, cow: cow}
}

func (f *fakeProvider) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /system/functions", f.deploy)
	mux.HandleFunc("PUT /system/functions", f.deploy)
	mux.HandleFunc("POST /function/{name}", f.invoke)
	mux.HandleFunc("GET /heap/balance", f.list)
	mux.HandleFunc("GET /heap/balance/{key}", f.get)
	mux.HandleFunc("GET /heap/cowsay/rawResponse", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, f.cow) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if !strings.HasPrefix(r.URL.Path, "/function/") && user+":"+password != "admin:secret" {
			http.Error(w, "invalid credentials", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (f *fakeProvider) deploy(w http.ResponseWriter, r *http.Request) {
	var d struct{ Service string }
	json.NewDecoder(r.Body).Decode(&d)
	if !f.functions[d.Service] && r.Method == http.MethodPut {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	f.functions[d.Service] = true
	w.WriteHeader(cmp.Or(f.deployed, http.StatusAccepted))
}

func (f *fakeProvider) invoke(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	body, _ := io.ReadAll(r.Body)
	if status := f.statusOf[name]; status != 0 {
		http.Error(w, "broken on purpose", status)
		return
	}
	switch name {
	case "hello":
		io.WriteString(w, "Hello from a Go function.\n")
	case "lambda":
		io.WriteString(w, `{"greeting":"Hello, Ada"}`)
	case "shell":
		fmt.Fprintf(w, "  1 | %s\n", body)
	case "cowsay":
		io.WriteString(w, f.cow)
	case "balance":
		f.balance(w, body)
	}
}

func (f *fakeProvider) balance(w http.ResponseWriter, body []byte) {
	var t struct {
		Payload struct {
			Method, From, To string
			Amount           int
		}
	}
	json.Unmarshal(body, &t)
	p := t.Payload
	if p.Method == "transfer" {
		if f.accounts[p.From] < p.Amount && !f.overdrafts {
			http.Error(w, "exit status 1", http.StatusInternalServerError)
			return
		}
		f.accounts[p.From] -= p.Amount
	}
	f.accounts[p.To] += p.Amount
	fmt.Fprintf(w, `{"account-%s": %d}`, p.To, f.accounts[p.To])
}

func (f *fakeProvider) list(w http.ResponseWriter, r *http.Request) {
	// One key a page, so that paging is used.
	for _, account := range slices.Sorted(maps.Keys(f.accounts)) {
		if key := "account-" + account; key > r.URL.Query().Get("after") {
			json.NewEncoder(w).Encode(map[string]any{"keys": []string{key}, "next": key})
			return
		}
	}
	io.WriteString(w, `{"keys": []}`)
}

func (f *fakeProvider) get(w http.ResponseWriter, r *http.Request) {
	held, found := f.accounts[strings.TrimPrefix(r.PathValue("key"), "account-")]
	if !found || f.forgetful {
		http.Error(w, "no such key", http.StatusNotFound)
		return
	}
	fmt.Fprint(w, held)
}

// runDemo runs the whole demo against f and returns what it printed.
func runDemo(t *testing.T, f *fakeProvider) (string, error) {
	t.Helper()
	server := httptest.NewServer(f.handler())
	defer server.Close()
	t.Setenv("OPENFAAS_URL", server.URL)
	t.Setenv("OPENFAAS_USER", "admin")
	t.Setenv("OPENFAAS_PASSWORD", "secret")
	var out strings.Builder
	err := run(t.Context(), &out, "../../examples")
	return out.String(), err
}

func TestDemo_RunsTwice(t *testing.T) {
	f := newFake()
	for i, want := range []string{"account-alice            15\n  account-bob              5\n", "account-alice            30\n"} {
		out, err := runDemo(t, f)
		if err != nil {
			t.Fatalf("run %d: %v\n%s", i+1, err, out)
		}
		for _, text := range []string{want, cow} {
			if !strings.Contains(out, text) {
				t.Errorf("run %d: the output lacks %q:\n%s", i+1, text, out)
			}
		}
	}
	if got, want := slices.Sorted(maps.Keys(f.functions)), []string{"balance", "cowsay", "hello", "lambda", "shell"}; !slices.Equal(got, want) {
		t.Errorf("deployed %q, want %q", got, want)
	}
}

func TestDemo_FindsWhatIsWrong(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*fakeProvider)
		want  string
	}{
		{"function not ready", func(f *fakeProvider) { f.statusOf = map[string]int{"hello": 503} }, `invoke "hello": status 503, want 200: broken on purpose`},
		{"no cow in the answer", func(f *fakeProvider) { f.cow = "moo" }, `invoke "cowsay": the answer lacks`},
		{"heap loses what was committed", func(f *fakeProvider) { f.forgetful = true }, `holds 0, want`},
		{"overdraft goes through", func(f *fakeProvider) { f.overdrafts = true }, `invoke "balance": status 200, want 500`},
		{"deploy answered with another status", func(f *fakeProvider) { f.deployed = 201 }, `deploy "balance": status 201, want 202`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			tt.spoil(f)
			if out, err := runDemo(t, f); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q; output:\n%s", err, tt.want, out)
			}
		})
	}
}

func TestRun_NeedsAnAddress(t *testing.T) {
	t.Setenv("OPENFAAS_URL", "")
	if err := run(t.Context(), io.Discard, "../../examples"); err == nil || !strings.Contains(err.Error(), "OPENFAAS_URL") {
		t.Errorf("got %v", err)
	}
}

func TestNewTransaction_OnOneLineAsTheChainSendsIt(t *testing.T) {
	text, err := newTransaction("cowsay", map[string]any{"moo": "two\nlines"})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), `{ "version": "2", "dcrn": "Transaction::L1::FullTransaction", "header": { "txn_type": "cowsay", `) {
		t.Errorf("got %s", text)
	}
	var back struct {
		Header  map[string]any
		Payload map[string]string
		Proof   map[string]any
	}
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if block, there := back.Header["block_id"]; !there || block != nil || back.Header["invoker"] != "" || len(back.Header) != 7 {
		t.Errorf("header: got %v", back.Header)
	}
	if back.Payload["moo"] != "two\nlines" || len(back.Proof) != 2 || strings.Contains(string(text), "\n") {
		t.Errorf("got %s", text)
	}
}
