package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/test/freeport"
)

// relayed is a forwarder in front of an endpoint, and what Forward has returned.
type relayed struct {
	testServer
	pool *Pool
	errs chan error
}

// forwardTo serves a forwarder whose requests prepare may change.
func forwardTo(t testing.TB, address string, prepare func(*Exchange)) relayed {
	t.Helper()
	pool, err := NewPool(PoolConfig{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.CloseIdle)
	r := relayed{pool: pool, errs: make(chan error, 1000)}
	r.testServer = startServer(t, ServerConfig{Handler: func(x *Exchange) {
		if prepare != nil {
			prepare(x)
		}
		err := x.Forward(pool, nil, func(x *Exchange, res *Response) { x.ToClient.AddInt("X-Saw", int64(res.Status)) })
		switch {
		case err == nil || x.Begun():
		case errors.Is(err, ErrDeadline):
			x.Answer(http.StatusGatewayTimeout, nil)
		case errors.Is(err, ErrBody):
			x.Answer(http.StatusBadRequest, nil)
		default:
			x.Answer(http.StatusBadGateway, nil)
		}
		r.errs <- err
	}})
	return r
}

// viaNetHTTP is a relayed in front of a handler on net/http.
func viaNetHTTP(t testing.TB, h http.HandlerFunc, prepare func(*Exchange)) relayed {
	t.Helper()
	endpoint := httptest.NewServer(h)
	t.Cleanup(endpoint.Close)
	return forwardTo(t, endpoint.Listener.Addr().String(), prepare)
}

// rawEndpoint hands each connection to f.
func rawEndpoint(t testing.TB, f func(net.Conn, *bufio.Reader)) string {
	ln := listen(t)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				f(conn, bufio.NewReader(conn))
			}()
		}
	}()
	return ln.Addr().String()
}

// readHeadText reads one head as it is on the wire.
func readHeadText(r *bufio.Reader) string {
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		if head.WriteString(line); err != nil || line == "\r\n" {
			return head.String()
		}
	}
}

func TestForward_HeadsOnTheWire(t *testing.T) {
	for _, r := range []struct {
		name, request, want string
		prepare             func(*Exchange)
	}{
		{name: "as sent", request: "GET /a%2F//b?q HTTP/1.1\nHost: h:1\nx-Lower: 1\nX-Many: 1\nX-Many: 2\n\n",
			want: "GET /a%2F//b?q HTTP/1.1\nHost: h:1\nx-Lower: 1\nX-Many: 1\nX-Many: 2\n\n"},
		{name: "fields of the connection", request: "GET / HTTP/1.1\nHost: h\nConnection: close, X-Hop, Host, Content-Length\nX-Hop: 1\nKeep-Alive: 1\n" +
			"Proxy-Connection: x\nProxy-Authorization: secret\nUpgrade: h2c\nTE: trailers, deflate\nTrailer: A\nContent-Length: 0\n\n",
			want: "GET / HTTP/1.1\nHost: h\nTE: trailers\nContent-Length: 0\n\n"},
		{name: "1.0 without a host", request: "GET / HTTP/1.0\n\n", want: "GET / HTTP/1.1\nHost: ADDRESS\n\n"},
		{name: "chunked", request: "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\nTrailer: A\n\n3;x\nabc\n2\nde\n0\nA: 1\nHost: x\n\n",
			want: "POST / HTTP/1.1\nHost: h\nTrailer: A\nTransfer-Encoding: chunked\n\n5\nabcde\n0\nA: 1\n\n"},
		{name: "one length of two", request: "POST / HTTP/1.1\nHost: h\nContent-Length: 3\nContent-Length: 3\n\nabc",
			want: "POST / HTTP/1.1\nHost: h\nContent-Length: 3\n\nabc"},
		{name: "edits", request: "GET / HTTP/1.1\nHost: h\nA: 1\nB: 2\na: 3\n\n", want: "GET / HTTP/1.1\nHost: h\nB: 2\nA: 4\nC: 5\n\n",
			prepare: func(x *Exchange) { x.ToEndpoint.Set("A", "4"); x.ToEndpoint.AddInt("C", 5) }},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := make(chan string, 1)
			address := rawEndpoint(t, func(conn net.Conn, b *bufio.Reader) {
				want := strings.ReplaceAll(wire(r.want), "ADDRESS", conn.LocalAddr().String())
				buf := make([]byte, len(want))
				n, _ := io.ReadFull(b, buf)
				got <- string(buf[:n])
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			})
			f := forwardTo(t, address, r.prepare)
			conn := f.dial(t)
			io.WriteString(conn, wire(r.request))
			want := strings.ReplaceAll(wire(r.want), "ADDRESS", address)
			if head := <-got; head != want {
				t.Errorf("got\n%q, want\n%q", head, want)
			}
			get(t, bufio.NewReader(conn), "GET")
		})
	}
}

