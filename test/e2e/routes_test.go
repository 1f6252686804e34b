package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// managed are the routes behind basic auth, on both listeners.
var managed = []struct{ method, path string }{
	{"GET", "/system/functions"},
	{"POST", "/system/functions"},
	{"PUT", "/system/functions"},
	{"DELETE", "/system/functions"},
	{"GET", "/system/function/any"},
	{"POST", "/system/scale-function/any"},
	{"GET", "/system/info"},
	{"GET", "/system/secrets"},
	{"POST", "/system/secrets"},
	{"PUT", "/system/secrets"},
	{"DELETE", "/system/secrets"},
	{"GET", "/system/logs?name=any"},
	{"GET", "/system/namespaces"},
	{"GET", "/system/namespace/any"},
	{"POST", "/system/namespace/"},
	{"PUT", "/system/namespace/any"},
	{"DELETE", "/system/namespace/any"},
}

func TestRoutes_AskForCredentials(t *testing.T) {
	t.Parallel()
	heap := []struct{ method, path string }{{"GET", "/heap/any"}, {"GET", "/heap/any/key"}}
	for _, on := range []struct {
		name     string
		listener listener
		routes   []struct{ method, path string }
	}{{"gateway", gateway, append(heap, managed...)}, {"provider", provider, managed}} {
		for _, route := range on.routes {
			for who, credentials := range map[string]auth{"nobody": nobody, "wrong password": impostor, "empty bearer token": emptyJWT} {
				t.Run(on.name+" "+route.method+" "+route.path+" by "+who, func(t *testing.T) {
					a := on.listener.ask(t, request{method: route.method, path: route.path, auth: credentials})
					a.is(t, "answer", http.StatusUnauthorized)
					if got := a.header.Get("WWW-Authenticate"); got != `Basic realm="Restricted"` {
						t.Errorf("WWW-Authenticate: %s", got)
					}
					if a.body != "invalid credentials" {
						t.Errorf("body %q", a.body)
					}
				})
			}
		}
	}
}

func TestRoutes_OpenToAll(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]listener{"gateway": gateway, "provider": provider} {
		t.Run(name, func(t *testing.T) {
			l.ask(t, request{method: "GET", path: "/healthz", auth: nobody}).is(t, "health", http.StatusOK)
			l.ask(t, request{method: "GET", path: "/function/" + unique(t, "absent"), auth: nobody}).is(t, "unknown function", http.StatusNotFound)
		})
	}
}

func TestRoutes_MethodsAndPaths(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, path string
		on                 listener
		status             int
		body               string
	}{
		{"wrong method", "PATCH", "/system/functions", gateway, 405, ""},
		{"wrong method", "PATCH", "/system/functions", provider, 405, ""},
		{"HEAD is not GET", "HEAD", "/system/functions", gateway, 405, ""},
		{"POST of what can only be read", "POST", "/system/info", gateway, 405, ""},
		{"unknown path", "GET", "/system/nothing", gateway, 404, "404 page not found\n"},
		{"unknown path", "GET", "/system/nothing", provider, 404, "404 page not found\n"},
		{"name of a form that no function has", "GET", "/system/function/a%20b", gateway, 404, "404 page not found\n"},
		{"function without a name", "POST", "/function/", gateway, 404, "404 page not found\n"},
		{"HEAD of the provider's health", "HEAD", "/healthz", provider, 200, ""},
		{"empty list", "GET", "/system/functions?namespace=" + functionNamespace, gateway, 200, "*"},
		{"status of an unknown function", "GET", "/system/function/absent-for-sure", gateway, 404, ""},
		{"status of an unknown function", "GET", "/system/function/absent-for-sure", provider, 404, ""},
		{"namespace that is not OpenFaaS's", "GET", "/system/namespace/kube-system", gateway, 404, "*"},
	}
	for _, tt := range tests {
		t.Run(tt.name+" "+tt.path, func(t *testing.T) {
			a := tt.on.do(t, tt.method, tt.path, "").is(t, tt.method, tt.status)
			if tt.body != "*" && a.body != tt.body {
				t.Errorf("body %q, want %q", a.body, tt.body)
			}
			if tt.status == 405 && a.header.Get("Allow") != "" {
				t.Errorf("Allow: %s", a.header.Get("Allow"))
			}
		})
	}
}

func TestRoutes_InfoHasAFormForEachListener(t *testing.T) {
	t.Parallel()
	var clients struct {
		Provider struct {
			Provider, Orchestration string
			Version                 struct{ SHA, Release string }
		}
		Version struct{ SHA, Release string }
		Arch    string
	}
	info(t, gateway, &clients)
	if clients.Provider.Provider == "" || clients.Provider.Orchestration != "kubernetes" || clients.Version.Release == "" ||
		clients.Provider.Version.Release == "" || clients.Arch == "" {
		t.Errorf("the gateway's form has empty fields: %+v", clients)
	}
	var stockGateway struct {
		Provider, Orchestration string
		Version                 struct{ SHA, Release string }
	}
	info(t, provider, &stockGateway)
	if stockGateway.Provider != clients.Provider.Provider || stockGateway.Orchestration != "kubernetes" || stockGateway.Version.Release == "" {
		t.Errorf("the provider's form: %+v", stockGateway)
	}
}

func info(t *testing.T, l listener, into any) {
	t.Helper()
	a := l.do(t, "GET", "/system/info", "").is(t, "info", http.StatusOK)
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		t.Fatalf("info %q: %v", a.body, err)
	}
	if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		t.Errorf("content type of info: %q", got)
	}
}

// TestRoutes_BothListenersManage deploys through one listener and sees it through the other: they show one truth at once.
func TestRoutes_BothListenersManage(t *testing.T) {
	t.Parallel()
	d := parrot()
	d.Service = unique(t, "two")
	f := function{name: d.Service}
	t.Cleanup(func() { f.remove(t) })
	provider.do(t, "POST", "/system/functions", encode(t, d)).is(t, "deploy", http.StatusAccepted)
	if _, ok := f.status(t); !ok {
		t.Error("deployed on 8081 and answered, unknown on 8080")
	}
	a := provider.ask(t, request{method: "POST", path: f.path(""), body: "moo", auth: nobody}).is(t, "call on 8081", http.StatusOK)
	if a.body != "moo" {
		t.Errorf("answer %q", a.body)
	}
	// The stock gateway's scaler gives the namespace in the query and none in the body, and reads the status for every call.
	provider.do(t, "POST", "/system/scale-function/"+f.name+"?namespace="+functionNamespace, `{"serviceName":"`+f.name+`","replicas":2}`).
		is(t, "scale", http.StatusAccepted)
	f.awaitReplicas(t, 2)
	provider.do(t, "DELETE", "/system/functions?namespace="+functionNamespace, `{"functionName":"`+f.name+`"}`).is(t, "delete", http.StatusAccepted)
	if _, ok := f.status(t); ok {
		t.Error("deleted on 8081 and answered, still known on 8080")
	}
}
