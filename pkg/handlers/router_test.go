package handlers_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/handlers"
)

func TestRouter_Semantics(t *testing.T) {
	api := newAPI(t, newWorld().config(t))
	const gateway, provider, both = "gateway", "provider", "gateway provider"
	for _, c := range []struct {
		on, method, target string
		status             int
		want               string // of the body, or of Location
	}{
		{both, "GET", "/", 404, "404 page not found\n"},
		{both, "GET", "/ui", 404, "404 page not found\n"},
		{both, "GET", "/system", 404, "404 page not found\n"},
		{both, "GET", "/system/functions/", 404, "404 page not found\n"},
		{both, "POST", "/async-function/cow", 404, "404 page not found\n"},
		{both, "GET", "/system/telemetry", 404, "404 page not found\n"},
		{provider, "GET", "/heap/cow/k", 404, "404 page not found\n"},
		{gateway, "POST", "/dc/ready", 404, "404 page not found\n"},
		{both, "HEAD", "/system/functions", 405, ""},
		{both, "PATCH", "/system/functions", 405, ""},
		{both, "POST", "/system/function/cow", 405, ""},
		{both, "GET", "/system/scale-function/cow", 405, ""},
		{both, "POST", "/system/info", 405, ""},
		{both, "DELETE", "/system/logs", 405, ""},
		{both, "POST", "/system/namespaces", 405, ""},
		{both, "POST", "/healthz", 405, ""},
		{gateway, "HEAD", "/healthz", 405, ""},
		{gateway, "HEAD", "/heap/cow/k", 405, ""},
		{gateway, "PATCH", "/heap/cow/k", 405, ""},
		{both, "GET", "/healthz", 200, ""},
		{provider, "HEAD", "/healthz", 200, ""},
		{both, "GET", "//system//functions", 301, "/system/functions"},
		{both, "POST", "/system/../system/functions?namespace=a", 301, "/system/functions?namespace=a"},
		{both, "GET", "/x/../function/cow", 301, "/function/cow"},
		{both, "GET", "/system/func%74ions", 200, "[]"},
		{both, "POST", "/function/cow", 200, "invoked /function/cow"},
		{both, "POST", "/function/cow.dev/", 200, "invoked /function/cow.dev/"},
		{both, "BREW", "/function/cow/a//b/../c%2Fd", 200, "invoked /function/cow/a//b/../c%2Fd"},
		{both, "GET", "/function/../system/functions", 200, "invoked /function/../system/functions"},
		{both, "GET", "/function", 404, "404 page not found\n"},
		{gateway, "POST", "/function/", 404, "404 page not found\n"},
		{provider, "POST", "/function/", 200, "invoked /function/"},
		{provider, "GET", "/v1/contract", 404, "404 page not found\n"},
	} {
		for name, h := range listeners(api) {
			if !strings.Contains(c.on, name) {
				continue
			}
			t.Run(name+" "+c.method+" "+c.target, func(t *testing.T) {
				got := call(h, c.method, c.target, "")
				body := got.Body.String()
				if c.status == http.StatusMovedPermanently {
					body = got.Header().Get("Location")
				}
				if got.Code != c.status || body != c.want {
					t.Errorf("status %d, %q; want %d, %q", got.Code, body, c.status, c.want)
				}
				if got.Header().Get("Allow") != "" {
					t.Error("Allow is sent")
				}
				if c.status == 404 {
					wantLine(t, got, 404, "")
				}
			})
		}
	}
}

// every is one request for each route that asks for credentials.
var every = []struct{ on, method, target string }{
	{"gateway provider", "GET", "/system/functions"},
	{"gateway provider", "POST", "/system/functions"},
	{"gateway provider", "PUT", "/system/functions"},
	{"gateway provider", "DELETE", "/system/functions"},
	{"gateway provider", "GET", "/system/function/cow"},
	{"gateway provider", "POST", "/system/scale-function/cow"},
	{"gateway provider", "GET", "/system/info"},
	{"gateway provider", "GET", "/system/secrets"},
	{"gateway provider", "POST", "/system/secrets"},
	{"gateway provider", "PUT", "/system/secrets"},
	{"gateway provider", "DELETE", "/system/secrets"},
	{"gateway provider", "GET", "/system/logs?name=cow"},
	{"gateway provider", "GET", "/system/namespaces"},
	{"gateway provider", "GET", "/system/namespace/dev"},
	{"gateway provider", "POST", "/system/namespace/"},
	{"gateway provider", "PUT", "/system/namespace/dev"},
	{"gateway provider", "DELETE", "/system/namespace/dev"},
	{"gateway", "GET", "/heap/cow"},
	{"gateway", "GET", "/heap/cow/k"},
}

