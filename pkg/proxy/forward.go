package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httputil"
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
				fail(w, u.in, u.id, err)
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
		_ = http.NewResponseController(u.w).EnableFullDuplex()
	}
	defer func() {
		if u.trip != nil {
			u.trip.end()
		}
	}()
	fw.proxy.ServeHTTP(u.w, out.WithContext(context.WithValue(out.Context(), useKey{}, u)))
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
