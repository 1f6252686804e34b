package watchdog

import (
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

var (
	errNUL          = errors.New("the request has a NUL character, which no environment variable can hold")
	errHeaderTooBig = errors.New("a request header is longer than an environment variable may be (128 KiB)")
	errURITooLong   = errors.New("the request's path or query is longer than an environment variable may be (128 KiB)")
)

// maxVariableBytes is the kernel's MAX_ARG_STRLEN: one string of an environment, with the NUL that ends it.
const maxVariableBytes = 128 << 10

// requestEnviron makes the environment of a forked process: the function's own, then a variable for each request header
// (Http_X_My_Header, first value only) and for the rest of the request.
type requestEnviron struct {
	base      []string
	baseIndex map[string]int // where a variable of base stands
	rules     Dialect
}

// environRules is whose rules apply: of the of-watchdog's only where the mode is its own too, for its variables are fewer.
func environRules(cfg *Config) Dialect {
	if cfg.Dialect == Of && cfg.Mode == ForkMode {
		return Classic
	}
	return cfg.Dialect
}

func newRequestEnviron(base []string, rules Dialect) *requestEnviron {
	index := make(map[string]int, len(base))
	for i, entry := range base {
		name, _, _ := strings.Cut(entry, "=")
		index[name] = i
	}
	return &requestEnviron{base: base, baseIndex: index, rules: rules}
}

// of is the environment for one request. A variable that is set later replaces an earlier one, so that no header can pass for the request's path, method or host.
func (e *requestEnviron) of(r *http.Request) ([]string, error) {
	b := environBuilder{list: make([]string, len(e.base), len(e.base)+len(r.Header)+16), baseIndex: e.baseIndex}
	copy(b.list, e.base)
	b.headers(r.Header)
	b.set("Http_Method", r.Method)
	length := strconv.FormatInt(r.ContentLength, 10)
	if e.rules != Of {
		b.set("Http_ContentLength", length)
		b.set("Http_Content_Length", length)
		b.set("Http_Host", r.Host)
	}
	if len(r.TransferEncoding) > 0 {
		b.set("Http_Transfer_Encoding", r.TransferEncoding[0])
	}
	if r.URL.RawQuery != "" || e.rules == Native {
		// Set even when empty in our own dialect, so that a header named Query cannot pass for it.
		b.set("Http_Query", r.URL.RawQuery)
	}
	if r.URL.Path != "" {
		b.set("Http_Path", r.URL.Path)
	}
	if e.rules == Native {
		b.cgi(r, length)
	}
	return b.list, b.err
}

type environBuilder struct {
	list      []string
	baseIndex map[string]int
	own       map[string]int // where a variable of this request stands
	err       error
}

// headers sets the names in falling order, so that of two that make one variable (X-Foo and X_Foo) the dashed one wins, always:
// a client cannot hide what a proxy has set behind a look-alike.
func (b *environBuilder) headers(h http.Header) {
	names := slices.Sorted(maps.Keys(h))
	for _, name := range slices.Backward(names) {
		if values := h[name]; len(values) > 0 {
			b.set("Http_"+strings.ReplaceAll(name, "-", "_"), values[0])
		}
	}
}

// cgi sets the names of RFC 3875, for programs that were written for it.
func (b *environBuilder) cgi(r *http.Request, length string) {
	b.set("REQUEST_METHOD", r.Method)
	b.set("REQUEST_URI", r.RequestURI)
	b.set("PATH_INFO", r.URL.Path)
	b.set("QUERY_STRING", r.URL.RawQuery)
	if ct := r.Header.Get("Content-Type"); ct != "" {
		b.set("CONTENT_TYPE", ct)
	}
	b.set("SERVER_PROTOCOL", r.Proto)
	if r.ContentLength >= 0 {
		b.set("CONTENT_LENGTH", length)
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		b.set("REMOTE_ADDR", host)
	}
}

func (b *environBuilder) set(name, value string) {
	if strings.IndexByte(value, 0) >= 0 || strings.IndexByte(name, 0) >= 0 {
		b.fail(errNUL)
		return
	}
	if len(name)+1+len(value)+1 > maxVariableBytes {
		b.fail(tooBig(name))
		return
	}
	entry := name + "=" + value
	if at, known := b.own[name]; known {
		b.list[at] = entry
		return
	}
	at, inherited := b.baseIndex[name]
	if inherited {
		b.list[at] = entry
	} else {
		at = len(b.list)
		b.list = append(b.list, entry)
	}
	if b.own == nil {
		b.own = make(map[string]int, 32)
	}
	b.own[name] = at
}

func (b *environBuilder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

func tooBig(name string) error {
	switch name {
	case "Http_Path", "Http_Query", "REQUEST_URI", "PATH_INFO", "QUERY_STRING":
		return errURITooLong
	}
	return errHeaderTooBig
}