func TestAuth_EveryManagementRoute(t *testing.T) {
	w := newWorld()
	w.put(t, cow("fns"), function.Status{})
	for name, h := range listeners(newAPI(t, w.config(t))) {
		for _, route := range every {
			if !strings.Contains(route.on, name) {
				continue
			}
			for kind, header := range map[string]string{
				"none": "", "empty bearer, as faas-cli before login": "Bearer ", "no base64": "Basic !", "no colon": "Basic YWRtaW4=",
				"other scheme": "Digest x", "nothing": "Basic Og==",
			} {
				t.Run(name+" "+route.method+" "+route.target+" "+kind, func(t *testing.T) {
					r := httptest.NewRequest(route.method, route.target, nil)
					if header != "" {
						r.Header.Set("Authorization", header)
					}
					want401(t, h, r)
				})
			}
			for kind, pair := range map[string][2]string{
				"user": {"root", password}, "password": {user, "x"}, "part of the password": {user, password[:3]},
				"longer password": {user, password + " "}, "user alone": {user, ""}, "swapped": {password, user},
			} {
				t.Run(name+" "+route.method+" "+route.target+" wrong "+kind, func(t *testing.T) {
					r := httptest.NewRequest(route.method, route.target, nil)
					r.SetBasicAuth(pair[0], pair[1])
					want401(t, h, r)
				})
			}
			if got := call(h, route.method, route.target, ""); got.Code == 401 || got.Code == 405 {
				t.Errorf("%s %s %s with credentials: %d", name, route.method, route.target, got.Code)
			}
		}
	}
	if len(w.functions) != 1 || len(w.namespaces) != 2 || len(w.secrets["fns"]) != 1 {
		t.Error("a request without credentials changed something")
	}
}

func want401(t *testing.T, h http.Handler, r *http.Request) {
	t.Helper()
	got := httptest.NewRecorder()
	h.ServeHTTP(got, r)
	if got.Code != 401 || got.Body.String() != "invalid credentials" || got.Header().Get("WWW-Authenticate") != `Basic realm="Restricted"` {
		t.Errorf("status %d, %q, %v", got.Code, got.Body, got.Header())
	}
}

func TestAuth_RotatedAndMissing(t *testing.T) {
	cfg := newWorld().config(t)
	var nowUser, nowPassword string
	cfg.Credentials = func() (string, string) { return nowUser, nowPassword }
	h := newAPI(t, cfg).Gateway()
	for _, c := range []struct {
		user, password string
		status         int
	}{{"", "", 401}, {user, "", 401}, {"", password, 401}, {user, password, 200}, {user, "new", 401}} {
		nowUser, nowPassword = c.user, c.password
		if got := call(h, "GET", "/system/functions", ""); got.Code != c.status {
			t.Errorf("credentials %+v: status %d, want %d", c, got.Code, c.status)
		}
		r := httptest.NewRequest("GET", "/system/functions", nil)
		r.SetBasicAuth(c.user, c.password)
		got := httptest.NewRecorder()
		if h.ServeHTTP(got, r); (got.Code == 200) != (c.user != "" && c.password != "") {
			t.Errorf("credentials %+v given back: status %d", c, got.Code)
		}
	}
}

// The scheme's case does not count, nor do the digits that base64 leaves open.
func TestAuth_Spelling(t *testing.T) {
	h := newAPI(t, newWorld().config(t)).Gateway()
	given := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	for header, status := range map[string]int{
		"Basic " + given: 200, "basic " + given: 200, "BASIC " + given: 200,
		"Basic  " + given: 401, "Basic": 401, given: 401, "Bearer " + given: 401, "Basic " + given + "=": 401, "": 401,
	} {
		r := httptest.NewRequest("GET", "/system/functions", nil)
		r.Header.Set("Authorization", header)
		got := httptest.NewRecorder()
		if h.ServeHTTP(got, r); got.Code != status {
			t.Errorf("%q: status %d, want %d", header, got.Code, status)
		}
	}
}

func TestAuth_OpenRoutes(t *testing.T) {
	for _, h := range listeners(newAPI(t, newWorld().config(t))) {
		for _, target := range []string{"/healthz", "/function/cow"} {
			got := httptest.NewRecorder()
			h.ServeHTTP(got, httptest.NewRequest("GET", target, nil))
			if got.Code != 200 {
				t.Errorf("%s without credentials: %d", target, got.Code)
			}
		}
	}
}