func TestForward_AnswersOnTheWire(t *testing.T) {
	for _, r := range []struct{ name, request, answer, want string }{
		{"length", "GET / HTTP/1.1\nHost: h\n\n", "HTTP/1.1 299 Fine, thanks\nDate: d\nConnection: x-hop, keep-alive\nX-Hop: 1\nX-Hops: 2\nKeep-Alive: 5\nContent-Length: 3\n\nabc",
			"HTTP/1.1 299 Fine, thanks\nDate: d\nX-Hops: 2\nX-Saw: 299\nContent-Length: 3\n\nabc"},
		{"chunked with trailers", "GET / HTTP/1.1\nHost: h\n\n", "HTTP/1.1 200 OK\nDate: d\nTransfer-Encoding: chunked\nTrailer: A\n\n3\nabc\n3;x\ndef\n0\nA: 1\nContent-Length: 7\n\n",
			"HTTP/1.1 200 OK\nDate: d\nTrailer: A\nX-Saw: 200\nTransfer-Encoding: chunked\n\n6\nabcdef\n0\nA: 1\n\n"},
		{"until close", "GET / HTTP/1.1\nHost: h\n\n", "HTTP/1.0 200 OK\nDate: d\n\nabc", "HTTP/1.1 200 OK\nDate: d\nX-Saw: 200\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n"},
		{"chunked to 1.0", "GET / HTTP/1.0\nConnection: keep-alive\n\n", "HTTP/1.1 200 OK\nDate: d\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n",
			"HTTP/1.1 200 OK\nDate: d\nX-Saw: 200\nConnection: close\n\nabc"},
		{"HEAD", "HEAD / HTTP/1.1\nHost: h\n\n", "HTTP/1.1 200 OK\nDate: d\nContent-Length: 3\n\n", "HTTP/1.1 200 OK\nDate: d\nX-Saw: 200\nContent-Length: 3\n\n"},
		{"HEAD of chunks", "HEAD / HTTP/1.1\nHost: h\n\n", "HTTP/1.1 200 OK\nDate: d\nTransfer-Encoding: chunked\n\n", "HTTP/1.1 200 OK\nDate: d\nX-Saw: 200\n\n"},
		{"204", "GET / HTTP/1.1\nHost: h\n\n", "HTTP/1.1 204 No Content\nDate: d\nContent-Length: 3\n\n", "HTTP/1.1 204 No Content\nDate: d\nX-Saw: 204\n\n"},
		{"304", "GET / HTTP/1.1\nHost: h\n\n", "HTTP/1.1 304 Not Modified\nDate: d\nContent-Length: 3\n\n",
			"HTTP/1.1 304 Not Modified\nDate: d\nX-Saw: 304\nContent-Length: 3\n\n"},
		{"early hints", "GET / HTTP/1.1\nHost: h\n\n", "HTTP/1.1 103 Early Hints\nLink: l\nConnection: x\nX: 1\n\nHTTP/1.1 200 OK\nDate: d\nContent-Length: 0\n\n",
			"HTTP/1.1 103 Early Hints\nLink: l\n\nHTTP/1.1 200 OK\nDate: d\nX-Saw: 200\nContent-Length: 0\n\n"},
		{"early hints to 1.0", "GET / HTTP/1.0\n\n", "HTTP/1.1 103 Early Hints\nLink: l\n\nHTTP/1.1 200 OK\nDate: d\nContent-Length: 0\n\n",
			"HTTP/1.1 200 OK\nDate: d\nX-Saw: 200\nContent-Length: 0\nConnection: close\n\n"},
		{"closing", "GET / HTTP/1.1\nHost: h\nConnection: close\n\n", "HTTP/1.1 200 OK\nDate: d\nContent-Length: 0\n\n",
			"HTTP/1.1 200 OK\nDate: d\nX-Saw: 200\nContent-Length: 0\nConnection: close\n\n"},
	} {
		t.Run(r.name, func(t *testing.T) {
			f := forwardTo(t, answerOnce(t, wire(r.answer)), nil)
			conn := f.dial(t)
			io.WriteString(conn, wire(r.request))
			conn.CloseWrite() // short as it is, the exchange is over before that is taken for leaving
			if got, err := io.ReadAll(conn); string(got) != wire(r.want) || err != nil {
				t.Errorf("got\n%q, %v, want\n%q", got, err, wire(r.want))
			}
		})
	}
}

