package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/openfaas/faas-provider/types"
)

// TestHundred deploys a hundred contracts at once, calls each once, and counts what is left after deleting them at once. It
// runs alone: a node has room for few more pods.
func TestHundred(t *testing.T) {
	const count = 100
	namespace := newNamespace(t)
	makeSecretIn(t, "shared", namespace)
	before := inventory(t, namespace)
	contracts := make([]function, count)
	for i := range contracts {
		contracts[i] = function{fmt.Sprintf("contract-%02d", i), namespace}
		t.Cleanup(func() { contracts[i].remove(t) })
	}

	d := contract(parrot())
	d.Namespace, d.Secrets = namespace, []string{"shared"}
	d.Requests = &types.FunctionResources{Memory: "16Mi", CPU: "1m"}
	started := time.Now()
	atOnce(t, contracts, func(i int, f function) error {
		d := d
		d.Service = f.name
		return f.want(t, "POST", "/system/functions", encode(t, d), http.StatusAccepted)
	})
	t.Logf("%d deployed after %s", count, time.Since(started).Round(time.Millisecond))
	atOnce(t, contracts, func(i int, f function) error {
		return f.patient(t, fmt.Sprintf(`{"n":%d}`, i))
	})
	t.Logf("all answered after %s", time.Since(started).Round(time.Millisecond))
	for i, f := range contracts {
		wantHeap(t, f, map[string]string{"n": fmt.Sprint(i)})
	}

	started = time.Now()
	atOnce(t, contracts, func(_ int, f function) error {
		body := encode(t, types.DeleteFunctionRequest{FunctionName: f.name, Namespace: f.namespace})
		return f.want(t, "DELETE", "/system/functions", body, http.StatusAccepted)
	})
	t.Logf("%d deletes answered after %s", count, time.Since(started).Round(time.Millisecond))
	a := gateway.do(t, "GET", "/system/functions?namespace="+namespace, "").is(t, "list", http.StatusOK)
	if a.body != "[]" {
		t.Errorf("after deleting all, the list is %s", a.body)
	}
	awaitInventory(t, namespace, before)
	t.Logf("nothing left after %s", time.Since(started).Round(time.Millisecond))

	// The store keeps nothing either: the same names begin with empty heaps.
	for _, f := range contracts[:3] {
		d.Service = f.name
		deploy(t, d)
		if keys := f.heapKeys(t, ""); len(keys) > 0 {
			t.Errorf("%s begins with keys %q", f, keys)
		}
	}
}

// atOnce runs do for every function at the same time and fails the test for each error.
func atOnce(t *testing.T, functions []function, do func(int, function) error) {
	t.Helper()
	var all sync.WaitGroup
	for i, f := range functions {
		all.Go(func() {
			if err := do(i, f); err != nil {
				t.Errorf("%s: %v", f, err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// want sends and reports another status than the one wanted.
func (f function) want(t *testing.T, method, path, body string, status int) error {
	a, err := gateway.send(t.Context(), request{method: method, path: path, body: body})
	if err == nil && a.status != status {
		err = fmt.Errorf("%s %s: %d %q, want %d", method, path, a.status, a.body, status)
	}
	return err
}

// patient calls the function until it is answered by it, for as long as two cores need to start a hundred pods. Only the
// answer that there is no endpoint yet is worth another call.
func (f function) patient(t *testing.T, body string) error {
	deadline := time.Now().Add(4 * time.Minute)
	for {
		a, err := gateway.send(t.Context(), request{method: "POST", path: f.path(""), body: body, auth: nobody})
		switch {
		case err != nil:
			return err
		case a.status == http.StatusOK && a.body == body:
			return nil
		case a.status != http.StatusServiceUnavailable || time.Now().After(deadline):
			return fmt.Errorf("%d %q", a.status, a.body)
		}
	}
}

func makeSecretIn(t *testing.T, name, namespace string) {
	t.Helper()
	body := encode(t, types.Secret{Name: name, Namespace: namespace, Value: "v"})
	gateway.do(t, "POST", "/system/secrets", body).is(t, "make secret", http.StatusAccepted)
}
