package handlers_test

import (
	"reflect"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestNamespaces_Read(t *testing.T) {
	w := newWorld()
	w.namespaces["dev"] = function.Namespace{Name: "dev", Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"openfaas": "1"}}
	for listener, h := range listeners(newAPI(t, w.config(t))) {
		t.Run(listener, func(t *testing.T) {
			wantJSON(t, call(h, "GET", "/system/namespaces", ""), `["dev","fns"]`)
			wantJSON(t, call(h, "GET", "/system/namespace/dev", ""), `{"name":"dev","annotations":{"openfaas":"1"},"labels":{"team":"a"}}`)
			for _, absent := range []string{"gone", "kube-system", "", "a.b", "DEV"} {
				wantLine(t, call(h, "GET", "/system/namespace/"+absent, ""), 404, "namespace")
			}
			wantLine(t, call(h, "GET", "/system/namespace/a%20b", ""), 404, "404 page not found")
			wantLine(t, call(h, "GET", "/system/namespace", ""), 404, "404 page not found")
		})
	}
}

func TestNamespaces_DefaultIsAlwaysListed(t *testing.T) {
	w := newWorld()
	clear(w.namespaces)
	wantJSON(t, call(newAPI(t, w.config(t)).Gateway(), "GET", "/system/namespaces", ""), `["fns"]`)
}

func TestNamespaces_Change(t *testing.T) {
	mark := map[string]string{"openfaas": "1"}
	for _, c := range []struct {
		name, method, target, body string
		status                     int
		tells                      string
		// want is the namespace of that name afterwards; nil wants none.
		subject string
		want    *function.Namespace
	}{
		{"create", "POST", "", `{"name":"new"}`, 201, "", "new", &function.Namespace{Name: "new", Labels: mark, Annotations: mark}},
		{"create as faas-cli", "POST", "", `{"name":"new","labels":{"openfaas":"1","team":"a"},"annotations":{"openfaas":"1"}}`, 201, "",
			"new", &function.Namespace{Name: "new", Labels: map[string]string{"openfaas": "1", "team": "a"}, Annotations: mark}},
		{"create by path", "POST", "new", `{}`, 201, "", "new", &function.Namespace{Name: "new", Labels: mark, Annotations: mark}},
		{"create of an existing one", "POST", "", `{"name":"dev"}`, 409, "already", "new", nil},
		{"create of one that is not OpenFaaS's", "POST", "", `{"name":"taken"}`, 409, "already", "taken", nil},
		{"create kube-system", "POST", "", `{"name":"kube-system"}`, 400, "kube-system", "kube-system", nil},
		{"create without a name", "POST", "", `{}`, 400, "namespace", "", nil},
		{"create with a bad name", "POST", "", `{"name":"New"}`, 400, `"New"`, "New", nil},
		{"create with a bad label", "POST", "", `{"name":"new","labels":{"a b":"1"}}`, 400, `"a b"`, "new", nil},
		{"create with labels of numbers", "POST", "", `{"name":"new","labels":{"a":1}}`, 400, `"labels"`, "new", nil},
		{"create without a body", "POST", "", ``, 400, "empty", "", nil},
		{"update replaces the labels", "PUT", "dev", `{"name":"dev","labels":{"team":"b","openfaas":"no"}}`, 202, "",
			"dev", &function.Namespace{Name: "dev", Labels: map[string]string{"openfaas": "1", "team": "b"}, Annotations: mark}},
		{"update of an absent one", "PUT", "new", `{"name":"new"}`, 404, "new", "new", nil},
		{"update with two names", "PUT", "dev", `{"name":"fns"}`, 400, "name one", "new", nil},
		{"delete as faas-cli", "DELETE", "dev", `{"name":"dev","labels":{"openfaas":"1"}}`, 202, "", "dev", nil},
		{"delete of an absent one", "DELETE", "new", `{"name":"new"}`, 404, "new", "new", nil},
		{"delete the default one", "DELETE", "fns", `{"name":"fns"}`, 400, "default", "new", nil},
		{"delete kube-system", "DELETE", "kube-system", `{"name":"kube-system"}`, 400, "kube-system", "new", nil},
		{"delete with two names", "DELETE", "dev", `{"name":"new"}`, 400, "name one", "new", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, listener := range []string{"gateway", "provider"} {
				w := newWorld()
				h := listeners(newAPI(t, w.config(t)))[listener]
				got := call(h, c.method, "/system/namespace/"+c.target, c.body)
				if c.tells == "" {
					wantEmpty(t, got, c.status)
				} else {
					wantLine(t, got, c.status, c.tells)
				}
				ns, there := w.namespaces[c.subject]
				if there != (c.want != nil) || there && !reflect.DeepEqual(ns, *c.want) {
					t.Errorf("namespace %+v, %v; want %+v", ns, there, c.want)
				}
				if c.status >= 400 && len(w.namespaces) != 2 {
					t.Errorf("a refused request changed something: %v", w.namespaces)
				}
			}
		})
	}
}
