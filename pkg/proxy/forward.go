package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync"
)

// copyBufferBytes is how much of a body is copied at once, as httputil does.
const copyBufferBytes = 32 << 10

// forwarder streams requests to endpoints and answers back, by net/http.
type forwarder struct {
	proxy     httputil.ReverseProxy
	transport *http.Transport
}

// newForwarder returns a forwarder that tells callers by tell what they are told of every call, and hands errors to fail
// before it has written anything.
func newForwarder(log *slog.Logger, tell func(http.Header, identity), fail func(http.ResponseWriter, *http.Request, identity, error)) *forwarder {
	return &forwarder{
		transport: newTransport(),
		proxy: httputil.ReverseProxy{
			Rewrite:   keepAsGiven,
			Transport: callTransport{},
			ModifyResponse: func(answer *http.Response) error {
				u := useOf(answer.Request)
				setContentType(answer, u.in.Header)
				tell(answer.Header, u.id)
				if u.in.Header.Get(headerColdStart) == "1" {
					u.call.cold.each(answer.Header.Set)
				}
				return nil
			},
			ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
				u := useOf(r)
				// It is collected so that its length is known: see serve for what comes after it.
				answer := &errorAnswer{header: w.Header()}
				fail(answer, u.in, u.id, err)
				answer.WriteHeader(http.StatusOK) // if nothing was said
				answer.header.Set("Content-Length", strconv.Itoa(len(answer.body)))
				w.WriteHeader(answer.status)
				_, _ = w.Write(answer.body) // a caller that is gone needs none
			},
			ErrorLog:   slog.NewLogLogger(log.Handler(), slog.LevelDebug),
			BufferPool: &bufferPool{},
		},
	}
}

// use is one use of the forwarder, found by the context of every request on the way.
type use struct {
	id   identity
	call *call
	w    http.ResponseWriter
	in   *http.Request
	trip *trip
}

type useKey struct{}

func useOf(r *http.Request) *use {
	return r.Context().Value(useKey{}).(*use)
}

// serve hands out, which is u.in as the function is to see it, to the endpoint that u.call finds, and answers u.w.
func (fw *forwarder) serve(u *use, out *http.Request) {
	if u.in.ContentLength != 0 && u.in.Header.Get("Expect") == "" {
		// Otherwise the server swallows what is left of a body as soon as the function begins to answer. Where the caller
		// waits to be asked for the body the server does not, and closes the connection instead. An error means that this
		// is not HTTP/1, which needs no leave.
		if http.NewResponseController(u.w).EnableFullDuplex() == nil {
			defer u.readRest()
		}
	}
	defer func() {
		if u.trip != nil {
			u.trip.end()
		}
	}()
	fw.proxy.ServeHTTP(u.w, out.WithContext(context.WithValue(out.Context(), useKey{}, u)))
}

// readRest sends what there is of the answer and reads what is left of the request's body, or gives it up, as the server would itself
// after the handler. But by then it has ended its own reading, begins it anew at the body's end, and panics at the next request.
func (u *use) readRest() {
	if u.trip != nil && u.trip.answer != nil && u.trip.answer.StatusCode == http.StatusSwitchingProtocols {
		return // the connection is not the server's any more
	}
	if http.NewResponseController(u.w).Flush() == nil {
		_ = u.in.Body.Close() // the server asks the same again, and sees to the error
	}
}

// callTransport lets the call of a use make its way.
type callTransport struct{}

func (callTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	u := useOf(r)
	u.trip = newTrip(u.call, r)
	body := u.trip.body
	if r.Header.Get("Expect") == "" {
		// A caller that waits to be asked for the body is asked by the function.
		body.readDeadline = http.NewResponseController(u.w).SetReadDeadline
	}
	answer, err := u.trip.run()
	if body.abandoned {
		// What is left of the body must not be taken for the next request.
		u.w.Header().Set("Connection", "close")
	}
	return answer, err
}

// keepAsGiven undoes what ReverseProxy does to a request beyond removing hop-by-hop headers: the headers are right
// already, and a query that Go cannot parse is the function's to judge.
func keepAsGiven(pr *httputil.ProxyRequest) {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := pr.In.Header[name]; ok {
			pr.Out.Header[name] = values
		}
	}
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery
	pr.Out.Trailer = pr.In.Trailer
}

// bufferPool keeps buffers of copyBufferBytes.
type bufferPool struct{ pool sync.Pool }

func (b *bufferPool) Get() []byte {
	if buf, ok := b.pool.Get().(*[copyBufferBytes]byte); ok {
		return buf[:]
	}
	return make([]byte, copyBufferBytes)
}

func (b *bufferPool) Put(buf []byte) {
	b.pool.Put((*[copyBufferBytes]byte)(buf))
}
