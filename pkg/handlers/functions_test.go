package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const (
	smallest = `{"service":"cow","image":"i"}`
	full     = `{"service":"cow","image":"i:1","namespace":"dev","envProcess":"cat","envVars":{"A":"<b>"},"constraints":["k=v"],` +
		`"secrets":["s"],"labels":{"l":"1"},"annotations":{},"limits":{"memory":"128Mi","cpu":"0.5","nvidia.com/gpu":"1"},` +
		`"requests":{},"readOnlyRootFilesystem":true}`
)

func cow(namespace string) function.Spec {
	return function.Spec{Ref: function.Ref{Name: "cow", Namespace: namespace}, Image: "i"}
}

func TestFunctions_ListGivesBackWhatWasSent(t *testing.T) {
	for name, c := range map[string]struct{ sent, want string }{
		"smallest": {
			smallest,
			`[{"name":"cow","image":"i","namespace":"fns","replicas":1,"availableReplicas":2,"createdAt":"2026-05-04T03:02:01Z"}]`,
		},
		"empty maps stay": {
			`{"service":"cow","image":"i","labels":{},"annotations":{}}`,
			`[{"name":"cow","image":"i","namespace":"fns","labels":{},"annotations":{},"replicas":1,"availableReplicas":2,"createdAt":"2026-05-04T03:02:01Z"}]`,
		},
		"annotations as they were written": {
			`{"service":"cow","image":"i","annotations":{"com.dragonchain.mode":"http","com.dragonchain.park":"90","com.dragonchain.prefork":"0"}}`,
			`[{"name":"cow","image":"i","namespace":"fns","annotations":{"com.dragonchain.mode":"http","com.dragonchain.park":"90","com.dragonchain.prefork":"0"},` +
				`"replicas":1,"availableReplicas":2,"createdAt":"2026-05-04T03:02:01Z"}]`,
		},
		"a read status is not kept": {
			`{"service":"cow","image":"i","annotations":{"a":"1","com.dragonchain.status":"no image"}}`,
			`[{"name":"cow","image":"i","namespace":"fns","annotations":{"a":"1"},"replicas":1,"availableReplicas":2,"createdAt":"2026-05-04T03:02:01Z"}]`,
		},
		"everything": {
			strings.Replace(full, `"dev"`, `"fns"`, 1),
			`[{"name":"cow","image":"i:1","namespace":"fns","envProcess":"cat","envVars":{"A":"\u003cb\u003e"},"constraints":["k=v"],` +
				`"secrets":["s"],"labels":{"l":"1"},"annotations":{},"limits":{"memory":"128Mi","cpu":"0.5","nvidia.com/gpu":"1"},` +
				`"requests":{},"readOnlyRootFilesystem":true,"replicas":1,"availableReplicas":2,"createdAt":"2026-05-04T03:02:01Z"}]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.secrets["fns"]["s"] = "1"
			for listener, h := range listeners(newAPI(t, w.config(t))) {
				clear(w.functions)
				wantEmpty(t, call(h, "POST", "/system/functions", c.sent), http.StatusAccepted)
				w.statuses[cow("fns").Ref] = function.Status{Available: 2, Reason: "kept out of lists"}
				t.Run(listener, func(t *testing.T) { wantJSON(t, call(h, "GET", "/system/functions", ""), c.want) })
			}
		})
	}
}

func TestFunctions_List(t *testing.T) {
	w := newWorld()
	for _, ref := range []function.Ref{{Name: "z", Namespace: "dev"}, {Name: "a", Namespace: "dev"}, {Name: "b", Namespace: "fns"}} {
		w.put(t, function.Spec{Ref: ref, Image: "i"}, function.Status{})
	}
	atZero := *w.functions[function.Ref{Name: "a", Namespace: "dev"}]
	atZero.Replicas = 0
	w.functions[atZero.Ref] = &atZero
	w.namespaces["empty"] = function.Namespace{Name: "empty"}
	h := newAPI(t, w.config(t)).Gateway()
	const at = `"createdAt":"2026-05-04T03:02:01Z"`
	for target, want := range map[string]string{
		"/system/functions?namespace=dev":   `[{"name":"a","image":"i","namespace":"dev",` + at + `},{"name":"z","image":"i","namespace":"dev","replicas":1,` + at + `}]`,
		"/system/functions":                 `[{"name":"b","image":"i","namespace":"fns","replicas":1,` + at + `}]`,
		"/system/functions?namespace=empty": `[]`,
	} {
		wantJSON(t, call(h, "GET", target, ""), want)
	}
}

// metered is a Usage that knows one function, and counts how often it is asked.
type metered struct {
	known map[function.Ref]function.Usage
	asked int
}

func (m *metered) Usage(_ context.Context, f *function.Function) (function.Usage, bool) {
	m.asked++
	u, known := m.known[f.Ref]
	return u, known
}

func TestFunctions_Usage(t *testing.T) {
	w := newWorld()
	cpu, memory, idle := 12.5, int64(64<<20), 0.0
	uses := &metered{known: map[function.Ref]function.Usage{
		{Name: "cow", Namespace: "fns"}:   {Replicas: 2, MilliCPU: &cpu, MemoryBytes: &memory},
		{Name: "idle", Namespace: "fns"}:  {Replicas: 1, MilliCPU: &idle, MemoryBytes: &memory},
		{Name: "no-v1", Namespace: "fns"}: {Replicas: 1},
	}}
	for _, name := range []string{"cow", "idle", "no-v1", "plain"} {
		w.put(t, function.Spec{Ref: function.Ref{Name: name, Namespace: "fns"}, Image: "i"}, function.Status{})
	}
	cfg := w.config(t)
	without := newAPI(t, cfg).Gateway()
	cfg.Usage = uses
	for listener, h := range listeners(newAPI(t, cfg)) {
		t.Run(listener, func(t *testing.T) {
			uses.asked = 0
			for target, want := range map[string]string{
				"cow?usage=1":             `,"usage":{"cpu":12.5,"totalMemoryBytes":67108864}}`,
				"cow?usage=true":          `,"usage":{"cpu":12.5,"totalMemoryBytes":67108864}}`,
				"cow?usage=false&usage=1": `,"usage":{"cpu":12.5,"totalMemoryBytes":67108864}}`,
				"idle?usage=1":            `,"usage":{"totalMemoryBytes":67108864}}`,
				"no-v1?usage=1":           `,"usage":{}}`,
				"plain?usage=1":           `Z"}`,
			} {
				a := call(h, "GET", "/system/function/"+target, "")
				if a.Code != http.StatusOK || !strings.HasSuffix(a.Body.String(), want) {
					t.Errorf("%s: %d %s, want ...%s", target, a.Code, a.Body, want)
				}
			}
			if uses.asked != 6 {
				t.Errorf("asked %d times", uses.asked)
			}
			// What is read often asks nobody.
			for _, target := range []string{"cow", "cow?usage=false", "cow?usage=0", "cow?usage=", "cow?usage=yes", "cow?usage=1&usage=false"} {
				a := call(h, "GET", "/system/function/"+target, "")
				if a.Code != http.StatusOK || strings.Contains(a.Body.String(), `"usage"`) {
					t.Errorf("%s: %d %s", target, a.Code, a.Body)
				}
			}
			call(h, "GET", "/system/functions?usage=1", "")
			if uses.asked != 6 {
				t.Errorf("asked %d times more", uses.asked-6)
			}
		})
	}
	if a := call(without, "GET", "/system/function/cow?usage=1", ""); a.Code != http.StatusOK || strings.Contains(a.Body.String(), `"usage"`) {
		t.Errorf("without a source: %d %s", a.Code, a.Body)
	}
}

