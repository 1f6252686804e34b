package lambda

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestHTTPEvent(t *testing.T) {
	r := httptest.NewRequest("PUT", "http://fn.example/a%2Fb/c?x=1&x=2&y=%20", nil)
	r.Header = http.Header{
		"Content-Type": {"text/plain"}, "Cookie": {"a=1; b=2", "c=3"}, "X-Many": {"1", "2"}, "User-Agent": {"me"},
		"X-Forwarded-For": {"10.0.0.1, 10.0.0.2"},
	}
	got := string(httpEvent(r, "id", []byte("text"), time.Date(2020, 3, 12, 19, 3, 58, 0, time.UTC)))
	want := `{"version":"2.0","routeKey":"$default","rawPath":"/a%2Fb/c","rawQueryString":"x=1\u0026x=2\u0026y=%20",` +
		`"cookies":["a=1","b=2","c=3"],"headers":{"content-type":"text/plain","host":"fn.example","user-agent":"me",` +
		`"x-forwarded-for":"10.0.0.1, 10.0.0.2","x-many":"1,2"},"queryStringParameters":{"x":"1,2","y":" "},` +
		`"requestContext":{"accountId":"anonymous","apiId":"fn","domainName":"fn.example","domainPrefix":"fn","requestId":"id",` +
		`"routeKey":"$default","stage":"$default","time":"12/Mar/2020:19:03:58 +0000","timeEpoch":1584039838000,` +
		`"http":{"method":"PUT","path":"/a/b/c","protocol":"HTTP/1.1","sourceIp":"10.0.0.1","userAgent":"me"}},` +
		`"body":"text","isBase64Encoded":false}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestHTTPEvent_Bodies(t *testing.T) {
	tests := []struct {
		contentType, body, want string
		base64                  bool
	}{
		{"application/json; charset=utf-8", "{}", "{}", false},
		{"application/problem+json", "{}", "{}", false},
		{"", "plain", "plain", false},
		{"image/png", "png", "cG5n", true},
		{"application/x-www-form-urlencoded", "a=b", "YT1i", true},
		{"text/plain", "\xff", "/w==", true},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Content-Type", tt.contentType)
		var e requestEvent
		if err := json.Unmarshal(httpEvent(r, "id", []byte(tt.body), time.Now()), &e); err != nil {
			t.Fatal(err)
		}
		if e.Body != tt.want || e.IsBase64Encoded != tt.base64 {
			t.Errorf("%s %q: %q, %v", tt.contentType, tt.body, e.Body, e.IsBase64Encoded)
		}
	}
}

func TestHTTPEvents_Answers(t *testing.T) {
	tests := []struct {
		name, answer string
		status       int
		body, header string // header is "Name: value"
	}{
		{"status, headers, body", `{"statusCode":404,"headers":{"Content-Type":"text/plain","X-N":5},"body":"no"}`, 404, "no", "X-N: 5"},
		{"a large number in a header", `{"statusCode":200,"headers":{"X-N":1000000}}`, 200, "", "X-N: 1000000"},
		{"an exact number in a header", `{"statusCode":200,"headers":{"X-N":12345678901234567890}}`, 200, "", "X-N: 12345678901234567890"},
		{"cookies", `{"statusCode":200,"cookies":["a=1"]}`, 200, "", "Set-Cookie: a=1"},
		{"nulls", `{"statusCode":200,"headers":null,"cookies":null,"body":null,"isBase64Encoded":null}`, 200, "", "Content-Type: application/json"},
		{"base64", `{"statusCode":200,"isBase64Encoded":true,"body":"cG5n"}`, 200, "png", "Content-Length: 3"},
		{"a length of its own", `{"statusCode":200,"headers":{"content-length":"99"},"body":"x"}`, 200, "x", "Content-Length: 1"},
		{"no status", `{"a":1}`, 200, `{"a":1}`, "Content-Type: application/json"},
		{"a status of null", `{"statusCode":null}`, 200, `{"statusCode":null}`, ""},
		{"no object", `"text"`, 200, `"text"`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, Config{HTTPEvents: true})
			f := w.process()
			answer := w.invoke("/path", "body")
			id, e := f.next()
			if !strings.Contains(e.body, `"rawPath":"/path"`) || !strings.Contains(e.body, `"body":"body"`) {
				t.Errorf("event %s", e.body)
			}
			f.respond(id, tt.answer)
			a := get(t, answer)
			a.is(t, tt.status, tt.body)
			if name, value, _ := strings.Cut(tt.header, ": "); tt.header != "" && a.header.Get(name) != value {
				t.Errorf("headers %v", a.header)
			}
		})
	}
	for name, text := range map[string]string{
		"bad status": `{"statusCode":"x"}`, "no such status": `{"statusCode":7}`, "bad base64": `{"statusCode":200,"isBase64Encoded":true,"body":"%"}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, Config{HTTPEvents: true})
			f := w.process()
			answer := w.invoke("/", "")
			id, _ := f.next()
			f.respond(id, text)
			get(t, answer).isFault(t, 502, "Runtime.InvalidResponse")
		})
	}
}

func TestHTTPEvents_InvokeAPIIsTheSame(t *testing.T) {
	w := start(t, Config{HTTPEvents: true})
	f := w.process()
	answer := w.invoke(invokePath, `{"x":1}`)
	id, e := f.next()
	e.is(t, 200, `{"x":1}`)
	f.respond(id, `{"statusCode":404}`)
	get(t, answer).is(t, 200, `{"statusCode":404}`)
}