func TestInfo_TwoForms(t *testing.T) {
	api := newAPI(t, newWorld().config(t))
	provider := `{"provider":"dc-provider","version":{"sha":"abc","release":"1.2.3"},"orchestration":"kubernetes"}`
	wantJSON(t, call(api.Provider(), "GET", "/system/info", ""), provider)
	wantJSON(t, call(api.Gateway(), "GET", "/system/info", ""),
		`{"provider":`+provider+`,"version":{"sha":"abc","release":"1.2.3"},"arch":"`+runtime.GOARCH+`"}`)
}

func TestHealth_TellsWhy(t *testing.T) {
	w := newWorld()
	w.unhealthy = errors.New("caches are not filled")
	for _, h := range listeners(newAPI(t, w.config(t))) {
		wantLine(t, call(h, "GET", "/healthz", ""), 503, "caches are not filled")
	}
}

func TestNew_NamesWhatIsMissing(t *testing.T) {
	full := newWorld().config(t)
	for name, take := range map[string]func(*handlers.Config){
		"functions":      func(c *handlers.Config) { c.Functions = nil },
		"secrets":        func(c *handlers.Config) { c.Secrets = nil },
		"namespaces":     func(c *handlers.Config) { c.Namespaces = nil },
		"logs":           func(c *handlers.Config) { c.Logs = nil },
		"heaps":          func(c *handlers.Config) { c.Heaps = nil },
		"the data plane": func(c *handlers.Config) { c.Invoke = nil },
		"credentials":    func(c *handlers.Config) { c.Credentials = nil },
	} {
		cfg := full
		take(&cfg)
		if api, err := handlers.New(cfg); err == nil || api != nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// panicking panics when a function is looked up.
type panicking struct{ handlers.Functions }

func (panicking) Lookup(function.Ref) (*function.Function, bool) { panic("a defect: 10.1.2.3") }

func TestRouter_PanicIsAnsweredAndLogged(t *testing.T) {
	w := newWorld()
	cfg := w.config(t)
	var log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	cfg.Functions = panicking{w}
	for _, h := range listeners(newAPI(t, cfg)) {
		log.Reset()
		wantLine(t, call(h, "GET", "/system/function/cow?namespace=fns", ""), 500, "internal error")
		if !strings.Contains(log.String(), "a defect") || !strings.Contains(log.String(), "router_test.go") || strings.Count(log.String(), "level=") != 1 {
			t.Errorf("log %q", log.String())
		}
	}
}

// TestRouter_PanicOfTheDataPlane runs over a real connection: what was sent before the panic cannot be taken back.
func TestRouter_PanicOfTheDataPlane(t *testing.T) {
	server := serve(t, newAPI(t, newWorld().config(t)).Gateway())
	if response, err := server.Client().Get(server.URL + "/function/panics"); err == nil {
		_ = response.Body.Close()
		t.Errorf("status %d, want a dropped connection", response.StatusCode)
	}
	response, err := server.Client().Get(server.URL + "/function/cow")
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != 200 {
		t.Errorf("the next call: %d, %v", response.StatusCode, err)
	}
}

// serve runs h behind a real listener whose log is not shown.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

func TestRouter_ConnectionServesOnAfterABody(t *testing.T) {
	server := serve(t, newAPI(t, newWorld().config(t)).Gateway())
	connection, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	const request = "POST /system/functions HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46czNjcmV0OiDDvA==\r\nContent-Length: 29\r\n\r\n" + smallest
	for _, want := range []string{"202 Accepted", "409 Conflict"} {
		if _, err := io.WriteString(connection, request); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 4096)
		n, err := connection.Read(answer)
		if err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 "+want) {
			t.Fatalf("%q, %v; want %s", answer[:n], err, want)
		}
	}
}

func TestRouter_BodyThatEndsEarlyChangesNothing(t *testing.T) {
	w := newWorld()
	h := newAPI(t, w.config(t)).Gateway()
	r := httptest.NewRequest("POST", "/system/functions", io.MultiReader(strings.NewReader(smallest), failing{}))
	r.SetBasicAuth(user, password)
	got := httptest.NewRecorder()
	h.ServeHTTP(got, r)
	wantLine(t, got, 400, "did not arrive whole")
	if len(w.functions) != 0 {
		t.Error("deployed")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
