package watchdog

import (
	"bufio"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func request(t testing.TB, text string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = "10.1.2.3:4567"
	return r
}

func TestRequestEnviron(t *testing.T) {
	const simple = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, r := range []struct {
		name   string
		text   string
		base   []string
		rules  Dialect
		want   []string // all there
		absent []string // none of these names
	}{
		{name: "whole of it", text: "POST /a%20b?x=%201 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nx-my-header: v\r\n\r\nhi",
			want: []string{"BASE=1", "Http_Method=POST", "Http_Path=/a b", "Http_Query=x=%201", "Http_Host=h", "Http_ContentLength=2",
				"Http_Content_Length=2", "Http_X_My_Header=v"}, absent: []string{"Http_Transfer_Encoding", "REQUEST_METHOD"}},
		{name: "casing", text: "GET / HTTP/1.1\r\nHost: h\r\nX-API-KEY: k\r\nx_foo: f\r\nX.Dot: d\r\n\r\n",
			want: []string{"Http_X_Api_Key=k", "Http_X_foo=f", "Http_X.dot=d"}},
		{name: "first value only", text: "GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-A: 2\r\n\r\n", want: []string{"Http_X_A=1"}},
		{name: "no body", text: simple, want: []string{"Http_ContentLength=0", "Http_Content_Length=0"}, absent: []string{"Http_Query"}},
		{name: "chunked", text: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			want: []string{"Http_ContentLength=-1", "Http_Content_Length=-1", "Http_Transfer_Encoding=chunked"}},
		{name: "headers cannot pass for the request",
			text: "GET /p HTTP/1.1\r\nHost: h\r\nMethod: X\r\nPath: X\r\nContentlength: 9\r\nHost_: X\r\n\r\n",
			want: []string{"Http_Method=GET", "Http_Path=/p", "Http_Host=h", "Http_ContentLength=0"}},
		{name: "header named Query", text: "GET / HTTP/1.1\r\nHost: h\r\nQuery: fake\r\n\r\n", want: []string{"Http_Query=fake"}},
		{name: "header named Query, native", text: "GET / HTTP/1.1\r\nHost: h\r\nQuery: fake\r\n\r\n", rules: Native, want: []string{"Http_Query="}},
		{name: "look-alikes", text: "GET / HTTP/1.1\r\nHost: h\r\nX-A-B: dashed\r\nX-A_b: not\r\nX_a-B: not\r\n\r\n", want: []string{"Http_X_A_B=dashed"}},
		{name: "inherited is replaced", text: "GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n", base: []string{"Http_X_A=0", "Http_Method=X", "Z=1"},
			want: []string{"Http_X_A=1", "Http_Method=GET", "Z=1"}},
		{name: "CGI names, native", rules: Native, text: "POST /a%20b?q HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Type: text/x\r\n\r\nhi",
			want: []string{"REQUEST_METHOD=POST", "REQUEST_URI=/a%20b?q", "PATH_INFO=/a b", "QUERY_STRING=q", "CONTENT_LENGTH=2",
				"CONTENT_TYPE=text/x", "SERVER_PROTOCOL=HTTP/1.1", "REMOTE_ADDR=10.1.2.3"}},
		{name: "of", rules: Of, text: "POST /a%20b?x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nX-A: v\r\n\r\nhi",
			want:   []string{"Http_Method=POST", "Http_Path=/a b", "Http_Query=x", "Http_Content_Length=2", "Http_X_A=v"},
			absent: []string{"Http_Host", "Http_ContentLength", "REQUEST_METHOD"}},
		{name: "of, no body and no query", rules: Of, text: simple, absent: []string{"Http_Content_Length", "Http_ContentLength", "Http_Query"}},
		{name: "of, chunked", rules: Of, text: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			want: []string{"Http_Transfer_Encoding=chunked"}, absent: []string{"Http_Content_Length"}},
		{name: "no type, no CONTENT_TYPE", rules: Native, text: simple, want: []string{"CONTENT_LENGTH=0"}, absent: []string{"CONTENT_TYPE"}},
	} {
		t.Run(r.name, func(t *testing.T) {
			if r.rules == "" {
				r.rules = Classic
			}
			if r.base == nil {
				r.base = []string{"BASE=1"}
			}
			before := slices.Clone(r.base)
			got, err := newRequestEnviron(r.base, r.rules).of(request(t, r.text))
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range r.want {
				if !slices.Contains(got, entry) {
					t.Errorf("no %q in %q", entry, got)
				}
			}
			checkUnique(t, got)
			for _, entry := range got {
				if name, _, _ := strings.Cut(entry, "="); slices.Contains(r.absent, name) {
					t.Errorf("%q is there", entry)
				}
			}
			if !slices.Equal(before, r.base) {
				t.Error("the function's own environment was changed")
			}
		})
	}
}

func checkUnique(t testing.TB, environ []string) {
	t.Helper()
	names := map[string]bool{}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if names[name] {
			t.Errorf("%s is there twice", name)
		}
		names[name] = true
	}
}

// FuzzRequestEnviron checks that no request can break the environment or forge what is not its own.
func FuzzRequestEnviron(f *testing.F) {
	f.Add("X-My-Header", "value", "Other", "2", "/path?query", "native")
	f.Add("Method", "POST", "Path", "/x", "/", "classic")
	f.Add("X_Foo", "a", "X-Foo", "b", "/%00", "native")
	f.Add("Path", "PATH", "Query", "", "/a/%2e%2e/b?%zz&a;b", "classic")
	f.Add("Content-Length", "5", "Transfer-Encoding", "gzip", "//x", "of")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, uri, rules string) {
		text := "GET " + uri + " HTTP/1.1\r\nHost: h\r\n" + name1 + ": " + value1 + "\r\n" + name2 + ": " + value2 + "\r\n\r\n"
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		base := []string{"PATH=/bin", "HOME=/", "Http_Proxy=none"}
		got, err := newRequestEnviron(base, Dialect(rules)).of(r)
		if err != nil {
			return
		}
		checkUnique(t, got)
		if got[0] != base[0] || got[1] != base[1] {
			t.Errorf("the function's own variables became %q", got[:2])
		}
		for _, entry := range got {
			if strings.IndexByte(entry, 0) >= 0 || len(entry) >= maxVariableBytes {
				t.Errorf("no environment can hold %.100q", entry)
			}
		}
		for _, entry := range []string{"Http_Method=" + r.Method, "Http_Host=" + r.Host} {
			if !slices.Contains(got, entry) && !(rules == string(Of) && strings.HasPrefix(entry, "Http_Host")) {
				t.Errorf("%q is not in %q", entry, got)
			}
		}
		if r.URL.Path != "" && !slices.Contains(got, "Http_Path="+r.URL.Path) {
			t.Errorf("path %q is not in %q", r.URL.Path, got)
		}
	})
}