func TestFunctions_Deploy(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000)
	for _, c := range []struct {
		name, method, body string
		status             int
		tells              string
	}{
		{"created", "POST", `{"service":"new","image":"i"}`, 202, ""},
		{"updated", "PUT", `{"service":"cow","image":"i:2"}`, 202, ""},
		{"unknown members are ignored", "POST", `{"service":"new","image":"i","network":"func_functions","registryAuth":{"a":[1]}}`, 202, ""},
		{"blanks around", "POST", " \r\n\t{\"service\":\"new\",\"image\":\"i\"}\n", 202, ""},
		{"empty namespace", "POST", `{"service":"new","image":"i","namespace":""}`, 202, ""},
		{"null members", "POST", `{"service":"new","image":"i","labels":null,"limits":null,"envVars":null}`, 202, ""},
		{"empty quantities", "POST", `{"service":"new","image":"i","limits":{"cpu":"","memory":""}}`, 202, ""},
		{"exists", "POST", smallest, 409, "is there already"},
		{"absent", "PUT", `{"service":"new","image":"i"}`, 404, "is not there"},

		{"empty body", "POST", "", 400, "body is empty"},
		{"blank body", "POST", " \n", 400, "body is empty"},
		{"null", "POST", "null", 400, "not a JSON object"},
		{"array", "POST", "[]", 400, "not a JSON object"},
		{"text", "POST", "service: cow", 400, "not a JSON object"},
		{"broken off", "POST", `{"service":"new"`, 400, "unexpected end of JSON input"},
		{"trailing garbage", "POST", `{"service":"new","image":"i"} x`, 400, "after top-level value"},
		{"two objects", "POST", `{"service":"new","image":"i"}{}`, 400, "after top-level value"},
		{"not UTF-8", "POST", "{\"service\":\"new\",\"image\":\"i\",\"envVars\":{\"A\":\"\xff\"}}", 400, "UTF-8"},
		{"deeply nested", "POST", deep, 400, "max depth"},
		{"name is a number", "POST", `{"service":1,"image":"i"}`, 400, `"service": a string belongs here, not a number`},
		{"image is an object", "POST", `{"service":"new","image":{}}`, 400, `"image": a string belongs here, not an object`},
		{"labels are an array", "POST", `{"service":"new","image":"i","labels":[]}`, 400, `"labels": an object belongs here, not an array`},
		{"a label is a boolean", "POST", `{"service":"new","image":"i","labels":{"a":true}}`, 400, `"labels": a string belongs here, not true or false`},
		{"secrets are a string", "POST", `{"service":"new","image":"i","secrets":"s"}`, 400, `"secrets": an array belongs here, not a string`},
		{"memory is a number", "POST", `{"service":"new","image":"i","limits":{"memory":5}}`, 400, `"limits.memory"`},
		{"read-only is a string", "POST", `{"service":"new","image":"i","readOnlyRootFilesystem":"yes"}`, 400, `"readOnlyRootFilesystem": true or false belongs here, not a string`},

		{"no name", "POST", `{"image":"i"}`, 400, "needs a name"},
		{"no image", "POST", `{"service":"new"}`, 400, "image"},
		{"bad name", "POST", `{"service":"New_1","image":"i"}`, 400, `"New_1"`},
		{"line feed in the name", "POST", `{"service":"a\nb","image":"i"}`, 400, `"a\nb"`},
		{"reserved label", "POST", `{"service":"new","image":"i","labels":{"faas_function":"cow"}}`, 400, "reserved"},
		{"bad quantity", "PUT", `{"service":"cow","image":"i","requests":{"cpu":"much"}}`, 400, "requests.cpu"},
		{"missing secret", "POST", `{"service":"new","image":"i","secrets":["gone"]}`, 400, `"gone"`},
		{"bad policy", "PUT", `{"service":"cow","image":"i","labels":{"com.openfaas.scale.min":"x"}}`, 400, "scale.min"},
		{"too large", "POST", `{"service":"new","image":"` + strings.Repeat("i", 1<<20) + `"}`, 413, "1048576"},
		{"endless name", "POST", `{"service":"` + strings.Repeat("n", 1<<19) + `"}`, 400, "characters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			api := newAPI(t, w.config(t))
			for _, h := range listeners(api) {
				clear(w.functions)
				before := w.put(t, cow("fns"), function.Status{})
				got := call(h, c.method, "/system/functions", c.body)
				if c.status == 202 {
					wantEmpty(t, got, 202)
					continue
				}
				wantLine(t, got, c.status, c.tells)
				if len(w.functions) != 1 || w.functions[before.Ref] != before {
					t.Errorf("a refused request changed something: %v", w.functions)
				}
			}
		})
	}
}

