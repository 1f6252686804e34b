package load

import (
	"errors"
	"testing"
)

func TestParser(t *testing.T) {
	tests := []struct {
		name, answer string
		want         Request
		err          error
		closes       bool
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nmoo", Request{Body: []byte("moo")}, nil, false},
		{"length 0", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Request{}, nil, false},
		{"chunks and a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nmo\r\n1\r\no\r\n0\r\nX: y\r\n\r\n", Request{Body: []byte("moo")}, nil, false},
		{"no body", "HTTP/1.1 204 No Content\r\n\r\n", Request{Status: 204}, nil, false},
		{"early hints", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nmoo", Request{Body: []byte("moo")}, nil, false},
		{"wants the connection closed", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nmoo", Request{Body: []byte("moo")}, nil, true},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nmoo", Request{Body: []byte("moo")}, nil, true},
		{"any body", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nmoo", Request{Any: true}, nil, false},
		{"another status", "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", Request{}, statusError(500), false},
		{"a status that is not 200", "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", Request{}, statusError(202), false},
		{"another body", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nmau", Request{Body: []byte("moo")}, errBody, false},
		{"a body too short", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nmo", Request{Body: []byte("moo")}, errBody, false},
		{"a body too long", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmooo", Request{Body: []byte("moo")}, errBody, false},
		{"not HTTP", "SSH-2.0-OpenSSH_9.2p1\r\n\r\n", Request{}, errHead, false},
		{"a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Request{}, errHead, false},
		{"a chunk that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", Request{}, errChunk, false},
		{"a chunk without its end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nmo\r\n", Request{Body: []byte("mo")}, errChunk, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{len(tt.answer), 1, 2, 7} {
				var p parser
				p.begin(&tt.want)
				done, err := feedPieces(&p, []byte(tt.answer), size)
				if !errors.Is(err, tt.err) || done != (tt.err == nil) {
					t.Fatalf("in pieces of %d: done %v, error %v, want %v", size, done, err, tt.err)
				}
				if err == nil && p.closes != tt.closes {
					t.Errorf("in pieces of %d: closes %v", size, p.closes)
				}
			}
		})
	}
}

func TestParser_MoreThanWasAskedFor(t *testing.T) {
	var p parser
	p.begin(&Request{})
	if _, err := p.feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP")); !errors.Is(err, errSurplus) {
		t.Errorf("got %v", err)
	}
}

func TestParser_BodyThatEndsWithTheConnection(t *testing.T) {
	for body, want := range map[string]bool{"moo": true, "mo": false} {
		var p parser
		p.begin(&Request{Body: []byte("moo")})
		done, err := p.feed([]byte("HTTP/1.1 200 OK\r\n\r\n" + body))
		if done || err != nil {
			t.Fatalf("done %v, %v", done, err)
		}
		if p.end() != want || !p.closes {
			t.Errorf("%q: end is %v", body, p.end())
		}
	}
}

// A head that came before must not be taken for the next answer's.
func TestParser_Again(t *testing.T) {
	var p parser
	for range 3 {
		p.begin(&Request{Body: []byte("moo")})
		if done, err := feedPieces(&p, []byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nmoo"), 5); !done || err != nil {
			t.Fatal(done, err)
		}
	}
}

func feedPieces(p *parser, answer []byte, size int) (done bool, err error) {
	for len(answer) > 0 && !done && err == nil {
		n := min(size, len(answer))
		done, err = p.feed(answer[:n])
		answer = answer[n:]
	}
	return done, err
}