func TestForward_ConnectionsAreKept(t *testing.T) {
	var opened atomic.Int32
	address := rawEndpoint(t, func(conn net.Conn, b *bufio.Reader) {
		opened.Add(1)
		for strings.HasPrefix(readHeadText(b), "GET") {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
		}
	})
	f := forwardTo(t, address, nil)
	conn := f.dial(t)
	answers := bufio.NewReader(conn)
	for range 50 {
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, body := get(t, answers, "GET"); body != "abc" {
			t.Fatalf("%q", body)
		}
		if err := <-f.errs; err != nil {
			t.Fatal(err)
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A connection that the endpoint has closed, or has said something on, costs no request.
func TestForward_StaleConnections(t *testing.T) {
	for name, spoil := range map[string]func(net.Conn){
		"closed":      func(c net.Conn) { c.Close() },
		"reset":       func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() },
		"half closed": func(c net.Conn) { c.(*net.TCPConn).CloseWrite() },
		"said more":   func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil") },
	} {
		t.Run(name, func(t *testing.T) {
			next, spoiled := make(chan struct{}), make(chan struct{})
			address := rawEndpoint(t, func(conn net.Conn, b *bufio.Reader) {
				readHeadText(b)
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
				<-next
				spoil(conn)
				spoiled <- struct{}{}
				io.Copy(io.Discard, b)
			})
			f := forwardTo(t, address, nil)
			conn := f.dial(t)
			answers := bufio.NewReader(conn)
			for range 5 {
				io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\n\r\n")
				if res, body := get(t, answers, "POST"); body != "good" {
					t.Fatalf("%+v %q", res, body)
				}
				<-f.errs // when it is in the pool
				next <- struct{}{}
				<-spoiled
			}
		})
	}
}

func TestForward_NotReached(t *testing.T) {
	f := forwardTo(t, refusing(t), nil)
	conn := f.dial(t)
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
	if res, _ := get(t, bufio.NewReader(conn), "POST"); res.StatusCode != 502 {
		t.Errorf("%+v", res)
	}
	if err := <-f.errs; !errors.Is(err, ErrNotReached) {
		t.Error(err)
	}
}

// A request that reached nobody is sent whole to another, its body included, however long that is.
func TestForward_Again(t *testing.T) {
	dead, err := NewPool(PoolConfig{Address: refusing(t)})
	if err != nil {
		t.Fatal(err)
	}
	f := viaNetHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
	}, func(x *Exchange) {
		if err := x.Forward(dead, nil, nil); !errors.Is(err, ErrNotReached) {
			t.Error(err)
		}
	})
	for _, size := range []int{0, 3, 8000, 100_000, 3_000_000} {
		for _, coding := range []string{"length", "chunked"} {
			body := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
			var reader io.Reader = bytes.NewReader(body)
			if coding == "chunked" {
				reader = io.MultiReader(reader)
			}
			res, err := http.Post("http://"+f.address, "", reader)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			if !bytes.Equal(got, body) || err != nil {
				t.Errorf("%d bytes, %s: %d, %v", size, coding, len(got), err)
			}
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestForward_BigBodiesBothWaysAtOnce(t *testing.T) {
	f := viaNetHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		if r.ContentLength > 0 {
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		buf := make([]byte, 10_000)
		io.CopyBuffer(struct{ io.Writer }{w}, r.Body, buf)
	}, nil)
	const size = 32 << 20
	for _, chunked := range []bool{false, true} {
		sent, got := sha256.New(), sha256.New()
		req, _ := http.NewRequest("POST", "http://"+f.address, io.TeeReader(io.LimitReader(pattern{}, size), sent))
		if !chunked {
			req.ContentLength = size
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(got, res.Body); n != size || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		res.Body.Close()
		if !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
			t.Error("the body has changed on its way")
		}
		if err := <-f.errs; err != nil {
			t.Error(err)
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

type pattern struct{}

func (pattern) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * 7)
	}
	return len(p), nil
}

// The answer begins before the request ends, and every piece is on its way at once.
func TestForward_PiecesAreFlushed(t *testing.T) {
	f := viaNetHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		for buf := make([]byte, 100); ; {
			rc.Flush()
			n, err := r.Body.Read(buf)
			w.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}, nil)
	conn := f.dial(t)
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	answers := bufio.NewReader(conn)
	res, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(res.Body)
	for range 3 {
		io.WriteString(conn, "3\r\nab\n\r\n")
		if line, err := lines.ReadString('\n'); line != "ab\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	io.WriteString(conn, "0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	get(t, answers, "GET") // the connection goes on
}

// An endpoint that answers without waiting for the body ends its upload, and the client gets the answer.
func TestForward_EarlyAnswer(t *testing.T) {
	for name, closes := range map[string]bool{"endpoint stays": false, "endpoint closes": true} {
		t.Run(name, func(t *testing.T) {
			address := rawEndpoint(t, func(conn net.Conn, b *bufio.Reader) {
				readHeadText(b)
				io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
				if !closes {
					io.Copy(io.Discard, conn)
				}
			})
			f := forwardTo(t, address, nil)
			conn := f.dial(t)
			io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nabc")
			answers := bufio.NewReader(conn)
			if res, body := get(t, answers, "POST"); res.StatusCode != 413 || body != "big" {
				t.Errorf("%+v, %q", res, body)
			}
			if rest, err := io.ReadAll(answers); len(rest) > 0 || err != nil {
				t.Errorf("%q, %v", rest, err)
			}
			if err := <-f.errs; err != nil {
				t.Error(err)
			}
		})
	}
}

// A client that leaves ends its exchange and the connection to the endpoint.
func TestForward_ClientGone(t *testing.T) {
	for name, request := range map[string]string{
		"waiting":   "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"uploading": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\nabc",
		"chunks":    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			began, ended := make(chan struct{}), make(chan struct{})
			address := rawEndpoint(t, func(conn net.Conn, b *bufio.Reader) {
				readHeadText(b)
				began <- struct{}{}
				io.Copy(io.Discard, b)
				ended <- struct{}{}
			})
			f := forwardTo(t, address, nil)
			conn := f.dial(t)
			io.WriteString(conn, request)
			<-began
			conn.Close()
			<-ended
			if err := <-f.errs; err != ErrClientGone {
				t.Error(err)
			}
		})
	}
}