func TestFunctions_UpdateReplacesAll(t *testing.T) {
	w := newWorld()
	w.secrets["dev"]["s"] = "1"
	h := newAPI(t, w.config(t)).Gateway()
	wantEmpty(t, call(h, "POST", "/system/functions", full), 202)
	wantEmpty(t, call(h, "PUT", "/system/functions", `{"service":"cow","image":"i:2","namespace":"dev"}`), 202)
	want := function.Spec{Ref: function.Ref{Name: "cow", Namespace: "dev"}, Image: "i:2"}
	if got := w.functions[want.Ref].Spec; !reflect.DeepEqual(got, want) {
		t.Errorf("spec %+v, want %+v", got, want)
	}
}

func TestFunctions_Delete(t *testing.T) {
	for _, c := range []struct {
		name, target, body string
		status             int
		tells              string
	}{
		{"default namespace", "/system/functions", `{"functionName":"cow"}`, 202, ""},
		{"as faas-cli", "/system/functions", `{"functionName":"cow","namespace":"fns"}`, 202, ""},
		{"as the stock UI", "/system/functions?namespace=fns", `{"functionName":"cow"}`, 202, ""},
		{"no body", "/system/functions", ``, 400, "body is empty"},
		{"bad JSON", "/system/functions", `{"functionName":`, 400, "not JSON"},
		{"no name", "/system/functions", `{}`, 400, "needs a name"},
		{"kube-system", "/system/functions", `{"functionName":"cow","namespace":"kube-system"}`, 400, "kube-system"},
		{"wrong type", "/system/functions", `{"functionName":["cow"]}`, 400, `"functionName"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			for _, h := range listeners(newAPI(t, w.config(t))) {
				clear(w.functions)
				w.put(t, cow("fns"), function.Status{})
				w.put(t, cow("dev"), function.Status{})
				got := call(h, "DELETE", c.target, c.body)
				if c.status != 202 {
					wantLine(t, got, c.status, c.tells)
					if len(w.functions) != 2 {
						t.Error("a refused request deleted something")
					}
					continue
				}
				wantEmpty(t, got, 202)
				if _, there := w.functions[cow("fns").Ref]; there || len(w.functions) != 1 {
					t.Errorf("left: %v", w.functions)
				}
			}
		})
	}
	t.Run("absent is told without a newline", func(t *testing.T) {
		got := call(newAPI(t, newWorld().config(t)).Gateway(), "DELETE", "/system/functions", `{"functionName":"gone"}`)
		if body := got.Body.String(); got.Code != 404 || body == "" || strings.Contains(body, "\n") {
			t.Errorf("status %d, body %q", got.Code, body)
		}
	})
}

func TestFunctions_DeleteThenDeploy(t *testing.T) {
	w := newWorld()
	first := w.put(t, cow("fns"), function.Status{}).ID
	h := newAPI(t, w.config(t)).Gateway()
	wantEmpty(t, call(h, "DELETE", "/system/functions", `{"functionName":"cow"}`), 202)
	wantEmpty(t, call(h, "POST", "/system/functions", smallest), 202)
	if w.functions[cow("fns").Ref].ID == first {
		t.Error("the same record")
	}
}

func TestFunctions_Status(t *testing.T) {
	w := newWorld()
	spec := cow("fns")
	spec.Annotations = map[string]string{"topic": "moo"}
	w.put(t, spec, function.Status{Available: 1})
	w.put(t, cow("dev"), function.Status{Reason: `image "i" cannot be pulled`})
	const at = `"createdAt":"2026-05-04T03:02:01Z"`
	fine := `{"name":"cow","image":"i","namespace":"fns","annotations":{"topic":"moo"},"replicas":1,"availableReplicas":1,` + at + `}`
	for listener, h := range listeners(newAPI(t, w.config(t))) {
		t.Run(listener, func(t *testing.T) {
			wantJSON(t, call(h, "GET", "/system/function/cow", ""), fine)
			wantJSON(t, call(h, "GET", "/system/function/cow?namespace=&usage=1", ""), fine)
			wantJSON(t, call(h, "GET", "/system/function/cow?namespace=dev&usage=false", ""),
				`{"name":"cow","image":"i","namespace":"dev","annotations":{"com.dragonchain.status":"image \"i\" cannot be pulled"},"replicas":1,`+at+`}`)
			for _, absent := range []string{"gone", "cow.dev", "cow.fns", "Cow_", "..."} {
				wantEmpty(t, call(h, "GET", "/system/function/"+absent, ""), 404)
			}
			wantLine(t, call(h, "GET", "/system/function/cow?namespace=other", ""), 400, `"other"`)
			wantLine(t, call(h, "GET", "/system/function/cow%20", ""), 404, "404 page not found")
			wantLine(t, call(h, "GET", "/system/function/", ""), 404, "404 page not found")
			wantLine(t, call(h, "GET", "/system/function/cow/x", ""), 404, "404 page not found")
		})
	}
	if len(spec.Annotations) != 1 {
		t.Error("the status was written into the function")
	}
}

func TestFunctions_Scale(t *testing.T) {
	for _, c := range []struct {
		name, target, body string
		status, replicas   int
		tells              string
	}{
		{"up", "cow", `{"serviceName":"cow","replicas":3}`, 202, 3, ""},
		{"to zero", "cow", `{"serviceName":"cow","replicas":0}`, 202, 0, ""},
		{"the path names it", "cow", `{"replicas":2}`, 202, 2, ""},
		{"brought up to the minimum", "cow", `{"replicas":1}`, 202, 2, ""},
		{"brought down to the maximum", "cow", `{"replicas":99}`, 202, 4, ""},
		{"no int holds it", "cow", `{"replicas":18446744073709551615}`, 202, 4, ""},
		{"namespace in the query, as the stock gateway", "cow?namespace=fns", `{"replicas":3}`, 202, 3, ""},
		{"namespace in the body, as the SDK", "cow", `{"replicas":3,"namespace":"fns"}`, 202, 3, ""},
		{"negative", "cow", `{"replicas":-1}`, 400, 2, `"replicas": a whole number from 0 up belongs here, not a number -1`},
		{"fraction", "cow", `{"replicas":1.5}`, 400, 2, `"replicas"`},
		{"more than 64 bits", "cow", `{"replicas":18446744073709551616}`, 400, 2, `"replicas"`},
		{"text", "cow", `{"replicas":"3"}`, 400, 2, `"replicas"`},
		{"no body", "cow", ``, 400, 2, "body is empty"},
		{"no number", "cow", `{"serviceName":"cow"}`, 400, 2, `"replicas" is missing`},
		{"nothing at all", "cow", `{}`, 400, 2, `"replicas" is missing`},
		{"null", "cow", `{"replicas":null}`, 400, 2, `"replicas" is missing`},
		{"absent", "gone", `{"replicas":3}`, 404, 2, `"gone"`},
		{"the name is literal", "cow.fns", `{"replicas":3}`, 404, 2, `"cow.fns"`},
		{"other namespace", "cow?namespace=dev", `{"replicas":3}`, 404, 2, `"dev"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			for _, h := range listeners(newAPI(t, w.config(t))) {
				clear(w.functions)
				spec := cow("fns")
				spec.Labels = map[string]string{"com.openfaas.scale.min": "2", "com.openfaas.scale.max": "4"}
				w.put(t, spec, function.Status{})
				got := call(h, "POST", "/system/scale-function/"+c.target, c.body)
				if c.status == 202 {
					wantEmpty(t, got, 202)
				} else {
					wantLine(t, got, c.status, c.tells)
				}
				if n := w.functions[spec.Ref].Replicas; n != c.replicas {
					t.Errorf("%d replicas, want %d", n, c.replicas)
				}
			}
		})
	}
}

