package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

const (
	// dialTimeout is for an endpoint whose node is gone and refuses nothing; a pod network connects in well under a
	// millisecond, and a lost SYN is sent again after one second.
	dialTimeout = 2500 * time.Millisecond
	// idleTimeout ends idle connections before endpoints do: one that an endpoint closes as a call is written to it costs
	// that call. Of the servers in common use gunicorn is the least patient, with 2 s. A new connection costs 0.1 ms.
	idleTimeout = 1500 * time.Millisecond
	// idlePerEndpoint bounds the connections kept for the next burst.
	idlePerEndpoint = 1024
)

// newTransport returns the transport to endpoints: plain HTTP/1.1 without proxies, and without the encoding that Go would
// ask for on its own.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &countingConn{TCPConn: conn.(*net.TCPConn)}, nil
		},
		DisableCompression:    true,
		MaxIdleConnsPerHost:   idlePerEndpoint,
		IdleConnTimeout:       idleTimeout,
		ExpectContinueTimeout: time.Second,
	}
}

// countingConn counts the bytes written, which tells whether a request can have reached its endpoint.
type countingConn struct {
	*net.TCPConn
	written atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// ReadFrom is where http.Transport copies bodies to.
func (c *countingConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	c.written.Add(n)
	return n, err
}

// footprint tells whether a request left any on the way to an endpoint.
type footprint struct {
	conn   *countingConn
	before int64
	// connected is when the connection was made; zero if it was there before.
	connected time.Time
}

// watch makes ctx note the connection that the transport picks. From then until the request ends it is the request's
// alone, so that what is written is the request's.
func (f *footprint) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			f.conn = info.Conn.(*countingConn)
			f.before = f.conn.written.Load()
			if !info.Reused {
				f.connected = time.Now()
			}
		},
	})
}

// reached reports whether the endpoint may have seen some of the request.
func (f *footprint) reached() bool {
	return f.conn != nil && f.conn.written.Load() > f.before
}