func TestForward_ClientGoneWhileAnswered(t *testing.T) {
	address := rawEndpoint(t, func(conn net.Conn, b *bufio.Reader) {
		readHeadText(b)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		io.Copy(conn, pattern{})
	})
	f := forwardTo(t, address, nil)
	conn := f.dial(t)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	io.CopyN(io.Discard, conn, 1<<20)
	conn.Close()
	if err := <-f.errs; err != ErrClientGone {
		t.Error(err)
	}
}

func TestForward_MalformedBody(t *testing.T) {
	began := make(chan struct{}, 1)
	address := rawEndpoint(t, func(conn net.Conn, b *bufio.Reader) {
		readHeadText(b)
		began <- struct{}{}
		io.Copy(io.Discard, b)
	})
	f := forwardTo(t, address, nil)
	conn := f.dial(t)
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	<-began
	io.WriteString(conn, "x\r\n")
	if res, _ := get(t, bufio.NewReader(conn), "POST"); res.StatusCode != 400 || !res.Close {
		t.Errorf("%+v", res)
	}
	if err := <-f.errs; !errors.Is(err, ErrBody) {
		t.Error(err)
	}
}

func TestForward_Continue(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
	t.Run("asked", func(t *testing.T) {
		f := viaNetHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Expect") == "" {
				t.Error("the endpoint was not told")
			}
			io.Copy(w, r.Body)
		}, nil)
		conn := f.dial(t)
		answers := bufio.NewReader(conn)
		for range 3 {
			io.WriteString(conn, head)
			if line := readHeadText(answers); line != "HTTP/1.1 100 Continue\r\n\r\n" {
				t.Fatalf("%q", line)
			}
			io.WriteString(conn, "abc")
			if _, body := get(t, answers, "POST"); body != "abc" {
				t.Errorf("%q", body)
			}
		}
	})
	t.Run("refused", func(t *testing.T) {
		f := viaNetHTTP(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) }, nil)
		conn := f.dial(t)
		io.WriteString(conn, head)
		if res, _ := get(t, bufio.NewReader(conn), "POST"); res.StatusCode != 403 || !res.Close {
			t.Errorf("%+v", res)
		}
	})
	t.Run("endpoint says nothing", func(t *testing.T) {
		address := rawEndpoint(t, func(conn net.Conn, b *bufio.Reader) {
			readHeadText(b)
			body := make([]byte, 3)
			io.ReadFull(b, body)
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n%s", body)
		})
		conn := forwardTo(t, address, nil).dial(t)
		answers := bufio.NewReader(conn)
		io.WriteString(conn, head)
		readHeadText(answers)
		io.WriteString(conn, "abc")
		if _, body := get(t, answers, "POST"); body != "abc" {
			t.Errorf("%q", body)
		}
	})
}

