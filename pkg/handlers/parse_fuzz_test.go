package handlers

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"github.com/openfaas/faas-provider/types"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// wantTold wants an error that is answered with a status from 400 to 499 and one line.
func wantTold(t *testing.T, err error) {
	t.Helper()
	if status := classify(err).status; status < 400 || status > 499 {
		t.Fatalf("%v is answered with %d", err, status)
	}
	if line := oneLine(err.Error()); strings.ContainsFunc(line, unicode.IsControl) || len(line) > maxLine+3 {
		t.Fatalf("no line: %q", line)
	}
}

func FuzzParseLogQuery(f *testing.F) {
	for _, seed := range []string{
		"", "name=cow", "follow=true&name=cow&tail=-1", "name=cow&since=2026-01-02T03:04:05.6Z&tail=5&instance=a",
		"name=cow&tail=9223372036854775808", "name=a&name=b;c", "%zz", "name=cow&since=0000-00-00T00:00:00Z", "name=%00%0a&follow=T",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseLogQuery(&http.Request{URL: &url.URL{RawQuery: raw}})
		if err != nil {
			wantTold(t, err)
			return
		}
		if q.Name == "" || q.Tail < 0 {
			t.Fatalf("%q gives %+v", raw, q)
		}
	})
}

func FuzzParseHeapPath(f *testing.F) {
	for _, seed := range []string{
		"/heap/cow/k", "/heap/cow", "/heap/cow/", "/heap/cow.dev/a//b/../c", "/heap/%63ow/a%2Fb%252F", "/heap/", "/heap", "/%68eap/x", "/heap/cow/%zz", "",
		"/heap/cow/a%20b", "/heap/cow/a b?c", "/heap/c%6Fw/\xff", "/heap/cow/%E4%BD%A0", "/heap/cow/{}[]|", "/heap%2Fcow/k",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		if u, err := url.ParseRequestURI(escaped); err == nil {
			want, wantErr := parseHeapPath(u.EscapedPath())
			if got, err := heapPathOf(u); got != want || (err == nil) != (wantErr == nil) {
				t.Fatalf("%q of a request gives %+v, %v, want %+v, %v", escaped, got, err, want, wantErr)
			}
		}
		p, err := parseHeapPath(escaped)
		if err != nil {
			wantTold(t, err)
			return
		}
		if !p.isKey && p.key != "" {
			t.Fatalf("%q gives %+v", escaped, p)
		}
		// Written with every byte escaped, it is the same place.
		back := heapPrefix + url.PathEscape(p.name)
		if p.isKey {
			back += "/" + url.PathEscape(p.key)
		}
		if again, err := parseHeapPath(back); err != nil || again != p {
			t.Fatalf("%q gives %+v, written %q it gives %+v, %v", escaped, p, back, again, err)
		}
	})
}

func FuzzParseLimit(f *testing.F) {
	for _, seed := range []string{"", "0", "1", "-1", "+1", "1000000", "9223372036854775808", "1e3", "0x10"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		limit, err := parseLimit(s)
		if err != nil {
			wantTold(t, err)
		} else if limit < 0 || limit == 0 != (s == "") {
			t.Fatalf("%q gives %d", s, limit)
		}
	})
}

// FuzzParseBody checks that whatever is taken for a deployment is given back as it was read, and that a refusal can be shown.
func FuzzParseBody(f *testing.F) {
	for _, seed := range []string{
		`{"service":"cow","image":"i"}`,
		`{"service":"cow","image":"i:1","namespace":"dev","envProcess":"cat","envVars":{"A":"b"},"constraints":["k=v"],"secrets":["s"],` +
			`"labels":{"l":"1"},"annotations":{},"limits":{"memory":"128Mi"},"requests":{},"readOnlyRootFilesystem":true}`,
		``, `null`, `[]`, `{`, `{}`, `{"service":1}`, `{"labels":{"a":null}}`, `{"service":"\ud800"}`, `{"a":1}{}`, "\xef\xbb\xbf{}",
		`{"Service":"x","service":"y"}`, `{"service":"\u0000"}`, strings.Repeat(`{"a":`, 20000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var d types.FunctionDeployment
		if err := parseBody(body, &d); err != nil {
			wantTold(t, err)
			return
		}
		spec := specOf(d, "fns")
		fn, err := function.New(spec)
		if err != nil {
			wantTold(t, err)
			return
		}
		s := statusOf(fn, function.Status{Available: 1})
		if s.Name != d.Service || s.Image != d.Image || s.EnvProcess != d.EnvProcess || (s.Labels == nil) != (d.Labels == nil) ||
			(s.Annotations == nil) != (d.Annotations == nil) || (s.Limits == nil) != (d.Limits == nil) ||
			s.Limits != nil && *s.Limits != *d.Limits || s.Requests != nil && *s.Requests != *d.Requests {
			t.Fatalf("%+v is given back as %+v", d, s)
		}
	})
}

func FuzzOneLine(f *testing.F) {
	for _, seed := range []string{"", "a", "a\nb", strings.Repeat("ü", 600), "\xff\x00\u2028"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line := oneLine(s)
		if strings.ContainsAny(line, "\r\n\x00\u0085\u2028\u2029") || len(line) > 3*maxLine+3 {
			t.Fatalf("%q", line)
		}
	})
}

func FuzzParseConditions(f *testing.F) {
	for _, seed := range []string{"", "*", `"1"`, `"0"`, "1", `W/"1"`, `"1","2"`, `"18446744073709551615"`, `""`, `"`, `"+1"`} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, s string, match bool) {
		name := "If-None-Match"
		if match {
			name = "If-Match"
		}
		conditions, err := parseConditions(http.Header{name: {s}}, "k")
		if err != nil {
			wantTold(t, err)
			return
		}
		c := conditions[0]
		switch {
		case len(conditions) != 1 || c.Key != "k",
			s == "*" && match && c.Version != function.AnyVersion,
			s == "*" && !match && c.Version != 0,
			s != "*" && (!match || etag(c.Version) != s || c.Version == 0):
			t.Fatalf("%s: %q gives %+v", name, s, conditions)
		}
	})
}

// FuzzParseImportLine checks that a line that is taken is exported as what it meant.
func FuzzParseImportLine(f *testing.F) {
	for _, seed := range []string{
		"", " ", `{"key":"a","value":1}`, `{"key":"","value":1}`, `{"key":"a"}`, `{"key":"a","value":null}`, `{"key":"\ud800","value":1}`,
		`{"key":"\ufffd","value":"\ud800"}`, `{"value":{ "a" : [1.0, 2e5] },"key":"ü\u0000","version":3,"at":"x"}`, `[]`, `{"key":"a","value":1}{}`, "{\"key\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		write, err := parseImportLine(line)
		if err != nil {
			wantTold(t, err)
			return
		}
		if write.Key == "" {
			if len(bytes.TrimSpace(line)) != 0 {
				t.Fatalf("%q is left out", line)
			}
			return
		}
		exported, err := encodeLines([]function.HeapEntry{{Key: write.Key, Value: write.Value, Version: 1}})
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseImportLine(exported)
		if err != nil || again.Key != write.Key || !bytes.Equal(again.Value, write.Value) || bytes.Count(exported, []byte("\n")) != 1 {
			t.Fatalf("%q is exported as %q, which is %+v, %v", line, exported, again, err)
		}
	})
}
