package proxy

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
)

var routes = []struct {
	name, path string
	want       route
	err        error
}{
	{"name", "/function/echo", route{"echo", "/"}, nil},
	{"name and slash", "/function/echo/", route{"echo", "/"}, nil},
	{"namespace", "/function/echo.dev", route{"echo.dev", "/"}, nil},
	{"several dots", "/function/env.dev.openfaas-fn/a", route{"env.dev.openfaas-fn", "/a"}, nil},
	{"rest", "/function/echo/a/b/", route{"echo", "/a/b/"}, nil},
	{"rest begins with two slashes", "/function/echo//a", route{"echo", "//a"}, nil},
	{"escapes in the rest", "/function/echo/a%2fb%20", route{"echo", "/a%2fb%20"}, nil},
	{"escapes in the name", "/function/ech%6f/a", route{"echo", "/a"}, nil},
	{"capitals and underscores", "/function/Echo_1", route{"Echo_1", "/"}, nil},
	{"no name", "/function/", route{}, function.ErrInvalid},
	{"no name but a rest", "/function//a", route{}, function.ErrInvalid},
	{"no function", "/function", route{}, function.ErrNotFound},
	{"other prefix", "/functions/echo", route{}, function.ErrNotFound},
	{"empty", "", route{}, function.ErrNotFound},
	{"slash in the name", "/function/a%2Fb", route{}, function.ErrNotFound},
	{"blank in the name", "/function/a%20b", route{}, function.ErrNotFound},
	{"NUL in the name", "/function/a%00", route{}, function.ErrNotFound},
	{"not UTF-8", "/function/%ff", route{}, function.ErrNotFound},
	{"broken escape", "/function/a%2", route{}, function.ErrInvalid},
}

func TestParseRoute(t *testing.T) {
	for _, tt := range routes {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseRoute(tt.path)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("parseRoute(%q) = %+v, %v; want %+v, %v", tt.path, got, err, tt.want, tt.err)
			}
		})
	}
}

func TestRouteRef(t *testing.T) {
	all := func(string) bool { return true }
	none := func(string) bool { return false }
	for _, tt := range []struct {
		name, given, defaultNamespace string
		managed                       func(string) bool
		want                          function.Ref
	}{
		{"default", "echo", "fn", all, function.Ref{Name: "echo", Namespace: "fn"}},
		{"given", "echo.dev", "fn", all, function.Ref{Name: "echo", Namespace: "dev"}},
		{"last dot", "env.dev.openfaas-fn", "openfaas-fn", all, function.Ref{Name: "env.dev", Namespace: "openfaas-fn"}},
		{"stock name, not managed", "echo.openfaas-fn", "fn", none, function.Ref{Name: "echo", Namespace: "fn"}},
		{"stock name, managed", "echo.openfaas-fn", "fn", all, function.Ref{Name: "echo", Namespace: "openfaas-fn"}},
		{"stock name is the default", "echo.openfaas-fn", "openfaas-fn", none, function.Ref{Name: "echo", Namespace: "openfaas-fn"}},
		{"empty namespace", "echo.", "fn", all, function.Ref{Name: "echo"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := (route{name: tt.given}).ref(tt.defaultNamespace, tt.managed); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// Whatever a caller sends, the function's name is one, and the function gets the bytes of the path that followed it.
func FuzzParseRoute(f *testing.F) {
	for _, tt := range routes {
		f.Add(tt.path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		rt, err := parseRoute(path)
		if err != nil {
			if !errors.Is(err, function.ErrInvalid) && !errors.Is(err, function.ErrNotFound) {
				t.Fatalf("%q: %v is no refusal", path, err)
			}
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("%q: the refusal %q has several lines", path, err)
			}
			return
		}
		if rt.name == "" || strings.ContainsFunc(rt.name, notInName) {
			t.Fatalf("%q: name %q", path, rt.name)
		}
		if rt.rest[0] != '/' || rt.rest != "/" && !strings.HasSuffix(path, rt.rest) {
			t.Fatalf("%q: rest %q", path, rt.rest)
		}
		asked, err := url.ParseRequestURI(path)
		if err != nil || asked.EscapedPath() != path {
			return // no server would pass it on
		}
		sent := *asked
		if err := rt.rewrite(&sent); err != nil {
			t.Fatalf("%q: %v", path, err)
		}
		want := rt.rest
		if asked.ForceQuery || asked.RawQuery != "" {
			want += "?" + asked.RawQuery
		}
		if got := sent.RequestURI(); got != want {
			t.Fatalf("%q: sent %q, want %q", path, got, want)
		}
	})
}
