package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// maxHead is the longest status line with headers that is read.
const maxHead = 64 << 10

// parser reads the answers of one connection, however they are cut into pieces. The zero value waits for an answer.
type parser struct {
	request *Request
	// head collects a head that came in pieces.
	head  []byte
	state state
	// left is what remains of the body, or of the chunk.
	left int64
	// seen is how much of the body was compared.
	seen int
	// closes tells that the connection cannot be used after this answer.
	closes bool
}

type state uint8

const (
	atHead state = iota
	atBody
	atBodyUntilClose
	atChunkSize
	atChunk
	atChunkEnd
	atTrailer
)

var (
	errHead    = errors.New("an answer's head is not that of HTTP/1.1")
	errChunk   = errors.New("an answer's chunks are not those of HTTP/1.1")
	errBody    = errors.New("wrong body")
	errSurplus = errors.New("more came than was asked for")
)

// statusError is a status that was not wanted.
type statusError int

func (e statusError) Error() string { return "status " + strconv.Itoa(int(e)) }

// begin prepares for the answer to r.
func (p *parser) begin(r *Request) {
	*p = parser{request: r, head: p.head[:0]}
}

// feed takes what came and tells whether the answer is complete.
func (p *parser) feed(data []byte) (done bool, err error) {
	for {
		switch p.state {
		case atHead:
			data, err = p.feedHead(data)
			if err != nil || p.state == atHead && len(data) == 0 {
				return false, err
			}
			if p.state == atBody && p.left == 0 {
				return p.finish(data)
			}
		case atBody, atBodyUntilClose, atChunk:
			n := int64(len(data))
			if p.state != atBodyUntilClose {
				n = min(n, p.left)
			}
			if err := p.compare(data[:n]); err != nil {
				return false, err
			}
			p.left -= n
			data = data[n:]
			switch {
			case p.state == atBodyUntilClose || p.left > 0:
				return false, nil
			case p.state == atBody:
				return p.finish(data)
			}
			p.state = atChunkEnd
		default:
			line, rest, whole, err := p.line(data)
			if err != nil || !whole {
				return false, err
			}
			data = rest
			switch p.state {
			case atChunkEnd:
				if len(line) != 0 {
					return false, errChunk
				}
				p.state = atChunkSize
			case atChunkSize:
				if err := p.chunkSize(line); err != nil {
					return false, err
				}
			case atTrailer:
				if len(line) == 0 {
					return p.finish(data)
				}
			}
			p.head = p.head[:0]
		}
		if len(data) == 0 {
			return false, nil
		}
	}
}

// end tells whether the other side's closing is the end of the answer, or cuts it off.
func (p *parser) end() bool {
	return p.state == atBodyUntilClose && (p.request.Any || p.seen == len(p.request.Body))
}

func (p *parser) finish(rest []byte) (bool, error) {
	if len(rest) > 0 {
		return false, errSurplus
	}
	if !p.request.Any && p.seen != len(p.request.Body) {
		return false, errBody
	}
	return true, nil
}

func (p *parser) compare(data []byte) error {
	if !p.request.Any {
		if p.seen+len(data) > len(p.request.Body) || !bytes.Equal(p.request.Body[p.seen:p.seen+len(data)], data) {
			return errBody
		}
	}
	p.seen += len(data)
	return nil
}

// line gives a line without its end. While only a part has come it is kept in head.
func (p *parser) line(data []byte) (line, rest []byte, whole bool, err error) {
	end := bytes.IndexByte(data, '\n')
	if end < 0 {
		p.head = append(p.head, data...)
		if len(p.head) > maxHead {
			return nil, nil, false, errHead
		}
		return nil, nil, false, nil
	}
	line = data[:end]
	if len(p.head) > 0 {
		p.head = append(p.head, line...)
		line = p.head
	}
	return bytes.TrimSuffix(line, []byte("\r")), data[end+1:], true, nil
}

func (p *parser) chunkSize(line []byte) error {
	size, _, _ := bytes.Cut(line, []byte(";"))
	n, err := strconv.ParseInt(string(bytes.TrimSpace(size)), 16, 64)
	if err != nil || n < 0 {
		return errChunk
	}
	p.left, p.state = n, atChunk
	if n == 0 {
		p.state = atTrailer
	}
	return nil
}

var headEnd = []byte("\r\n\r\n")

// feedHead reads up to the end of the head and returns what comes after it.
func (p *parser) feedHead(data []byte) (rest []byte, err error) {
	head := data
	if len(p.head) > 0 {
		p.head = append(p.head, data...)
		head = p.head
	}
	end := bytes.Index(head, headEnd)
	if end < 0 {
		if len(p.head) == 0 {
			p.head = append(p.head, data...)
		}
		if len(p.head) > maxHead {
			return nil, errHead
		}
		return nil, nil
	}
	after := len(head) - end - len(headEnd)
	rest = data[len(data)-after:]
	if err := p.parseHead(head[:end+2]); err != nil {
		return nil, err
	}
	p.head = p.head[:0]
	return rest, nil
}

// parseHead reads a status line and headers, each ended by CRLF, and sets how the body ends.
func (p *parser) parseHead(head []byte) error {
	line, head, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return errHead
	}
	p.closes = line[len("HTTP/1.")] == '0'
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return errHead
	}
	if status >= 100 && status < 200 {
		return nil // another head follows
	}
	if want := p.request.Status; status != want && (want != 0 || status != 200) {
		return statusError(status)
	}
	length := int64(-1)
	chunked := false
	for len(head) > 0 {
		line, head, _ = bytes.Cut(head, []byte("\r\n"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return errHead
		}
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil || length < 0 {
				return fmt.Errorf("%w: length %q", errHead, value)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(bytes.TrimSpace(value), []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")):
			p.closes = bytes.EqualFold(bytes.TrimSpace(value), []byte("close"))
		}
	}
	switch {
	case chunked:
		p.state = atChunkSize
	case status == 204 || status == 304:
		p.state, p.left = atBody, 0
	case length >= 0:
		p.state, p.left = atBody, length
	default:
		p.state, p.closes = atBodyUntilClose, true
	}
	return nil
}
