package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen. It is never waited out in a passing test.
const patience = 20 * time.Second

// strictRows are requests and what they are answered; whatever is refused closes the connection. The head is sent as it is, with \n
// for CR LF.
var strictRows = []struct {
	name, request string
	status        int
}{
	{"plain", "GET / HTTP/1.1\nHost: x\n\n", 200},
	{"no blank after the colon", "GET / HTTP/1.1\nHost:x\n\n", 200},
	{"blanks around a value", "GET / HTTP/1.1\nHost: \t x \t \n\n", 200},
	{"empty value", "GET / HTTP/1.1\nHost: x\nX-Empty:\n\n", 200},
	{"UTF-8 in a value", "GET / HTTP/1.1\nHost: x\nX-Name: \xc3\xa4\n\n", 200},
	{"odd method", "PURGE!x / HTTP/1.1\nHost: x\n\n", 200},
	{"1.0", "GET / HTTP/1.0\n\n", 200},
	{"body", "POST / HTTP/1.1\nHost: x\nContent-Length: 3\n\nabc", 200},
	{"chunked body", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", 200},
	{"chunked in capitals", "POST / HTTP/1.1\nHost: x\nTRANSFER-ENCODING: CHUNKED\n\n3;ext=\"x\"\nabc\n00\nX-T: 1\n\n", 200},
	{"equal lengths", "POST / HTTP/1.1\nHost: x\nContent-Length: 3\nContent-Length: 3\n\nabc", 200},
	{"IPv6 host", "GET / HTTP/1.1\nHost: [::1]:80\n\n", 200},

	{"empty line first", "\nGET / HTTP/1.1\nHost: x\n\n", 400},
	{"no request at all", "\x16\x03\x01", 400},
	{"bare LF", "GET / HTTP/1.1\x00LFHost: x\n\n", 400},
	{"bare LF in the head", "GET / HTTP/1.1\nHost: x\x00LF\n", 400},
	{"bare CR in the line", "GET /\r HTTP/1.1\nHost: x\n\n", 400},
	{"bare CR in a value", "GET / HTTP/1.1\nHost: x\nA: b\rc\n\n", 400},
	{"CR CR LF", "GET / HTTP/1.1\r\nHost: x\n\n", 400},
	{"NUL in a value", "GET / HTTP/1.1\nHost: x\nA: b\x00\n\n", 400},
	{"DEL in a value", "GET / HTTP/1.1\nHost: x\nA: \x7f\n\n", 400},
	{"two blanks", "GET  / HTTP/1.1\nHost: x\n\n", 400},
	{"blank in the target", "GET /a b HTTP/1.1\nHost: x\n\n", 400},
	{"tab for a blank", "GET\t/ HTTP/1.1\nHost: x\n\n", 400},
	{"blank first", " GET / HTTP/1.1\nHost: x\n\n", 400},
	{"blank last", "GET / HTTP/1.1 \nHost: x\n\n", 400},
	{"no version", "GET /\nHost: x\n\n", 400},
	{"only a method", "GET\n\n", 400},
	{"bad method", "G(T / HTTP/1.1\nHost: x\n\n", 400},
	{"control in the target", "GET /\x01 HTTP/1.1\nHost: x\n\n", 400},
	{"fragment in the target", "GET /#a HTTP/1.1\nHost: x\n\n", 400},
	{"bad escape", "GET /%zz HTTP/1.1\nHost: x\n\n", 400},
	{"cut escape", "GET /%2 HTTP/1.1\nHost: x\n\n", 400},
	{"bad version", "GET / HTTX/1.1\nHost: x\n\n", 400},
	{"lower case version", "GET / http/1.1\nHost: x\n\n", 400},
	{"version 1.2", "GET / HTTP/1.2\nHost: x\n\n", 505},
	{"version 2.0", "GET / HTTP/2.0\nHost: x\n\n", 505},
	{"version 0.9", "GET / HTTP/0.9\n\n", 505},
	{"long version", "GET / HTTP/1.10\nHost: x\n\n", 400},
	{"no host", "GET / HTTP/1.1\n\n", 400},
	{"empty host", "GET / HTTP/1.1\nHost:\n\n", 400},
	{"two hosts", "GET / HTTP/1.1\nHost: x\nHost: x\n\n", 400},
	{"two hosts in 1.0", "GET / HTTP/1.0\nHost: x\nHost: y\n\n", 400},
	{"path in host", "GET / HTTP/1.1\nHost: x/y\n\n", 400},
	{"user in host", "GET / HTTP/1.1\nHost: u@x\n\n", 400},
	{"list of hosts", "GET / HTTP/1.1\nHost: x, y\n\n", 400},
	{"bad port", "GET / HTTP/1.1\nHost: x:8a\n\n", 400},
	{"port alone", "GET / HTTP/1.1\nHost: :80\n\n", 400},
	{"open bracket", "GET / HTTP/1.1\nHost: [::1\n\n", 400},
	{"fold", "GET / HTTP/1.1\nHost: x\nA: b\n c\n\n", 400},
	{"fold with a colon", "GET / HTTP/1.1\nHost: x\n A: b\n\n", 400},
	{"fold of the line", "GET / HTTP/1.1\n Host: x\n\n", 400},
	{"blank before the colon", "GET / HTTP/1.1\nHost: x\nA : b\n\n", 400},
	{"blank before length's colon", "POST / HTTP/1.1\nHost: x\nContent-Length : 3\n\nabc", 400},
	{"no name", "GET / HTTP/1.1\nHost: x\n: b\n\n", 400},
	{"no colon", "GET / HTTP/1.1\nHost: x\nabc\n\n", 400},
	{"bad name", "GET / HTTP/1.1\nHost: x\nA(b): c\n\n", 400},
	{"NUL in a name", "GET / HTTP/1.1\nHost: x\nA\x00: c\n\n", 400},
	{"UTF-8 in a name", "GET / HTTP/1.1\nHost: x\n\xc3\xa4: c\n\n", 400},
	{"length and coding", "POST / HTTP/1.1\nHost: x\nContent-Length: 3\nTransfer-Encoding: chunked\n\n0\n\n", 400},
	{"coding and length", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\nContent-Length: 3\n\n0\n\n", 400},
	{"other lengths", "POST / HTTP/1.1\nHost: x\nContent-Length: 3\nContent-Length: 4\n\nabcd", 400},
	{"equal lengths, differently", "POST / HTTP/1.1\nHost: x\nContent-Length: 3\nContent-Length: 03\n\nabc", 400},
	{"list of lengths", "POST / HTTP/1.1\nHost: x\nContent-Length: 3, 3\n\nabc", 400},
	{"negative length", "POST / HTTP/1.1\nHost: x\nContent-Length: -3\n\nabc", 400},
	{"length with a sign", "POST / HTTP/1.1\nHost: x\nContent-Length: +3\n\nabc", 400},
	{"length in hex", "POST / HTTP/1.1\nHost: x\nContent-Length: 0x3\n\nabc", 400},
	{"length too large", "POST / HTTP/1.1\nHost: x\nContent-Length: 99999999999999999999\n\nabc", 400},
	{"empty length", "POST / HTTP/1.1\nHost: x\nContent-Length:\n\nabc", 400},
	{"length of two words", "POST / HTTP/1.1\nHost: x\nContent-Length: 1 2\n\nabc", 400},
	{"coding twice", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\n", 400},
	{"list of codings", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: gzip, chunked\n\n0\n\n", 501},
	{"chunked twice", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked, chunked\n\n0\n\n", 501},
	{"identity", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: identity\n\n", 501},
	{"almost chunked", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: xchunked\n\n0\n\n", 501},
	{"chunked and vertical tab", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: \x0bchunked\n\n0\n\n", 400},
	{"quoted chunked", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: \"chunked\"\n\n0\n\n", 501},
	{"empty coding", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding:\n\n0\n\n", 501},
	{"coding in 1.0", "POST / HTTP/1.0\nHost: x\nTransfer-Encoding: chunked\n\n0\n\n", 400},
	{"many options", "GET / HTTP/1.1\nHost: x\nConnection: " + strings.Repeat("a,", 65) + "\n\n", 400},
	{"unknown expectation", "POST / HTTP/1.1\nHost: x\nExpect: 200-ok\nContent-Length: 3\n\nabc", 417},
	{"target too long", "GET /" + strings.Repeat("x", 1000) + " HTTP/1.1\nHost: x\n\n", 414},
	{"endless target", "GET /" + strings.Repeat("x", 3000), 414},
	{"head too long", "GET / HTTP/1.1\nHost: x\nA: " + strings.Repeat("x", 4000) + "\n\n", 431},
	{"endless head", "GET / HTTP/1.1\nHost: x\nA: " + strings.Repeat("x", 5000), 431},
	{"too many fields", "GET / HTTP/1.1\nHost: x\n" + strings.Repeat("a: b\n", 100) + "\n", 431},
	{"absolute form without net/http", "GET http://x/ HTTP/1.1\nHost: x\n\n", 501},
	{"CONNECT without net/http", "CONNECT x:1 HTTP/1.1\nHost: x\n\n", 501},

	// These are found when the body is read, and leave nothing of it to be taken for a request.
	{"chunk size with a sign", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n+3\nabc\n0\n\n", 400},
	{"chunk size in 0x", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n0x3\nabc\n0\n\n", 400},
	{"blank before the size", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n 3\nabc\n0\n\n", 400},
	{"blank after the size", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n3 \nabc\n0\n\n", 400},
	{"no size", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n\nabc\n0\n\n", 400},
	{"extension without a size", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n;a\nabc\n0\n\n", 400},
	{"size too large", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n1000000000000000\nabc\n0\n\n", 400},
	{"size with leading zeros", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n" + strings.Repeat("0", 16) + "3\nabc\n0\n\n", 400},
	{"size ends in a bare LF", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n3\x00LFabc\n0\n\n", 400},
	{"data ends in a bare LF", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n3\nabc\x00LF0\n\n", 400},
	{"data longer than its size", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n3\nabcd\n0\n\n", 400},
	{"endless extension", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n3;" + strings.Repeat("x", 1000) + "\nabc\n0\n\n", 400},
	{"control in an extension", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n3;\x01\nabc\n0\n\n", 400},
	{"bare CR in an extension", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n3;a\rb\nabc\n0\n\n", 400},
	{"malformed trailer", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n0\nabc\n\n", 400},
	{"folded trailer", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n0\nA: b\n c\n\n", 400},
	{"long trailer", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n0\nA: " + strings.Repeat("x", 5000) + "\n\n", 400},
	{"many trailers", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n0\n" + strings.Repeat("a: b\n", 100) + "\n", 400},
}

// wire makes of a row what is sent.
func wire(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\n", "\r\n"), "\x00LF", "\n")
}

func TestStrict_Requests(t *testing.T) {
	var served atomic.Int32
	s := startServer(t, ServerConfig{HeadBytes: 3800, TargetBytes: 500, Fields: 50, Handler: func(x *Exchange) {
		served.Add(1)
		if _, err := io.ReadAll(x.Body()); errors.Is(err, ErrBody) {
			x.Answer(http.StatusBadRequest, nil)
			return
		}
		x.Answer(http.StatusOK, nil)
	}})
	for _, r := range strictRows {
		t.Run(r.name, func(t *testing.T) {
			served.Store(0)
			conn := s.dial(t)
			// A second request behind the first must be served only if the first one was understood.
			go io.WriteString(conn, wire(r.request)+"GET /second HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			answers := bufio.NewReader(conn)
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
			if res.StatusCode != r.status {
				t.Errorf("status %d, want %d", res.StatusCode, r.status)
			}
			if r.status != 200 || !strings.Contains(r.request, "HTTP/1.1") {
				if !res.Close || served.Load() > 1 {
					t.Errorf("close %v, %d served", res.Close, served.Load())
				}
				if rest, err := io.ReadAll(answers); len(rest) > 0 || err != nil {
					t.Errorf("rest %q, %v", rest, err)
				}
				return
			}
			if res, err = http.ReadResponse(answers, nil); err != nil || res.StatusCode != 200 {
				t.Errorf("second: %+v, %v", res, err)
			}
		})
	}
}

func (s testServer) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

// Answers of an endpoint, and the status that the client gets. One that is not valid is a 502, and its connection is not used again.
func TestStrict_Answers(t *testing.T) {
	for _, r := range []struct {
		name, answer string
		status       int
		body         string
		cut          bool
	}{
		{name: "length", answer: "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", status: 200, body: "abc"},
		{name: "no reason", answer: "HTTP/1.1 200\nContent-Length: 3\n\nabc", status: 200, body: "abc"},
		{name: "empty reason", answer: "HTTP/1.1 299 \nContent-Length: 3\n\nabc", status: 299, body: "abc"},
		{name: "chunked", answer: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", status: 200, body: "abc"},
		{name: "until close", answer: "HTTP/1.1 200 OK\n\nabc", status: 200, body: "abc"},
		{name: "1.0", answer: "HTTP/1.0 200 OK\n\nabc", status: 200, body: "abc"},
		{name: "204", answer: "HTTP/1.1 204 No Content\n\n", status: 204},
		{name: "204 with a length", answer: "HTTP/1.1 204 No Content\nContent-Length: 3\n\n", status: 204},
		{name: "304 with a length", answer: "HTTP/1.1 304 Not Modified\nContent-Length: 3\n\n", status: 304},
		{name: "interim first", answer: "HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 3\n\nabc", status: 200, body: "abc"},
		{name: "more than its length", answer: "HTTP/1.1 200 OK\nContent-Length: 3\n\nabcHTTP/1.1 200 OK\nContent-Length: 0\n\n", status: 200, body: "abc"},
		{name: "equal lengths", answer: "HTTP/1.1 200 OK\nContent-Length: 3\nContent-Length: 3\n\nabc", status: 200, body: "abc"},

		{name: "nothing", answer: "", status: 502},
		{name: "half a head", answer: "HTTP/1.1 200 OK\nA: b\n", status: 502},
		{name: "no HTTP", answer: "220 smtp\n\n", status: 502},
		{name: "HTTP/2", answer: "HTTP/2.0 200 OK\n\n", status: 502},
		{name: "bad status", answer: "HTTP/1.1 2x0 OK\n\n", status: 502},
		{name: "status of two digits", answer: "HTTP/1.1 20 OK\n\n", status: 502},
		{name: "status of four digits", answer: "HTTP/1.1 2000 OK\n\n", status: 502},
		{name: "status 099", answer: "HTTP/1.1 099 OK\n\n", status: 502},
		{name: "length and coding", answer: "HTTP/1.1 200 OK\nContent-Length: 3\nTransfer-Encoding: chunked\n\n0\n\n", status: 502},
		{name: "coding in 1.0", answer: "HTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n0\n\n", status: 502},
		{name: "gzip coding", answer: "HTTP/1.1 200 OK\nTransfer-Encoding: gzip\n\nabc", status: 502},
		{name: "other lengths", answer: "HTTP/1.1 200 OK\nContent-Length: 3\nContent-Length: 4\n\nabcd", status: 502},
		{name: "bad length", answer: "HTTP/1.1 200 OK\nContent-Length: 3x\n\nabc", status: 502},
		{name: "fold", answer: "HTTP/1.1 200 OK\nA: b\n c\nContent-Length: 3\n\nabc", status: 502},
		{name: "bare LF", answer: "HTTP/1.1 200 OK\x00LFContent-Length: 3\n\nabc", status: 502},
		{name: "NUL", answer: "HTTP/1.1 200 OK\nA: \x00\nContent-Length: 3\n\nabc", status: 502},
		{name: "blank before a colon", answer: "HTTP/1.1 200 OK\nContent-Length : 3\n\nabc", status: 502},
		{name: "101 that nobody asked for", answer: "HTTP/1.1 101 Switching Protocols\nUpgrade: x\nConnection: upgrade\n\n", status: 502},
		{name: "endless interim", answer: strings.Repeat("HTTP/1.1 100 Continue\n\n", 100), status: 502},
		{name: "small body cut short", answer: "HTTP/1.1 200 OK\nContent-Length: 4\n\nabc", status: 502},
		{name: "long body cut short", answer: "HTTP/1.1 200 OK\nContent-Length: 10000\n\nabc", status: 200, body: "abc", cut: true},
		{name: "chunks cut short", answer: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n", status: 200, body: "abc", cut: true},
		{name: "bad chunk", answer: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nx\nabc\n0\n\n", status: 502},
		{name: "bad second chunk", answer: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\nx\n", status: 502},
	} {
		t.Run(r.name, func(t *testing.T) {
			s := testServer{address: forwarderTo(t, answerOnce(t, wire(r.answer)))}
			conn := s.dial(t)
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			answers := bufio.NewReader(conn)
			res, err := http.ReadResponse(answers, &http.Request{Method: "GET"})
			for err == nil && res.StatusCode == 100 {
				res, err = http.ReadResponse(answers, &http.Request{Method: "GET"})
			}
			if err != nil || res.StatusCode != r.status {
				t.Fatalf("%+v, %v", res, err)
			}
			body, err := io.ReadAll(res.Body)
			if r.status == 502 {
				return
			}
			if string(body) != r.body || (err != nil) != r.cut {
				t.Errorf("body %q, %v", body, err)
			}
		})
	}
}

// answerOnce is an endpoint that reads one head on each connection, writes text and closes.
func answerOnce(t testing.TB, text string) string {
	ln := listen(t)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					io.WriteString(conn, text)
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// Whatever is understood of a request must be understood the same by net/http.
func FuzzRequest(f *testing.F) {
	for _, r := range strictRows {
		f.Add([]byte(wire(r.request)))
	}
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive, x, upgrade\r\nX: y\r\nUpgrade: h2c\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		end, _, err := headEnd(data, 0)
		if err != nil || end == 0 {
			return
		}
		var ours Request
		if ours.parse(data[:end], 16<<10, 256) != nil || ours.Target[0] != '/' {
			return // what has no path goes to net/http itself
		}
		theirs, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(data), 1<<16))
		if err != nil {
			t.Fatalf("net/http: %v", err)
		}
		if theirs.Method != string(ours.Method) || theirs.RequestURI != string(ours.Target) || ours.minor != byte(theirs.ProtoMinor) {
			t.Fatalf("%s %s, net/http %s %s", ours.Method, ours.Target, theirs.Method, theirs.RequestURI)
		}
		if theirs.Host != string(ours.Host) && ours.Host != nil {
			t.Fatalf("host %q, net/http %q", ours.Host, theirs.Host)
		}
		if length := max(ours.length, -1); length != theirs.ContentLength {
			t.Fatalf("length %d, net/http %d", length, theirs.ContentLength)
		}
		if theirs.Close == ours.keepAlive && !bytes.Contains(bytes.ToLower(data[:end]), []byte("keep-alive")) {
			t.Fatalf("keep alive %v, net/http closes %v", ours.keepAlive, theirs.Close)
		}
		checkFields(t, ours.Fields, theirs.Header)
		compareBodies(t, data[end:], ours.length, theirs.Body, func() http.Header { return theirs.Trailer })
		checkForwarded(t, ours)
	})
}

// checkForwarded makes sure that an endpoint gets one head with the same meaning.
func checkForwarded(t *testing.T, r Request) {
	x := &Exchange{Request: r}
	head := x.appendRequest(nil, &Pool{cfg: PoolConfig{Address: "endpoint:80"}}, nil)
	if end, _, err := headEnd(head, 0); end != len(head) || err != nil {
		t.Fatalf("forwarded %q, %v", head, err)
	}
	theirs, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(head), 1<<16))
	if err != nil {
		t.Fatalf("forwarded %q, net/http: %v", head, err)
	}
	if theirs.Method != string(r.Method) || theirs.RequestURI != string(r.Target) || theirs.ContentLength != max(r.length, -1) ||
		r.Host != nil && theirs.Host != string(r.Host) {
		t.Fatalf("forwarded %q: %+v", head, theirs)
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Upgrade"} {
		if theirs.Header.Get(name) != "" {
			t.Fatalf("forwarded %q with %s", head, name)
		}
	}
}

func checkFields(t *testing.T, ours []Field, theirs http.Header) {
	count := map[string]int{}
	for _, f := range ours {
		name := http.CanonicalHeaderKey(string(f.Name))
		switch name {
		case "Host", "Transfer-Encoding", "Trailer", "Content-Length", "Connection":
			continue // which net/http removes, or keeps one of
		}
		if i := count[name]; len(theirs[name]) <= i || theirs[name][i] != string(f.Value) {
			t.Fatalf("%s: %q, net/http %q", name, f.Value, theirs[name])
		}
		count[name]++
	}
	for name, values := range theirs {
		switch name {
		case "Content-Length", "Connection", "Trailer", "Pragma", "Cache-Control":
			continue // the last of which net/http adds to the one before
		}
		if len(values) != count[name] {
			t.Fatalf("net/http has %s: %q", name, values)
		}
	}
}

// compareBodies reads a body both ways. We may refuse it.
func compareBodies(t *testing.T, data []byte, length int64, theirs io.Reader, trailer func() http.Header) {
	var b body
	b.begin(staticSource(data), length)
	ours, err := io.ReadAll(&b)
	if err != nil {
		return
	}
	text, err := io.ReadAll(theirs)
	if err != nil {
		t.Fatalf("body %q, net/http: %v", ours, err)
	}
	if !bytes.Equal(ours, text) {
		t.Fatalf("body %q, net/http %q", ours, text)
	}
	for line := range bytes.SplitSeq(b.trailer, []byte("\r\n")) {
		name, value, found := bytes.Cut(line, []byte(": "))
		if !found {
			continue
		}
		if values := trailer().Values(string(name)); !slices.Contains(values, string(value)) {
			t.Fatalf("trailer %s: %q, net/http %q", name, value, values)
		}
	}
}

// staticSource has everything already, and nothing more comes.
func staticSource(data []byte) *source {
	return &source{buf: bytes.Clone(data), w: len(data), arm: func() error { return io.ErrUnexpectedEOF }}
}

func FuzzResponse(f *testing.F) {
	for _, text := range []string{
		"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", "HTTP/1.1 200\n\nabc", "HTTP/1.0 404 Not Found\nConnection: keep-alive\nContent-Length: 0\n\n",
		"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTrailer: A\n\n3\nabc\n0\nA: b\n\n", "HTTP/1.1 204 No Content\nContent-Length: 3\n\n",
		"HTTP/1.1 304 Not Modified\nContent-Length: 3\n\n", "HTTP/1.1 103 Early Hints\nLink: x\n\n", "HTTP/1.1 200 \nContent-Length: 3\nContent-Length: 3\n\nabc",
	} {
		for _, head := range []bool{false, true} {
			f.Add([]byte(wire(text)), head)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, isHead bool) {
		end, _, err := headEnd(data, 0)
		if err != nil || end == 0 {
			return
		}
		method := "GET"
		if isHead {
			method = "HEAD"
		}
		var ours Response
		if ours.parse(data[:end], []byte(method), 256) != nil {
			return
		}
		theirs, err := http.ReadResponse(bufio.NewReaderSize(bytes.NewReader(data), 1<<16), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("net/http: %v", err)
		}
		if theirs.StatusCode != ours.Status || theirs.Status != strings.TrimLeft(fmt.Sprintf("%d %s", ours.Status, ours.reason), " ") && len(ours.reason) > 0 {
			t.Fatalf("status %d %q, net/http %q", ours.Status, ours.reason, theirs.Status)
		}
		checkFields(t, ours.Fields, theirs.Header)
		if ours.Status < 200 {
			return // which end at the head, whatever net/http takes for a body
		}
		compareBodies(t, data[end:], ours.length, theirs.Body, func() http.Header { return theirs.Trailer })
	})
}

// A chunked body is the same however it is cut up on its way, and what follows it is left alone.
func FuzzChunks(f *testing.F) {
	for _, text := range []string{"3\nabc\n0\n\nrest", "3;a=b\nabc\n1\nd\n0\nA: b\n\n", "fff\n", "0\n\n", "3\nab", "A\n0123456789\n00\n\n"} {
		f.Add([]byte(wire(text)), uint8(1), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, step, size uint8) {
		var whole body
		src := staticSource(data)
		whole.begin(src, chunked)
		want, wantErr := io.ReadAll(&whole)
		rest := len(src.buffered())

		// The same from a source that gets it piece by piece, into a small buffer.
		var pieces body
		slow := &source{buf: make([]byte, 16<<10)}
		pieces.begin(slow, chunked)
		var got []byte
		p := make([]byte, int(size)+1)
		err, fed := error(nil), 0
		for err == nil {
			var n int
			n, err = pieces.read(p, false)
			if got = append(got, p[:n]...); n == 0 && err == nil {
				if fed == len(data) {
					err = io.ErrUnexpectedEOF
					break
				}
				more := min(int(step)+1, len(data)-fed)
				slow.room(more)
				slow.w += copy(slow.buf[slow.w:], data[fed:fed+more])
				fed += more
			}
		}
		if (err == io.EOF) != (wantErr == nil) {
			t.Fatalf("whole %v, in pieces %v", wantErr, err)
		}
		if err != io.EOF {
			return
		}
		if !bytes.Equal(got, want) || !bytes.Equal(whole.trailer, pieces.trailer) || len(slow.buffered())+len(data)-fed != rest {
			t.Fatalf("%q, in pieces %q", want, got)
		}
	})
}
