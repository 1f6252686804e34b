package watchdog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const (
	heapDialTimeout   = 2 * time.Second
	heapAnswerTimeout = time.Minute // a commit of another invocation may have to end first
	heapIdle          = 16          // connections to providers
)

// heapServer hands the function's requests for its heap on to the provider that called it: package readypush says how.
type heapServer struct {
	token readypush.Token
	proxy httputil.ReverseProxy
}

func newHeapServer(token readypush.Token, log *slog.Logger) *heapServer {
	return &heapServer{token: token, proxy: httputil.ReverseProxy{
		Rewrite: func(*httputil.ProxyRequest) {}, // ServeHTTP made the request what it is to be
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: heapDialTimeout}).DialContext,
			ResponseHeaderTimeout: heapAnswerTimeout,
			MaxIdleConnsPerHost:   heapIdle,
			IdleConnTimeout:       time.Minute,
			DisableCompression:    true,
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, err error) {
			http.Error(rw, "the provider, which has the heap, did not answer: "+err.Error(), http.StatusBadGateway)
		},
	}}
}

// ServeHTTP answers /SEALED/heap/KEY and /SEALED/heap.
func (s *heapServer) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	sealed, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	id, provider, ok := s.token.OpenHeapCall(sealed)
	key, isHeap := strings.CutPrefix(rest, "heap")
	switch {
	case !ok:
		http.Error(rw, "not a heap's URL: it is in the request's header X-Heap-Url, for this call alone", http.StatusNotFound)
		return
	case !isHeap || key != "" && key[0] != '/':
		http.Error(rw, "page not found: ask for heap/KEY, or for heap?prefix=", http.StatusNotFound)
		return
	}
	escaped := readypush.HeapPath + strings.TrimPrefix(key, "/")
	path, err := url.PathUnescape(escaped)
	if err != nil {
		http.Error(rw, "the key cannot be decoded", http.StatusBadRequest)
		return
	}
	out := r.Clone(r.Context())
	out.URL = &url.URL{Scheme: "http", Host: provider.String(), Path: path, RawPath: escaped, RawQuery: r.URL.RawQuery}
	out.Host = ""
	out.Header.Set(readypush.HeapCallHeader, id)
	out.Header.Set(readypush.HeapProofHeader, s.token.HeapProof(id))
	s.proxy.ServeHTTP(rw, out)
}

// run listens on the loopback address until ctx ends.
func (s *heapServer) run(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, ErrorLog: s.proxy.ErrorLog,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	var closed sync.WaitGroup
	closed.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer closed.Done()
		_ = server.Close() // what is still open is of calls that were given their time
	})
	err := server.Serve(ln)
	if stop() {
		closed.Done()
	}
	closed.Wait()
	s.proxy.Transport.(*http.Transport).CloseIdleConnections()
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// listenHeap takes the heap's port. It is taken before the function starts, which may not have it.
func listenHeap(port int) (net.Listener, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("listen for the heap (DC_HEAP_PORT): %w", err)
	}
	return ln, nil
}
