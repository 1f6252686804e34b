package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestServeAsync(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Async = func(rw http.ResponseWriter, r *http.Request, f *function.Function, name string) {
			rw.WriteHeader(http.StatusAccepted)
			fmt.Fprint(rw, f.Name, " ", name, " ", r.URL.EscapedPath(), " ", r.URL.RawQuery, " ", r.Header.Get("X-Call-Id"))
		}
	})
	w.deploy(echo, hello)
	ask := func(path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", path, nil)
		r.Header.Set("X-Call-Id", "mine")
		answer := httptest.NewRecorder()
		w.proxy.ServeAsync(answer, r)
		return answer
	}
	for path, want := range map[string]string{
		"/async-function/echo":               "echo echo /  mine",
		"/async-function/echo/":              "echo echo /  mine",
		"/async-function/echo/a%2Fb/c?q=1":   "echo echo /a%2Fb/c q=1 mine",
		"/async-function/" + echo.String():   "echo " + echo.String() + " /  mine",
		"/async-function/ech%6f//x":          "echo echo //x  mine",
		"/async-function/" + echo.Name + "?": "echo echo /  mine",
	} {
		got := ask(path)
		if got.Code != http.StatusAccepted || got.Body.String() != want {
			t.Errorf("%s: %d %q, want %q", path, got.Code, got.Body, want)
		}
		if got.Header().Get("X-Call-Id") != "mine" || got.Header().Get("X-Start-Time") == "" || got.Header().Get("X-Served-By") == "" {
			t.Errorf("%s: headers %v", path, got.Header())
		}
	}
	for _, path := range []string{"/async-function/nobody", "/async-function/a%20b", "/function/echo", "/async-function/"} {
		if got := ask(path); got.Code < 400 || got.Code == http.StatusAccepted || got.Header().Get("X-OpenFaaS-Internal") == "" {
			t.Errorf("%s: %d %q", path, got.Code, got.Body)
		}
	}
	if load := w.proxy.Load(echo); load != (Load{}) {
		t.Errorf("accepting counts as a call: %+v", load)
	}
}
