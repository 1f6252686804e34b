package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/http1"
)

// serveContract gives the call of a contract to Config.Contract, which knows net/http's types, and answers with what it answers. path is
// that of cutRoute. A contract's answer is in memory as a whole: net/http's server would spend more on its connection than all the
// rest of the call does, see heap/latency in bench.
func (p *Proxy) serveContract(x *http1.Exchange, f *function.Function, path []byte) {
	r := requestOf(x)
	r.Header.Del("Host") // net/http keeps it apart
	if x.Length() != 0 {
		r.Body, r.ContentLength = contractBody{x.Body()}, max(x.Length(), -1)
	}
	id := identify(r)
	w := &contractAnswer{x: x, header: make(http.Header)}
	rest, _, _ := bytes.Cut(path, []byte("?"))
	if len(rest) == 0 {
		rest = []byte("/")
	}
	if err := readdress(r, route{rest: string(rest)}, id); err != nil {
		p.fail(w, r, id, err)
		p.logRefused(r, id, err)
	} else {
		p.tell(w.header, id)
		p.cfg.Contract(w, r, f, id.given)
	}
	w.end()
}

// contractBody is the body of an exchange's request, with net/http's errors for those that are told apart.
type contractBody struct{ io.Reader }

func (b contractBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, http1.ErrDeadline) || errors.Is(err, http1.ErrBodyTimeout) {
		err = fmt.Errorf("%w: %w", os.ErrDeadlineExceeded, err)
	}
	return n, err
}

func (contractBody) Close() error { return nil } // what is left is the exchange's to read

// contractAnswer is the answer to an exchange for those who know net/http. It is sent by the write that completes its Content-Length,
// or by end. Interim answers are not known to it.
type contractAnswer struct {
	x      *http1.Exchange
	header http.Header
	status int
	body   []byte // what was written and not sent
	sent   bool
}

// Header is http.ResponseWriter's.
func (w *contractAnswer) Header() http.Header { return w.header }

// WriteHeader is http.ResponseWriter's.
func (w *contractAnswer) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
}

// Write is http.ResponseWriter's.
func (w *contractAnswer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.sent:
		return 0, http.ErrContentLength
	case len(w.body) == 0 && w.length() == int64(len(p)):
		if err := w.send(p); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	w.body = append(w.body, p...)
	return len(p), nil
}

// SetReadDeadline is http.ResponseController's.
func (w *contractAnswer) SetReadDeadline(t time.Time) error {
	w.x.SetDeadline(t)
	return nil
}

// length is what Content-Length says, or -1.
func (w *contractAnswer) length() int64 {
	n, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// end sends what was not.
func (w *contractAnswer) end() {
	if !w.sent {
		w.WriteHeader(http.StatusOK)
		_ = w.send(w.body) // a caller that is gone needs none
	}
}

func (w *contractAnswer) send(body []byte) error {
	w.sent = true
	w.x.SetDeadline(time.Time{}) // of the body
	to, trailers := &w.x.ToClient, w.header["Trailer"]
	for _, name := range slices.Sorted(maps.Keys(w.header)) {
		if ofMessage(name) && !slices.Contains(trailers, name) {
			for _, value := range w.header[name] {
				to.Add(name, value)
			}
		}
	}
	switch {
	case string(w.x.Method) == http.MethodHead:
		length := w.length()
		if length < 0 && len(body) > 0 {
			length = int64(len(body))
		}
		return w.x.AnswerHead(w.status, length)
	case len(trailers) > 0 && hasContentType(w.status):
		var last http1.Edits
		for _, name := range trailers {
			to.Add("Trailer", name)
			for _, value := range w.header[name] {
				last.Add(name, value)
			}
		}
		return w.x.AnswerTrailers(w.status, body, &last)
	}
	return w.x.Answer(w.status, body)
}

// ofMessage tells whether a field is not one of the connection, nor frames the message.
func ofMessage(name string) bool {
	return name != "Content-Length" && !slices.Contains(hopByHop, name)
}
