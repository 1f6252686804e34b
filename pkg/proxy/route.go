package proxy

import (
	"net/url"
	"strings"

	"github.com/dragonchain/dc-provider/pkg/function"
)

const routePrefix = "/function/"

// stockNamespace is the namespace that OpenFaaS's clients append to every name when the user gave none, whatever the
// server's default is.
const stockNamespace = "openfaas-fn"

// route is what a path names.
type route struct {
	// name is NAME or NAME.NAMESPACE, as given.
	name string
	// rest is the function's own path, escaped as it came. It begins with a slash.
	rest string
}

// parseRoute reads /function/NAME[.NAMESPACE][/rest] from a path with its escapes. They are resolved in the name, for
// which they mean nothing, and kept in the rest: there %2F is not a slash.
func parseRoute(escapedPath string) (route, error) {
	tail, ok := strings.CutPrefix(escapedPath, routePrefix)
	if !ok {
		return route{}, function.NotFoundf("no such path; functions are at %sNAME", routePrefix)
	}
	escapedName, rest := tail, "/"
	if i := strings.IndexByte(tail, '/'); i >= 0 {
		escapedName, rest = tail[:i], tail[i:]
	}
	name, err := url.PathUnescape(escapedName)
	switch {
	case err != nil:
		return route{}, function.Invalidf("the function's name is escaped wrongly")
	case name == "":
		return route{}, function.Invalidf("a function needs a name: %sNAME", routePrefix)
	case strings.IndexFunc(name, notInName) >= 0:
		return route{}, function.NotFoundf("no function %.100q", name)
	}
	return route{name: name, rest: rest}, nil
}

// cutRoute is parseRoute for the target of a plain request, without its escapes: path is the function's own, with the query
// behind it, and empty if that is a slash which the target leaves out. It reports false for what is not plain, and may be right or
// wrong: an escaped or missing name, or characters in the path that net/http escapes.
func cutRoute(target []byte) (name, path []byte, ok bool) {
	if len(target) < len(routePrefix) || string(target[:len(routePrefix)]) != routePrefix {
		return nil, nil, false
	}
	name = target[len(routePrefix):]
	for i, c := range name {
		if c == '/' || c == '?' {
			name, path = name[:i], name[i:]
			break
		}
		if notInName(rune(c)) {
			return nil, nil, false
		}
	}
	for _, c := range path {
		if c == '?' {
			break
		}
		if !plainInPath[c] {
			return nil, nil, false
		}
	}
	return name, path, len(name) > 0
}

// plainInPath is what url.URL.EscapedPath leaves as it is.
var plainInPath = func() (t [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~!$&'()*+,;=:@[]/%" {
		t[c] = true
	}
	return t
}()

// notInName tells what OpenFaaS's router keeps out of a name; which names there are is for Lookup to say.
func notInName(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
		return false
	}
	return true
}

// ref resolves the name. managed tells whether a namespace holds functions.
func (rt route) ref(defaultNamespace string, managed func(string) bool) function.Ref {
	return settle(function.ParseRef(rt.name, defaultNamespace), defaultNamespace, managed)
}

// settle replaces the stock namespace where it holds no functions.
func settle(ref function.Ref, defaultNamespace string, managed func(string) bool) function.Ref {
	if ref.Namespace == stockNamespace && defaultNamespace != stockNamespace && !managed(stockNamespace) {
		ref.Namespace = defaultNamespace
	}
	return ref
}

// rewrite points u at the rest, escapes kept. The query stays.
func (rt route) rewrite(u *url.URL) error {
	path, err := url.PathUnescape(rt.rest)
	if err != nil {
		return function.Invalidf("the path is escaped wrongly")
	}
	u.Path, u.RawPath, u.Opaque = path, rt.rest, ""
	return nil
}
