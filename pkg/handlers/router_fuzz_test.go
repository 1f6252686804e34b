package handlers_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// FuzzRouter sends anything to both listeners. Whatever it is, nothing panics, nothing is answered with 500, the answer has
// one of the API's forms, and without credentials nothing changes.
func FuzzRouter(f *testing.F) {
	for _, route := range every {
		for _, body := range []string{"", smallest, `{"functionName":"cow"}`, `{"name":"new","value":"v"}`, `{"replicas":2}`} {
			f.Add(route.method, route.target, body, true)
		}
		f.Add(route.method, route.target, full, false)
	}
	for _, target := range []string{"/function/cow//../x", "/heap/cow/%2F%00", "//", "/..", "*", "/system/functions?namespace=%zz", "/dc/ready", "/healthz",
		"/v1/get/cow/%2F%00", "/v1/list/cow//", "/v1/contract/cow/logs?tail=9&since=x", "/v1/contract/txn_type/cow", "/v1/contract?namespace=x"} {
		f.Add("POST", target, "{}", true)
		f.Add("GET", target, "", false)
	}
	w, api := withHeap(f, "k", "1")
	gateway, provider := api.Gateway(), api.Provider()
	f.Fuzz(func(t *testing.T, method, target, body string, authorized bool) {
		for _, h := range []http.Handler{gateway, provider} {
			text := method + " " + target + " HTTP/1.1\r\nHost: x\r\n\r\n"
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
			if err != nil || strings.HasPrefix(r.URL.Path, "/function/panics") {
				return
			}
			r.Body, r.RemoteAddr = http.NoBody, "192.0.2.1:1"
			if body != "" {
				r.Body = httptest.NewRequest("POST", "/", strings.NewReader(body)).Body
			}
			if authorized {
				r.SetBasicAuth(user, password)
			}
			// The world is put back, so that a finding does not depend on what came before it.
			before := w.functions[function.Ref{Name: "cow", Namespace: "fns"}]
			functions, namespaces := len(w.functions), len(w.namespaces)
			got := httptest.NewRecorder()
			h.ServeHTTP(got, r)
			changed := len(w.functions) != functions || len(w.namespaces) != namespaces || w.functions[before.Ref] != before
			if changed && !authorized {
				t.Fatalf("%q changed something without credentials", text)
			}
			checkForm(t, text, got)
			reset(w, before)
		}
	})
}

func reset(w *world, f *function.Function) {
	dev := *f
	dev.Ref = function.Ref{Name: "cow", Namespace: "dev"}
	w.functions = map[function.Ref]*function.Function{f.Ref: f, dev.Ref: &dev}
	fresh := newWorld()
	w.namespaces, w.secrets = fresh.namespaces, fresh.secrets
}

func checkForm(t *testing.T, request string, got *httptest.ResponseRecorder) {
	t.Helper()
	body, kind := got.Body.String(), got.Header().Get("Content-Type")
	switch {
	case got.Code >= 500:
		t.Fatalf("%q is answered with %d %q", request, got.Code, body)
	case strings.Contains(request, " /v1/") && kind == "application/json":
		if !json.Valid(got.Body.Bytes()) || (got.Code >= 400) != strings.HasPrefix(body, `{"error":{"type":"`) {
			t.Fatalf("%q is answered with %d %q", request, got.Code, body)
		}
	case got.Code == 401:
		if body != "invalid credentials" {
			t.Fatalf("%q: %q", request, body)
		}
	case got.Code >= 400:
		if !utf8.ValidString(body) || strings.Count(strings.TrimSuffix(body, "\n"), "\n") != 0 || len(body) > 4000 {
			t.Fatalf("%q is answered with %d, no line: %q", request, got.Code, body)
		}
	case got.Code == 200 && kind == "application/json":
		if !json.Valid(got.Body.Bytes()) || strings.Contains(body, "null") {
			t.Fatalf("%q is answered with %q", request, body)
		}
	}
}
