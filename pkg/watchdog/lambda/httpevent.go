package lambda

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// requestEvent is an HTTP request as an event: the payload format 2.0 of Lambda's function URLs.
type requestEvent struct {
	Version               string            `json:"version"`
	RouteKey              string            `json:"routeKey"`
	RawPath               string            `json:"rawPath"`
	RawQueryString        string            `json:"rawQueryString"`
	Cookies               []string          `json:"cookies,omitempty"`
	Headers               map[string]string `json:"headers"`
	QueryStringParameters map[string]string `json:"queryStringParameters,omitempty"`
	RequestContext        requestContext    `json:"requestContext"`
	Body                  string            `json:"body,omitempty"`
	IsBase64Encoded       bool              `json:"isBase64Encoded"`
}

type requestContext struct {
	AccountID    string      `json:"accountId"`
	APIID        string      `json:"apiId"`
	DomainName   string      `json:"domainName"`
	DomainPrefix string      `json:"domainPrefix"`
	RequestID    string      `json:"requestId"`
	RouteKey     string      `json:"routeKey"`
	Stage        string      `json:"stage"`
	Time         string      `json:"time"`
	TimeEpoch    int64       `json:"timeEpoch"`
	HTTP         requestLine `json:"http"`
}

type requestLine struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Protocol  string `json:"protocol"`
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

// httpEvent is the event that a request with this body is.
func httpEvent(r *http.Request, id string, body []byte, now time.Time) []byte {
	const route = "$default"
	prefix, _, _ := strings.Cut(r.Host, ".")
	e := requestEvent{
		Version: "2.0", RouteKey: route, RawPath: r.URL.EscapedPath(), RawQueryString: r.URL.RawQuery,
		Headers: map[string]string{"host": r.Host},
		RequestContext: requestContext{
			AccountID: "anonymous", APIID: prefix, DomainName: r.Host, DomainPrefix: prefix, RequestID: id,
			RouteKey: route, Stage: route, Time: now.UTC().Format("02/Jan/2006:15:04:05 -0700"), TimeEpoch: now.UnixMilli(),
			HTTP: requestLine{Method: r.Method, Path: r.URL.Path, Protocol: r.Proto, SourceIP: sourceIP(r), UserAgent: r.UserAgent()},
		},
	}
	for name, values := range r.Header {
		if name != "Cookie" { // they have a place of their own
			e.Headers[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	for _, line := range r.Header["Cookie"] {
		for cookie := range strings.SplitSeq(line, ";") {
			e.Cookies = append(e.Cookies, strings.TrimSpace(cookie))
		}
	}
	for name, values := range r.URL.Query() {
		if e.QueryStringParameters == nil {
			e.QueryStringParameters = map[string]string{}
		}
		e.QueryStringParameters[name] = strings.Join(values, ",")
	}
	e.Body = string(body)
	if e.IsBase64Encoded = !isText(r.Header.Get("Content-Type"), body); e.IsBase64Encoded {
		e.Body = base64.StdEncoding.EncodeToString(body)
	}
	return mustJSON(e)
}

// sourceIP is the client's address as whoever is in front of us gives it.
func sourceIP(r *http.Request) string {
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ",")
	if first = strings.TrimSpace(first); first != "" {
		return first
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// isText tells whether a body may stand in JSON as it is.
func isText(contentType string, body []byte) bool {
	if !utf8.Valid(body) {
		return false
	}
	t := mediaType(contentType)
	switch t {
	case "", "application/json", "application/xml", "application/javascript":
		return true
	}
	return strings.HasPrefix(t, "text/") || strings.HasSuffix(t, "+json") || strings.HasSuffix(t, "+xml")
}

// responseAnswer is an answer that says what the response shall be. Whatever it leaves out, or sets to null, has a default.
type responseAnswer struct {
	StatusCode      *int           `json:"statusCode"`
	Headers         map[string]any `json:"headers"`
	Cookies         []string       `json:"cookies"`
	Body            string         `json:"body"`
	IsBase64Encoded bool           `json:"isBase64Encoded"`
}

// sendHTTP makes a response out of an answer. One without a status is the response's body.
func (p *Pool) sendHTTP(w http.ResponseWriter, inv *invocation, o *outcome) {
	var probe struct {
		StatusCode json.RawMessage `json:"statusCode"`
	}
	// An answer that is no object has no status.
	if err := json.Unmarshal(o.body, &probe); err != nil || len(probe.StatusCode) == 0 || string(probe.StatusCode) == "null" {
		p.sendWhole(w, inv, o)
		return
	}
	head, body, err := parseAnswer(o.body)
	if err != nil {
		p.sendWhole(w, inv, brokenAnswer(inv, err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	head.set(h)
	p.note(inv, head.StatusCode)
	p.sendReply(w, inv, o, head.StatusCode, h.Get("Content-Type"), body)
}

// parseAnswer takes apart an answer that is known to be JSON.
func parseAnswer(text []byte) (prelude, []byte, error) {
	var a responseAnswer
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // in a header as the function has written it: 1000000, not 1e+06
	if err := decoder.Decode(&a); err != nil {
		return prelude{}, nil, fmt.Errorf("the answer is no response: %w", err)
	}
	if a.StatusCode == nil {
		return prelude{}, nil, errors.New("the answer's status is null")
	}
	head := prelude{StatusCode: *a.StatusCode, Headers: map[string]string{}, Cookies: a.Cookies}
	if head.StatusCode < 200 || head.StatusCode > 999 {
		return prelude{}, nil, fmt.Errorf("the answer's status is %d", head.StatusCode)
	}
	for name, value := range a.Headers {
		if value != nil {
			head.Headers[name] = fmt.Sprint(value)
		}
	}
	if !a.IsBase64Encoded {
		return head, []byte(a.Body), nil
	}
	body, err := base64.StdEncoding.DecodeString(a.Body)
	if err != nil {
		return prelude{}, nil, errors.New("the answer's body is not base64")
	}
	return head, body, nil
}
