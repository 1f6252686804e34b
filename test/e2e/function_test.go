package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/openfaas/faas-provider/types"
)

const (
	imageShell = "dragonchain/example-shell:dev"

	annotationHeap   = "com.dragonchain.heap"
	annotationMode   = "com.dragonchain.mode"
	annotationStatus = "com.dragonchain.status"
	annotationScaled = "com.dragonchain.scaled"

	labelMin          = "com.openfaas.scale.min"
	labelMax          = "com.openfaas.scale.max"
	labelFactor       = "com.openfaas.scale.factor"
	labelType         = "com.openfaas.scale.type"
	labelTarget       = "com.openfaas.scale.target"
	labelProportion   = "com.openfaas.scale.target-proportion"
	labelZero         = "com.openfaas.scale.zero"
	labelZeroDuration = "com.openfaas.scale.zero-duration"
)

// deployment is what a test asks for; functions differ in few fields.
type deployment = types.FunctionDeployment

// function is one that a test deployed.
type function struct{ name, namespace string }

// unique makes a name that no other test, and no earlier run, has.
func unique(t *testing.T, prefix string) string {
	t.Helper()
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return prefix + "-" + hex.EncodeToString(b[:])
}

// scripted is a function that runs whatever shell script it is called with: each call says what it needs to see.
func scripted() deployment { return deployment{Image: imageShell, EnvProcess: "sh"} }

// parrot is a function that answers what it is called with.
func parrot() deployment { return deployment{Image: imageShell, EnvProcess: "cat"} }

// contract gives d a heap.
func contract(d deployment) deployment { return annotate(d, annotationHeap, "true") }

func annotate(d deployment, key, value string) deployment {
	d.Annotations = with(d.Annotations, key, value)
	return d
}

func label(d deployment, key, value string) deployment {
	d.Labels = with(d.Labels, key, value)
	return d
}

func with(m *map[string]string, key, value string) *map[string]string {
	grown := map[string]string{key: value}
	if m != nil {
		for k, v := range *m {
			if k != key {
				grown[k] = v
			}
		}
	}
	return &grown
}

// deploy posts d under a new name and takes it away again with the test.
func deploy(t *testing.T, d deployment) function {
	t.Helper()
	if d.Service == "" {
		d.Service = unique(t, "f")
	}
	f := function{d.Service, d.Namespace}
	t.Cleanup(func() { f.remove(t) })
	gateway.do(t, http.MethodPost, "/system/functions", encode(t, d)).is(t, "deploy "+f.String(), http.StatusAccepted)
	return f
}

// update puts d in the function's place.
func (f function) update(t *testing.T, d deployment) {
	t.Helper()
	d.Service, d.Namespace = f.name, f.namespace
	gateway.do(t, http.MethodPut, "/system/functions", encode(t, d)).is(t, "update "+f.String(), http.StatusAccepted)
}

// remove deletes the function whether it is there or not.
func (f function) remove(t *testing.T) {
	t.Helper()
	takeAway(t, "/system/functions", encode(t, types.DeleteFunctionRequest{FunctionName: f.name, Namespace: f.namespace}))
}

// removeSecret deletes the secret whether it is there or not.
func removeSecret(t *testing.T, name, namespace string) {
	t.Helper()
	takeAway(t, "/system/secrets", encode(t, types.Secret{Name: name, Namespace: namespace}))
}

// takeAway has a context of its own: in a cleanup the test's has ended.
func takeAway(t *testing.T, path, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	a, err := gateway.insist(ctx, request{method: http.MethodDelete, path: path, body: body})
	if err != nil || a.status != http.StatusAccepted && a.status != http.StatusNotFound {
		t.Errorf("delete %s: %v %d %q", body, err, a.status, a.body)
	}
}

func (f function) String() string {
	if f.namespace == "" {
		return f.name
	}
	return f.name + "." + f.namespace
}

// inNamespace is the namespace that the function is in, spelt out.
func (f function) inNamespace() string {
	if f.namespace == "" {
		return functionNamespace
	}
	return f.namespace
}

func (f function) path(rest string) string { return "/function/" + f.String() + rest }

// call posts body to the function, as its clients do: without credentials.
func (f function) call(t *testing.T, body string) answer {
	t.Helper()
	return gateway.ask(t, request{method: http.MethodPost, path: f.path(""), body: body, auth: nobody})
}

func (f function) get(t *testing.T, rest string) answer {
	t.Helper()
	return gateway.ask(t, request{method: http.MethodGet, path: f.path(rest), auth: nobody})
}

// status is what the API says of the function; ok is false when it says that there is none.
func (f function) status(t *testing.T) (s types.FunctionStatus, ok bool) {
	t.Helper()
	path := "/system/function/" + f.name + "?" + url.Values{"namespace": {f.namespace}}.Encode()
	a := gateway.do(t, http.MethodGet, path, "")
	if a.status == http.StatusNotFound {
		return s, false
	}
	a.is(t, "status of "+f.String(), http.StatusOK)
	return decode[types.FunctionStatus](t, a), true
}

// statusText is the provider's own line on why a function has fewer replicas than it should.
func (f function) statusText(t *testing.T) string {
	t.Helper()
	s, ok := f.status(t)
	if !ok || s.Annotations == nil {
		return ""
	}
	return (*s.Annotations)[annotationStatus]
}

// awaitReplicas waits until so many are wanted and so many may be given work.
func (f function) awaitReplicas(t *testing.T, want uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s has %d replicas", f, want), func() (bool, string) {
		s, ok := f.status(t)
		seen := fmt.Sprintf("found %t, %d wanted, %d available, %q", ok, s.Replicas, s.AvailableReplicas, f.statusText(t))
		return ok && s.Replicas == want && s.AvailableReplicas == want, seen
	})
}

func (f function) scale(t *testing.T, replicas uint64) {
	t.Helper()
	body := encode(t, types.ScaleServiceRequest{ServiceName: f.name, Replicas: replicas, Namespace: f.namespace})
	gateway.do(t, http.MethodPost, "/system/scale-function/"+f.name, body).is(t, "scale "+f.String(), http.StatusAccepted)
}

// heap reads the value of key in the contract's heap.
func (f function) heap(t *testing.T, key string) string {
	t.Helper()
	return gateway.do(t, http.MethodGet, f.heapPath(key), "").is(t, "heap key "+key+" of "+f.String(), http.StatusOK).body
}

func (f function) heapPath(key string) string {
	return "/heap/" + f.String() + "/" + (&url.URL{Path: key}).EscapedPath()
}

// heapKeys lists all keys of the contract's heap that begin with prefix, page by page.
func (f function) heapKeys(t *testing.T, prefix string) []string {
	t.Helper()
	var keys []string
	after := ""
	for {
		query := url.Values{"prefix": {prefix}, "after": {after}}
		a := gateway.do(t, http.MethodGet, "/heap/"+f.String()+"?"+query.Encode(), "").is(t, "heap of "+f.String(), http.StatusOK)
		var page struct {
			Keys []string `json:"keys"`
			Next string   `json:"next"`
		}
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			t.Fatalf("heap of %s: %q: %v", f, a.body, err)
		}
		keys = append(keys, page.Keys...)
		if after = page.Next; after == "" {
			return keys
		}
	}
}
