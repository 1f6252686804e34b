package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What dev/install.sh gives the clients of a Dragonchain: the id of the chain, and the Secret with their keys.
const (
	chainID          = "dev-chain"
	chainClients     = "chain-clients"
	chainClientKeyID = "DEVKEY"
)

// chainClient makes requests as Dragonchain's Python SDK does: the path is signed without its escapes, and the time has microseconds.
type chainClient struct{ id, key string }

func newChainClient(t *testing.T) chainClient {
	t.Helper()
	secret, err := cluster.CoreV1().Secrets(providerNamespace).Get(t.Context(), chainClients, metav1.GetOptions{})
	if err != nil {
		t.Fatalf("the keys of a chain's clients, which dev/install.sh makes: %v", err)
	}
	return chainClient{chainClientKeyID, string(secret.Data[chainClientKeyID])}
}

// get asks for what is at path, which is sent as it is escaped.
func (c chainClient) get(t *testing.T, path, escaped string) answer {
	t.Helper()
	header := http.Header{"Dragonchain": {chainID}, "Timestamp": {time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")}}
	header.Set("Authorization", signed("GET", path, header, nil, c.id, c.key))
	return gateway.ask(t, request{method: "GET", path: escaped, auth: nobody, header: header})
}

// TestDragonchain_ReadsOfItsSDKs has a contract run and everything about it read that an SDK of Dragonchain's can read.
func TestDragonchain_ReadsOfItsSDKs(t *testing.T) {
	t.Parallel()
	sdk := newChainClient(t)
	f := deploy(t, annotate(contract(scripted()), "com.dragonchain.execution-order", "serial"))
	f.call(t, "echo first >&2; echo bacon").is(t, "call", http.StatusOK)
	f.call(t, `echo second >&2; echo '{"d/e": {"n": 1.0}, "d2": null, "a b": 7}'`).is(t, "call", http.StatusOK)

	for key, want := range map[string]string{"rawResponse": `"bacon\n"`, "d/e": `{"n":1.0}`, "d2": "null", "a b": "7"} {
		path := "/v1/get/" + f.name + "/" + key
		if a := sdk.get(t, path, strings.ReplaceAll(path, " ", "%20")).is(t, "get "+key, http.StatusOK); a.body != want {
			t.Errorf("%s is %q, want %q", key, a.body, want)
		}
	}
	for prefix, want := range map[string][]string{"": {"/a b", "/d/e", "/d2", "/rawResponse"}, "d/": {"/d/e"}, "none/": {}} {
		path := "/v1/list/" + f.name + "/" + prefix
		if got := decode[[]string](t, sdk.get(t, path, path).is(t, "list", http.StatusOK)); !slices.Equal(got, want) {
			t.Errorf("keys below %q: %q, want %q", prefix, got, want)
		}
	}
	type shown struct {
		ID     string
		Type   string `json:"txn_type"`
		Order  string `json:"execution_order"`
		Status struct{ State string }
		Cmd    string
	}
	list := decode[struct {
		Contracts []shown `json:"smart_contracts"`
	}](t, sdk.get(t, "/v1/contract", "/v1/contract").is(t, "list", http.StatusOK))
	one := "/v1/contract/" + f.name
	found := append(list.Contracts,
		decode[shown](t, sdk.get(t, one, one).is(t, "get", http.StatusOK)),
		decode[shown](t, sdk.get(t, "/v1/contract/txn_type/"+f.name, "/v1/contract/txn_type/"+f.name).is(t, "get by type", http.StatusOK)))
	found = slices.DeleteFunc(found, func(s shown) bool { return s.ID != f.name })
	if len(found) != 3 {
		t.Errorf("shown %d times, want in the list, by its id and by its type: %+v", len(found), found)
	}
	for _, s := range found {
		if s.Type != f.name || s.Order != "serial" || s.Status.State != "active" || s.Cmd != "sh" {
			t.Errorf("shown as %+v", s)
		}
	}

	type logs struct{ Logs []map[string]string }
	eventually(t, "the last line is the last written", func() (bool, string) {
		got := decode[logs](t, sdk.get(t, one+"/logs?tail=1", one+"/logs?tail=1").is(t, "logs", http.StatusOK))
		return len(got.Logs) == 1 && strings.HasSuffix(got.Logs[0]["text"], "second") && got.Logs[0]["name"] == f.name, fmt.Sprint(got)
	})
	later := one + "/logs?tail=100&since=8000-01-01T00%3A00%3A00.000Z"
	if got := decode[logs](t, sdk.get(t, later, later).is(t, "logs of later", http.StatusOK)); got.Logs == nil || len(got.Logs) > 0 {
		t.Errorf("lines of the year 8000: %v", got)
	}

	sdk.get(t, "/v1/contract/gone", "/v1/contract/gone").is(t, "a contract that is not there", http.StatusNotFound)
	sdk.key += "x"
	if a := sdk.get(t, one, one); a.status != http.StatusUnauthorized || !strings.Contains(a.body, `"AUTHENTICATION_ERROR"`) {
		t.Errorf("with a wrong key: %d %q", a.status, a.body)
	}
}