func TestNamespace_FromBodyQueryOrNeither(t *testing.T) {
	for _, c := range []struct {
		name, inBody, query string
		openfaas            bool // a namespace openfaas-fn is there
		want, refused       string
	}{
		{name: "neither", want: "fns"},
		{name: "body", inBody: "dev", want: "dev"},
		{name: "query", query: "?namespace=dev", want: "dev"},
		{name: "empty query", query: "?namespace=", want: "fns"},
		{name: "both alike", inBody: "dev", query: "?namespace=dev", want: "dev"},
		{name: "both differ", inBody: "dev", query: "?namespace=fns", refused: "name one"},
		{name: "repeated, the last counts", query: "?namespace=fns&namespace=dev", want: "dev"},
		{name: "alias of the default", inBody: "openfaas-fn", want: "fns"},
		{name: "alias in the query", query: "?namespace=openfaas-fn", want: "fns"},
		{name: "alias and the default agree", inBody: "openfaas-fn", query: "?namespace=fns", want: "fns"},
		{name: "no alias where there is one of that name", inBody: "openfaas-fn", openfaas: true, want: "openfaas-fn"},
		{name: "not for functions", inBody: "other", refused: `"other"`},
		{name: "kube-system", query: "?namespace=kube-system", refused: "kube-system"},
		{name: "kube-system though marked", inBody: "kube-system", refused: "kube-system"},
		{name: "no name of a namespace", inBody: "Dev", refused: `"Dev"`},
		{name: "line feed", query: "?namespace=a%0Ab", refused: `"a\nb"`},
		{name: "query that cannot be read", query: "?namespace=%zz", refused: "query cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.namespaces["kube-system"] = function.Namespace{Name: "kube-system"}
			if c.openfaas {
				w.namespaces["openfaas-fn"] = function.Namespace{Name: "openfaas-fn"}
			}
			h := newAPI(t, w.config(t)).Gateway()
			body := fmt.Sprintf(`{"service":"cow","image":"i","namespace":%q}`, c.inBody)
			got := call(h, "POST", "/system/functions"+c.query, body)
			if c.refused != "" {
				wantLine(t, got, 400, c.refused)
				return
			}
			wantEmpty(t, got, 202)
			if w.functions[function.Ref{Name: "cow", Namespace: c.want}] == nil || len(w.functions) != 1 {
				t.Errorf("not in %q: %v", c.want, w.functions)
			}
		})
	}
}

func TestFunctions_CauseOfFailureStaysInTheLog(t *testing.T) {
	w := newWorld()
	w.put(t, cow("fns"), function.Status{})
	w.broken = errors.New("etcd at 10.1.2.3 is on fire")
	h := newAPI(t, w.config(t)).Gateway()
	for _, request := range [][3]string{
		{"POST", "/system/functions", `{"service":"new","image":"i"}`},
		{"PUT", "/system/functions", smallest},
		{"POST", "/system/scale-function/cow", `{"replicas":1}`},
		{"GET", "/system/logs?name=cow", ""},
	} {
		got := call(h, request[0], request[1], request[2])
		wantLine(t, got, 500, "internal error")
		if strings.Contains(got.Body.String(), "etcd") || got.Header().Get("X-OpenFaaS-Internal") != "dc-provider" {
			t.Errorf("%q, %v", got.Body, got.Header())
		}
	}
	wantEmpty(t, call(h, "GET", "/system/secrets", ""), 500)
	if got := call(h, "DELETE", "/system/functions", `{"functionName":"cow"}`); got.Code != 500 || strings.ContainsAny(got.Body.String(), "\n") {
		t.Errorf("%d %q", got.Code, got.Body)
	}
}