func TestForward_Deadline(t *testing.T) {
	ended := make(chan struct{}, 1)
	silent := rawEndpoint(t, func(conn net.Conn, b *bufio.Reader) {
		io.Copy(io.Discard, b)
		ended <- struct{}{}
	})
	f := forwardTo(t, silent, func(x *Exchange) { x.SetDeadline(time.Now().Add(500 * time.Millisecond)) })
	for _, request := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\nabc"} {
		conn := f.dial(t)
		io.WriteString(conn, request)
		if res, _ := get(t, bufio.NewReader(conn), "GET"); res.StatusCode != 504 {
			t.Errorf("%+v", res)
		}
		<-ended
		if err := <-f.errs; err != ErrDeadline {
			t.Error(err)
		}
	}
	t.Run("answer not read", func(t *testing.T) {
		endless := rawEndpoint(t, func(conn net.Conn, b *bufio.Reader) {
			readHeadText(b)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			io.Copy(conn, pattern{})
		})
		f := forwardTo(t, endless, func(x *Exchange) { x.SetDeadline(time.Now().Add(500 * time.Millisecond)) })
		conn := f.dial(t)
		conn.SetReadBuffer(4 << 10)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if err := <-f.errs; err != ErrDeadline {
			t.Error(err)
		}
	})
}

// Many clients, endpoints that come and go, bodies of all kinds: nothing is mixed up, and nothing stays behind.
func TestForward_Stress(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	t.Run("run", func(t *testing.T) {
		f := viaNetHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex()
			if r.URL.Path == "/close" {
				w.Header().Set("Connection", "close")
			}
			io.Copy(w, r.Body)
		}, nil)
		var clients sync.WaitGroup
		for c := range 8 {
			clients.Go(func() {
				client := &http.Client{Transport: &http.Transport{}}
				defer client.CloseIdleConnections()
				for i := range 60 {
					text := strings.Repeat(fmt.Sprintf("%d-%d,", c, i), 1+i*i*5)
					var body io.Reader = strings.NewReader(text)
					if i%3 == 0 {
						body = io.MultiReader(body)
					}
					ctx, cancel := context.WithCancel(context.Background())
					req, _ := http.NewRequestWithContext(ctx, "POST", "http://"+f.address+[]string{"/", "/close"}[i%2], body)
					if i%7 == 0 {
						time.AfterFunc(time.Duration(i)*10*time.Microsecond, cancel)
					}
					res, err := client.Do(req)
					if err == nil {
						var got []byte
						got, err = io.ReadAll(res.Body)
						res.Body.Close()
						if err == nil && string(got) != text {
							t.Errorf("%d bytes for %d", len(got), len(text))
						}
					}
					if err != nil && ctx.Err() == nil {
						t.Errorf("%d: %v", i, err)
					}
					cancel()
				}
			})
		}
		clients.Wait()
	})
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d\n%s", runtime.NumGoroutine(), goroutines, buf[:runtime.Stack(buf, true)])
		}
	}
}

func TestPool_IdleConnectionsAreClosed(t *testing.T) {
	closed := make(chan struct{}, 1)
	address := rawEndpoint(t, func(conn net.Conn, b *bufio.Reader) {
		readHeadText(b)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		io.Copy(io.Discard, b)
		closed <- struct{}{}
	})
	f := forwardTo(t, address, nil)
	f.pool.cfg.IdleTimeout = 20 * time.Millisecond
	conn := f.dial(t)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	get(t, bufio.NewReader(conn), "GET")
	<-closed
}

