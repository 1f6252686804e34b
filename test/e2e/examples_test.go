package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/openfaas/faas-provider/types"
)

// transaction is the example's Dragonchain transaction with another payload.
func transaction(t *testing.T, payload any) string {
	t.Helper()
	raw, err := os.ReadFile("../../examples/transaction.json")
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]any
	if err := json.Unmarshal(raw, &whole); err != nil {
		t.Fatal(err)
	}
	whole["payload"] = payload
	return encode(t, whole)
}

// TestExamples_Cowsay deploys a program that was never written to be a contract, and gives no command.
func TestExamples_Cowsay(t *testing.T) {
	t.Parallel()
	d := contract(annotate(deployment{Image: "dragonchain/example-cowsay:dev"}, annotationMode, "fork"))
	f := deploy(t, d)
	a := f.call(t, transaction(t, map[string]string{"moo": "dragons"})).is(t, "cowsay", http.StatusOK)
	for _, want := range []string{"dragons", "payload", "^__^", "(oo)"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the cow does not say %q:\n%s", want, a.body)
		}
	}
	var raw string
	if err := json.Unmarshal([]byte(f.heap(t, "rawResponse")), &raw); err != nil || raw != a.body {
		t.Errorf("heap has %q (%v), the answer was %q", raw, err, a.body)
	}
}

// TestExamples_ImageWithoutACommand is refused when it is deployed, and leaves nothing.
func TestExamples_ImageWithoutACommand(t *testing.T) {
	t.Parallel()
	name := images.start(t).Open("bare:one")
	bare, err := images.probe("bare")
	if err != nil {
		t.Fatal(err)
	}
	if bare, err = mutate.Config(bare, v1.Config{User: "1000"}); err != nil {
		t.Fatal(err)
	}
	if _, err := images.registry.Push(name, bare); err != nil {
		t.Fatal(err)
	}
	d := annotate(deployment{Service: unique(t, "bare"), Image: name}, annotationMode, "fork")
	a := gateway.do(t, http.MethodPost, "/system/functions", encode(t, d))
	a.refused(t, "deploy", http.StatusBadRequest)
	if !strings.Contains(a.body, "neither ENTRYPOINT nor CMD") {
		t.Errorf("answer %q", a.body)
	}
	f := function{name: d.Service}
	if _, there := f.status(t); there {
		t.Error("the function is there")
		f.remove(t)
	}
}

// balanceSheet is the example as its stack.yml has it.
func balanceSheet() deployment {
	d := contract(annotate(deployment{Image: "dragonchain/example-balance:dev"}, annotationMode, "fork"))
	d = annotate(d, "com.dragonchain.prefork", "1")
	d = annotate(d, "com.openfaas.retry.codes", "408,409,429,500,502,503,504")
	d.EnvVars = map[string]string{"exec_timeout": "10s"}
	return d
}

func TestExamples_BalanceSheet(t *testing.T) {
	t.Parallel()
	f := deploy(t, balanceSheet())

	f.call(t, transaction(t, map[string]any{"method": "deposit", "to": "alice", "amount": 20})).is(t, "deposit", http.StatusOK)
	a := f.call(t, transaction(t, map[string]any{"method": "transfer", "from": "alice", "to": "bob", "amount": 5})).is(t, "transfer", http.StatusOK)
	var changed map[string]any
	if err := json.Unmarshal([]byte(a.body), &changed); err != nil || changed["account-bob"] != 5.0 {
		t.Errorf("transfer answers %q, %v", a.body, err)
	}
	wantHeap(t, f, map[string]string{"account-alice": "15", "account-bob": "5"})

	refused := f.call(t, transaction(t, map[string]any{"method": "transfer", "from": "alice", "to": "bob", "amount": 1000}))
	if refused.status != http.StatusInternalServerError {
		t.Errorf("overdraft: %d %q, want 500", refused.status, refused.body)
	}
	wantHeap(t, f, map[string]string{"account-alice": "15", "account-bob": "5"})
	if got, want := f.heapKeys(t, "account-"), []string{"account-alice", "account-bob"}; !slices.Equal(got, want) {
		t.Errorf("accounts %q, want %q", got, want)
	}
}

func wantHeap(t *testing.T, f function, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got := f.heap(t, key); got != value {
			t.Errorf("heap key %s: %s, want %s", key, got, value)
		}
	}
}

func TestExamples_Hello(t *testing.T) {
	t.Parallel()
	f := deploy(t, deployment{Image: "dragonchain/example-hello:dev"})
	if a := f.get(t, "/").is(t, "greeting", http.StatusOK); !strings.Contains(a.body, "Hello") {
		t.Errorf("answer %q", a.body)
	}
	if a := f.get(t, "/sleep?d=1ms").is(t, "sub-path and query", http.StatusOK); a.body != "slept 1ms\n" {
		t.Errorf("answer %q", a.body)
	}
}

func TestExamples_Shell(t *testing.T) {
	t.Parallel()
	f := deploy(t, contract(annotate(deployment{Image: imageShell}, annotationMode, "fork")))
	a := f.call(t, "one\ntwo\n").is(t, "shell contract", http.StatusOK)
	if want := "  1 | one\n  2 | two\nread by busybox: 2 lines\n"; a.body != want {
		t.Errorf("answer %q, want %q", a.body, want)
	}
	if got, want := f.heap(t, "rawResponse"), encode(t, a.body); got != want {
		t.Errorf("heap has %s, want %s", got, want)
	}
}

// makeSecret makes a secret in the default namespace and takes it away with the test.
func makeSecret(t *testing.T, name, value string) {
	t.Helper()
	t.Cleanup(func() { removeSecret(t, name, "") })
	body := encode(t, types.Secret{Name: name, Value: value})
	gateway.do(t, "POST", "/system/secrets", body).is(t, fmt.Sprintf("make secret %s", name), http.StatusAccepted)
}
