package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var functionKind = schema.GroupVersionResource{Group: "openfaas.com", Version: "v1", Resource: "functions"}

// TestRefusal_ChangesNothing sends what must be refused. A name in a body stands for one that is free, "there" for a function
// that exists and must stay as it is.
func TestRefusal_ChangesNothing(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	d := parrot()
	d.Service, d.Namespace = "there", namespace
	f := deploy(t, d)
	f.awaitReplicas(t, 1)
	before := versions(t, namespace)

	deployment := func(rest string) string {
		return fmt.Sprintf(`{"service":"new","image":"i","namespace":%q%s}`, namespace, rest)
	}
	image := func(image string) string {
		return fmt.Sprintf(`{"service":"new","image":%q,"namespace":%q}`, image, namespace)
	}
	const functions = "/system/functions"
	tests := []struct {
		name, method, path, body string
		status                   int
	}{
		{"not JSON", "POST", functions, `{"service":`, 400},
		{"no body", "POST", functions, ``, 400},
		{"JSON of another type", "POST", functions, `["service"]`, 400},
		{"field of another type", "POST", functions, `{"service":5,"image":"i"}`, 400},
		{"label of another type", "POST", functions, deployment(`,"labels":{"a":1}`), 400},
		{"limits of another type", "POST", functions, deployment(`,"limits":"all"`), 400},
		{"no name", "POST", functions, `{"image":"i"}`, 400},
		{"no image", "POST", functions, `{"service":"new"}`, 400},
		{"name with a capital", "POST", functions, `{"service":"New","image":"i"}`, 400},
		{"name with a dot", "POST", functions, `{"service":"a.b","image":"i"}`, 400},
		{"name too long", "POST", functions, `{"service":"` + strings.Repeat("a", 64) + `","image":"i"}`, 400},
		{"name that begins with a digit", "POST", functions, `{"service":"1a","image":"i"}`, 400},
		{"image that cannot be parsed", "POST", functions, image("UPPER//:::"), 400},
		{"image with an empty part", "POST", functions, image("a//b"), 400},
		{"image with an underscore in front", "POST", functions, image("foo/_bar"), 400},
		{"image with a dash at the end", "POST", functions, image("foo-"), 400},
		{"image that begins with a slash", "POST", functions, image("/alpine"), 400},
		{"image with a bad tag", "POST", functions, image("alpine:-x"), 400},
		{"image at a port that is none", "POST", functions, image("host:80000/x"), 400},
		{"reserved label", "POST", functions, deployment(`,"labels":{"faas_function":"other"}`), 400},
		{"label that Kubernetes refuses", "POST", functions, deployment(`,"labels":{"a":"two words"}`), 400},
		{"bad scale label", "POST", functions, deployment(`,"labels":{"com.openfaas.scale.min":"-1"}`), 400},
		{"minimum above maximum", "POST", functions, deployment(`,"labels":{"com.openfaas.scale.min":"3","com.openfaas.scale.max":"2"}`), 400},
		{"bad quantity", "POST", functions, deployment(`,"limits":{"memory":"lots"}`), 400},
		{"request above its limit", "POST", functions, deployment(`,"limits":{"memory":"1Mi"},"requests":{"memory":"2Mi"}`), 400},
		{"half a GPU", "POST", functions, deployment(`,"limits":{"nvidia.com/gpu":"500m"}`), 400},
		{"GPU without a limit", "POST", functions, deployment(`,"requests":{"nvidia.com/gpu":"1"}`), 400},
		{"missing secret", "POST", functions, deployment(`,"secrets":["absent"]`), 400},
		{"bad secret name", "POST", functions, deployment(`,"secrets":["../etc"]`), 400},
		{"bad environment name", "POST", functions, deployment(`,"envVars":{"a=b":"c"}`), 400},
		{"unknown mode", "POST", functions, deployment(`,"annotations":{"com.dragonchain.mode":"magic"}`), 400},
		{"bad constraint", "POST", functions, deployment(`,"constraints":["a==b"]`), 400},
		{"namespace that is not OpenFaaS's", "POST", functions, `{"service":"new","image":"i","namespace":"default"}`, 400},
		{"kube-system", "POST", functions, `{"service":"new","image":"i","namespace":"kube-system"}`, 400},
		{"two different namespaces", "POST", functions + "?namespace=" + functionNamespace, deployment(""), 400},
		{"name that is taken", "POST", functions, `{"service":"there","image":"i","namespace":"` + namespace + `"}`, 409},
		{"body too large", "POST", functions, deployment(`,"envVars":{"A":"` + strings.Repeat("x", 8<<20) + `"}`), 413},
		{"update to a bad quantity", "PUT", functions, `{"service":"there","image":"i","namespace":"` + namespace + `","limits":{"cpu":"fast"}}`, 400},
		{"update to a missing secret", "PUT", functions, `{"service":"there","image":"i","namespace":"` + namespace + `","secrets":["absent"]}`, 400},
		{"update of an unknown function", "PUT", functions, deployment(""), 404},
		{"delete without a name", "DELETE", functions, `{}`, 400},
		{"delete of nothing", "DELETE", functions, ``, 400},
		{"list of a namespace that is not OpenFaaS's", "GET", functions + "?namespace=kube-system", ``, 400},
		{"scale to a negative number", "POST", "/system/scale-function/there?namespace=" + namespace, `{"replicas":-1}`, 400},
		{"scale to words", "POST", "/system/scale-function/there?namespace=" + namespace, `{"replicas":"two"}`, 400},
		{"scale without a body", "POST", "/system/scale-function/there?namespace=" + namespace, ``, 400},
		{"scale of an unknown function", "POST", "/system/scale-function/absent?namespace=" + namespace, `{"replicas":1}`, 404},
		{"secret that is not JSON", "POST", "/system/secrets", `{`, 400},
		{"secret without a name", "POST", "/system/secrets", `{"value":"v","namespace":"` + namespace + `"}`, 400},
		{"secret of a bad name", "POST", "/system/secrets", `{"name":"No Good","value":"v","namespace":"` + namespace + `"}`, 400},
		{"secret in kube-system", "POST", "/system/secrets", `{"name":"s","value":"v","namespace":"kube-system"}`, 400},
		{"log with a bad tail", "GET", "/system/logs?name=there&tail=many&namespace=" + namespace, ``, 422},
		{"log since no time", "GET", "/system/logs?name=there&since=yesterday&namespace=" + namespace, ``, 422},
		{"log of an unknown function", "GET", "/system/logs?name=absent&namespace=" + namespace, ``, 404},
		{"namespace of a bad name", "POST", "/system/namespace/", `{"name":"No Good","labels":{"openfaas":"1"}}`, 400},
		{"deleting the default namespace", "DELETE", "/system/namespace/" + functionNamespace, `{"name":"` + functionNamespace + `","labels":{"openfaas":"1"}}`, 400},
		{"heap of a function that is no contract", "GET", "/heap/there." + namespace + "/key", ``, 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			gateway.do(t, tt.method, tt.path, tt.body).refused(t, tt.method+" "+tt.path, tt.status)
		})
	}
	if after := versions(t, namespace); !maps.Equal(before, after) {
		t.Errorf("objects changed:\nbefore %v\nafter  %v", before, after)
	}
	f.call(t, "still here").is(t, "call", http.StatusOK)
}