func TestPool_NotTCP(t *testing.T) {
	if _, err := NewPool(PoolConfig{}); err == nil {
		t.Error("a pool without an address")
	}
	p, err := NewPool(PoolConfig{Address: "x:1", Dial: func(context.Context) (net.Conn, error) {
		ours, _ := net.Pipe()
		return ours, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.dial(context.Background()); err == nil {
		t.Error("a pipe was taken for a TCP connection")
	}
}

// Closing at any moment ends everything, whatever the connections are about: nothing stays behind, and no wait is for ever.
func TestServer_CloseStress(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	address := rawEndpoint(t, func(conn net.Conn, b *bufio.Reader) {
		for {
			head := readHeadText(b)
			switch {
			case head == "":
				return
			case strings.HasPrefix(head, "GET /hang"):
				io.Copy(io.Discard, b)
				return
			case strings.HasPrefix(head, "GET /endless"):
				io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
				io.Copy(conn, pattern{})
				return
			case strings.HasPrefix(head, "POST"):
				io.Copy(conn, b)
				return
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	requests := []string{
		"", "GET", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET /hang HTTP/1.1\r\nHost: x\r\n\r\n", "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "bad\r\n\r\n", "GET /pass HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
	}
	for round := range 30 {
		pool, err := NewPool(PoolConfig{Address: address})
		if err != nil {
			t.Fatal(err)
		}
		rest := &http.Server{Handler: http.NotFoundHandler()}
		s, err := NewServer(ServerConfig{Rest: rest, Handler: func(x *Exchange) {
			if string(x.Target) == "/pass" {
				x.Pass()
				return
			}
			x.Forward(pool, nil, nil)
		}})
		if err != nil {
			t.Fatal(err)
		}
		ln := listen(t)
		done := make(chan error, 1)
		go func() { done <- s.Serve(ln) }()
		var clients sync.WaitGroup
		for i := range 3 * len(requests) {
			clients.Go(func() {
				conn, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					return // it is closed already
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				for range 20 {
					io.WriteString(conn, requests[i%len(requests)])
					if n, err := conn.Read(make([]byte, 100)); n == 0 || err != nil {
						return
					}
				}
			})
		}
		time.Sleep(time.Duration(round) * time.Millisecond) // any moment will do
		s.Close()
		rest.Close()
		if err := <-done; err != ErrServerClosed {
			t.Error(err)
		}
		clients.Wait()
		pool.CloseIdle()
	}
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > goroutines+1; time.Sleep(time.Millisecond) { // the endpoint's
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d\n%s", runtime.NumGoroutine(), goroutines, buf[:runtime.Stack(buf, true)])
		}
	}
}

// What was added to an answer that turned out to be none is not added to the one that says so.
func TestForward_AnswerTakenBack(t *testing.T) {
	f := forwardTo(t, answerOnce(t, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc"), func(x *Exchange) { x.ToClient.Add("X-Mine", "1") })
	conn := f.dial(t)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if res, _ := get(t, bufio.NewReader(conn), "GET"); res.StatusCode != 502 || res.Header.Get("X-Saw") != "" || res.Header.Get("X-Mine") != "1" {
		t.Errorf("%+v", res)
	}
	if err := <-f.errs; !errors.Is(err, ErrNoAnswer) {
		t.Error(err)
	}
}

// A body of the handler's own goes with its length, and without what spoke of the client's.
func TestForward_SetBody(t *testing.T) {
	heads := make(chan string, 1)
	bodies := make(chan string, 1)
	address := rawEndpoint(t, func(c net.Conn, r *bufio.Reader) {
		heads <- readHeadText(r)
		body := make([]byte, 200_000)
		n, _ := io.ReadFull(r, body)
		bodies <- string(body[:n])
		io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	})
	nobody, err := NewPool(PoolConfig{Address: refusing(t)})
	if err != nil {
		t.Fatal(err)
	}
	failing := false
	srv := forwardTo(t, address, func(x *Exchange) {
		if _, err := io.ReadAll(x.Body()); err != nil {
			t.Error(err)
		}
		own := io.Reader(strings.NewReader(strings.Repeat("y", 200_000)))
		if failing {
			own = io.LimitReader(own, 100_000)
		}
		x.SetBody(own, 200_000)
		if err := x.Forward(nobody, nil, nil); !errors.Is(err, ErrNotReached) {
			t.Errorf("nobody: %v", err)
		}
	})
	request := "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\nExpect: 100-continue\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n"
	for _, failing = range []bool{false, true} {
		want, length, whole := "HTTP/1.1 200 OK", 200_000, error(nil)
		if failing {
			want, length, whole = "HTTP/1.1 502 Bad Gateway", 100_000, ErrNoAnswer
		}
		conn := srv.dial(t)
		io.WriteString(conn, request)
		if got := readHeadText(bufio.NewReader(conn)); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %s", got, want)
		}
		if got := <-heads; got != "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" {
			t.Errorf("%q", got)
		}
		if got := <-bodies; got != strings.Repeat("y", length) {
			t.Errorf("%d bytes, want %d", len(got), length)
		}
		if err := <-srv.errs; !errors.Is(err, whole) {
			t.Errorf("%v, want %v", err, whole)
		}
	}
}

// What a Handler may log of a call: whether it had to connect, and how much was answered.
func TestForward_IsMeasured(t *testing.T) {
	for _, length := range []int{0, 100, 100 << 10} {
		for _, framing := range []string{"length", "chunked"} {
			endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if framing == "chunked" {
					w.(http.Flusher).Flush()
				}
				w.Write(make([]byte, length))
			}))
			defer endpoint.Close()
			pool, err := NewPool(PoolConfig{Address: endpoint.Listener.Addr().String()})
			if err != nil {
				t.Fatal(err)
			}
			defer pool.CloseIdle()
			type measured struct {
				connected bool
				bytes     int64
			}
			saw := make(chan measured, 1)
			s := startServer(t, ServerConfig{Handler: func(x *Exchange) {
				if err := x.Forward(pool, nil, nil); err != nil {
					t.Error(err)
				}
				saw <- measured{x.Dialed() > 0, x.AnswerBytes()}
			}})
			conn := s.dial(t)
			answers := bufio.NewReader(conn)
			for _, connected := range []bool{true, false} {
				io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				get(t, answers, "GET")
				if got := <-saw; got != (measured{connected, int64(length)}) {
					t.Errorf("%d bytes, %s: %+v, want connected %v", length, framing, got, connected)
				}
			}
		}
	}
	// Nothing is left of an answer that the next call has not had.
	pool, err := NewPool(PoolConfig{Address: refusing(t)})
	if err != nil {
		t.Fatal(err)
	}
	saw := make(chan bool, 1)
	s := startServer(t, ServerConfig{Handler: func(x *Exchange) {
		err := x.Forward(pool, nil, nil)
		saw <- errors.Is(err, ErrNotReached) && x.Dialed() > 0 && x.AnswerBytes() == 0
		x.Answer(http.StatusBadGateway, nil)
	}})
	conn := s.dial(t)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if !<-saw {
		t.Error("a refused connection is not measured as one")
	}
}

// refusing is an address that nobody listens on.
func refusing(t *testing.T) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(freeport.Reserve(t)))
}

// Where processors are short, the goroutine that has sent the body may end long after the answer. The body is whole all the same:
// nobody has told the client that the connection ends, and its next request may be there.
func TestForward_BodySentByALateGoroutine(t *testing.T) {
	pool, err := NewPool(PoolConfig{Address: listen(t).Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	saw := make(chan bool, 1)
	s := startServer(t, ServerConfig{Handler: func(x *Exchange) {
		e, err := pool.dial(x.Context())
		if err != nil {
			t.Error(err)
			return
		}
		x.conn.endpoint.Store(e)
		u := &upload{done: make(chan struct{})}
		x.upload = u
		go func() {
			defer close(u.done)
			for x.conn.endpoint.Load() != nil { // until there is no more patience with it
				time.Sleep(time.Millisecond)
			}
		}()
		whole, bodyErr := x.joinUpload(nil)
		saw <- whole && bodyErr == nil
		x.Answer(http.StatusOK, nil)
	}})
	conn := s.dial(t)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	get(t, bufio.NewReader(conn), "GET")
	if !<-saw {
		t.Error("a body that was sent whole is taken for one that was not")
	}
}
