package invoke

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// errDamaged is a payload that we did not write, or that broke.
var errDamaged = errors.New("a queued payload is damaged")

// QueuedCall is the payload of an invocation: the request that was accepted, as the function is to see it.
type QueuedCall struct {
	Method string `json:"method"`
	// Path is escaped as it came, and Query as well.
	Path   string      `json:"path"`
	Query  string      `json:"query,omitempty"`
	Host   string      `json:"host,omitempty"`
	Header http.Header `json:"header,omitempty"`
	// Name is the function's as the caller wrote it, and Callback where the answer is to be sent.
	Name     string `json:"name"`
	Callback string `json:"callback,omitempty"`
	Body     []byte `json:"-"`
}

// Message is the payload of a message: a request to somebody outside.
type Message struct {
	// Chain messages go to Config.Chain, signed as they leave; others to the URL.
	Chain  bool        `json:"chain,omitempty"`
	URL    string      `json:"url,omitempty"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"-"`
}

// encode puts what is known of a payload, as JSON with its length before it, before the body.
func encode(head any, body []byte) ([]byte, error) {
	text, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	payload := make([]byte, 0, binary.MaxVarintLen64+len(text)+len(body))
	payload = binary.AppendUvarint(payload, uint64(len(text)))
	return append(append(payload, text...), body...), nil
}

// decode undoes encode. The body shares memory with the payload.
func decode(payload []byte, head any) (body []byte, err error) {
	length, n := binary.Uvarint(payload)
	if n <= 0 || length > uint64(len(payload)-n) {
		return nil, errDamaged
	}
	text, body := payload[n:n+int(length)], payload[n+int(length):]
	if err := json.Unmarshal(text, head); err != nil {
		return nil, errors.Join(errDamaged, err)
	}
	return body, nil
}

// DecodeCall reads the payload of an invocation.
func DecodeCall(payload []byte) (c QueuedCall, err error) {
	c.Body, err = decode(payload, &c)
	return c, err
}

// DecodeMessage reads the payload of a message.
func DecodeMessage(payload []byte) (m Message, err error) {
	m.Body, err = decode(payload, &m)
	return m, err
}

// newQueuedCall keeps r, whose body was read.
func newQueuedCall(r *http.Request, body []byte, name string) QueuedCall {
	return QueuedCall{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host, Header: r.Header, Name: name,
		Callback: r.Header.Get(headerCallback), Body: body,
	}
}

// request makes the request again.
func (c QueuedCall) request() (*http.Request, error) {
	path, err := url.PathUnescape(c.Path)
	if err != nil {
		return nil, errors.Join(errDamaged, err)
	}
	r := &http.Request{
		Method: c.Method, URL: &url.URL{Path: path, RawPath: c.Path, RawQuery: c.Query}, Host: c.Host, Header: c.Header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	setBody(r, c.Body)
	return r, nil
}

// item is the call as it is queued.
func (c QueuedCall) item(f *function.Function, callID string) (function.Item, error) {
	payload, err := encode(c, c.Body)
	return function.Item{Function: f.Heap(), CallID: callID, Serial: f.Policy.Serial, Payload: payload}, err
}