// TestRefusal_WithoutABody has the refusals that OpenFaaS answers with a status alone.
func TestRefusal_WithoutABody(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, path, body string
		status                   int
	}{
		{"update of an absent secret", "PUT", "/system/secrets", `{"name":"absent-for-sure","value":"v"}`, 404},
		{"delete of an absent secret", "DELETE", "/system/secrets", `{"name":"absent-for-sure"}`, 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if a := gateway.do(t, tt.method, tt.path, tt.body).is(t, tt.method, tt.status); a.body != "" {
				t.Errorf("body %q, want none", a.body)
			}
		})
	}
	gateway.do(t, "DELETE", "/system/functions", `{"functionName":"absent-for-sure"}`).is(t, "delete of an absent function", 404)
	gateway.do(t, "PUT", "/system/namespace/absent-for-sure", `{"name":"absent-for-sure","labels":{"openfaas":"1"}}`).is(t, "update of an absent namespace", 404)
	gateway.do(t, "DELETE", "/system/namespace/absent-for-sure", `{"name":"absent-for-sure","labels":{"openfaas":"1"}}`).is(t, "delete of an absent namespace", 404)
}

// versions are the generations of all functions in the namespace and the names of its secrets: what a refused call could
// have changed.
func versions(t *testing.T, namespace string) map[string]int64 {
	t.Helper()
	ctx := within(t, 10*time.Second)
	records, err := cluster.objects.Resource(functionKind).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int64{}
	for _, r := range records.Items {
		found["function "+r.GetName()] = r.GetGeneration()
	}
	secrets, err := cluster.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets.Items {
		found["secret "+s.Name] = 0
	}
	return found
}
