package http1

import (
	"bytes"
	"net/http"
)

// Field is a header or trailer field as it was sent. Its slices are valid as long as the message that it belongs to.
type Field struct {
	Name, Value []byte
	kind        kind
}

// kind is what a field means to the engine.
type kind uint8

const (
	plain    kind = iota
	hopByHop      // of one connection, and none of those below
	kindHost
	kindConnection
	kindContentLength
	kindTransferEncoding
	kindExpect
	kindUpgrade
	kindTE
	kindTrailer
)

func kindOf(name []byte) kind {
	switch len(name) {
	case 2:
		if equalFold(name, "te") {
			return kindTE
		}
	case 4:
		if equalFold(name, "host") {
			return kindHost
		}
	case 6:
		if equalFold(name, "expect") {
			return kindExpect
		}
	case 7:
		if equalFold(name, "upgrade") {
			return kindUpgrade
		}
		if equalFold(name, "trailer") {
			return kindTrailer
		}
	case 10:
		if equalFold(name, "connection") {
			return kindConnection
		}
		if equalFold(name, "keep-alive") {
			return hopByHop
		}
	case 14:
		if equalFold(name, "content-length") {
			return kindContentLength
		}
	case 16:
		if equalFold(name, "proxy-connection") {
			return hopByHop
		}
	case 17:
		if equalFold(name, "transfer-encoding") {
			return kindTransferEncoding
		}
	case 18:
		if equalFold(name, "proxy-authenticate") {
			return hopByHop
		}
	case 19:
		if equalFold(name, "proxy-authorization") {
			return hopByHop
		}
	}
	return plain
}

// mostOptions is how many names Connection may have.
const mostOptions = 64

// Lengths of a body that are no number of bytes.
const (
	chunked    = -1
	untilClose = -2
)

// message is what requests and responses have in common.
type message struct {
	// Fields are those of the head, in their order.
	Fields []Field

	minor     byte  // HTTP/1.minor
	length    int64 // of the body: bytes, chunked or untilClose
	declared  int64 // its Content-Length, if it is sized
	sized     bool
	keepAlive bool // its sender keeps the connection
	upgrade   bool // its Connection field names upgrade
	has       uint16
}

// Get is the value of the first field of that name, in any case, or nil. It is not to be changed.
func (m *message) Get(name string) []byte {
	for i := range m.Fields {
		if equalFold(m.Fields[i].Name, name) {
			return m.Fields[i].Value
		}
	}
	return nil
}

// Has tells whether there is a field of that name, in any case.
func (m *message) Has(name string) bool {
	for i := range m.Fields {
		if equalFold(m.Fields[i].Name, name) {
			return true
		}
	}
	return false
}

// Length is that of the body, or negative if it is not known beforehand.
func (m *message) Length() int64 { return m.length }

// headEnd looks for the end of a head in b, of which the first seen bytes were looked through before. It returns the length of the
// head with its empty line, or 0 and how much to skip the next time.
func headEnd(b []byte, seen int) (end, next int, err error) {
	for {
		i := bytes.IndexByte(b[seen:], '\n')
		if i < 0 {
			return 0, seen, nil
		}
		i += seen
		if i == 0 || b[i-1] != '\r' {
			return 0, 0, errLine
		}
		if i-1 == seen {
			return i + 1, 0, nil
		}
		seen = i + 1
	}
}

// cutLine cuts the first line off a head, whose lines all end in CR LF.
func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	return b[:i-1], b[i+1:]
}

// parseField reads one line.
func parseField(line []byte) (Field, error) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			return Field{}, errFold
		}
		return Field{}, errName
	}
	f := Field{Name: line[:colon], Value: trim(line[colon+1:])}
	switch {
	case line[0] == ' ' || line[0] == '\t':
		return f, errFold
	case !isToken(f.Name):
		return f, errName
	case !isContent(f.Value):
		return f, errValue
	}
	f.kind = kindOf(f.Name)
	return f, nil
}

// parseFields reads the fields of a head, down to its empty line, and what they say of the message's framing. It leaves keepAlive
// and length as they are if nothing is said.
func (m *message) parseFields(b []byte, most int) error {
	m.Fields = m.Fields[:0]
	m.sized, m.upgrade, m.has = false, false, 0
	m.keepAlive = m.minor == 1
	for {
		var line []byte
		line, b = cutLine(b)
		if len(line) == 0 {
			return m.checkFraming()
		}
		if len(m.Fields) >= most {
			return errManyFields
		}
		f, err := parseField(line)
		if err != nil {
			return err
		}
		m.Fields = append(m.Fields, f)
		if f.kind > hopByHop {
			if err := m.note(f); err != nil {
				return err
			}
		}
	}
}

// note takes in a field that says something of the message as a whole.
func (m *message) note(f Field) error {
	repeated := m.has&(1<<f.kind) != 0
	m.has |= 1 << f.kind
	switch f.kind {
	case kindContentLength:
		n, ok := parseLength(f.Value)
		switch {
		case !ok:
			return errLength
		case repeated && string(m.Get("Content-Length")) != string(f.Value):
			return errLengths
		}
		m.length, m.sized, m.declared = n, true, n
	case kindTransferEncoding:
		switch {
		case repeated:
			return errCodings
		case !equalFold(f.Value, "chunked"):
			return errCoding
		}
	}
	return nil
}

// checkFraming is done when all fields are known.
func (m *message) checkFraming() error {
	if m.has&(1<<kindConnection) != 0 && !m.noteConnection() {
		return errOptions
	}
	if m.has&(1<<kindTransferEncoding) != 0 {
		switch {
		case m.sized:
			return errCodingLength
		case m.minor == 0:
			return errCodingVersion
		}
		m.length = chunked
	}
	return nil
}

// noteConnection marks the fields that Connection names as those of one connection. It cannot name what the message's framing and
// routing rest on. It returns false if it names too many: each is looked for in all fields.
func (m *message) noteConnection() bool {
	closes, count := false, 0
	for i := range m.Fields {
		if m.Fields[i].kind != kindConnection {
			continue
		}
		eachToken(m.Fields[i].Value, func(token []byte) {
			count++
			switch {
			case count > mostOptions:
				return
			case equalFold(token, "close"):
				closes = true
			case equalFold(token, "keep-alive"):
				m.keepAlive = true
			case equalFold(token, "upgrade"):
				m.upgrade = true
			}
			for j := range m.Fields {
				if f := &m.Fields[j]; f.kind == plain && equalFold(f.Name, token) {
					f.kind = hopByHop
				}
			}
		})
	}
	if closes {
		m.keepAlive = false
	}
	return count <= mostOptions
}

// parseLength reads a Content-Length: digits alone, of a number that leaves room for arithmetic.
func parseLength(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// Request is the head of a request. What it refers to is valid until the handler returns.
type Request struct {
	message
	// Method is a token, in the case that it was sent in.
	Method []byte
	// Target is a path with a query, as sent.
	Target []byte
	// Host is the Host field's value: nil in an HTTP/1.0 request without one.
	Host []byte

	expect bool // the client waits to be asked for the body
}

// parse reads a head that ends in an empty line.
func (r *Request) parse(head []byte, mostTarget, mostFields int) error {
	line, rest := cutLine(head)
	if err := r.parseLine(line, mostTarget); err != nil {
		return err
	}
	r.length = 0
	if err := r.parseFields(rest, mostFields); err != nil {
		return err
	}
	if err := r.checkHost(); err != nil {
		return err
	}
	r.expect = false
	if r.has&(1<<kindExpect) != 0 {
		if !equalFold(r.Get("Expect"), "100-continue") {
			return errExpect
		}
		r.expect = r.minor == 1 && r.length != 0
	}
	return nil
}

func (r *Request) parseLine(line []byte, mostTarget int) error {
	if bytes.IndexByte(line, '\r') >= 0 {
		return errLine
	}
	first, last := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if first <= 0 || last <= first+1 {
		return errRequestLine
	}
	method, target, version := line[:first], line[first+1:last], line[last+1:]
	switch {
	case !isToken(method):
		return errRequestLine
	case string(version) == "HTTP/1.1":
		r.minor = 1
	case string(version) == "HTTP/1.0":
		r.minor = 0
	case len(version) == 8 && string(version[:5]) == "HTTP/" && isDigit(version[5]) && version[6] == '.' && isDigit(version[7]):
		return errVersion
	default:
		return errRequestLine
	}
	if len(target) > mostTarget {
		return errTargetLong
	}
	if !all(target, &inTarget) {
		return errTarget
	}
	if target[0] == '/' && !escapesPath(target) {
		return errTarget
	}
	r.Method, r.Target = method, target
	return nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// escapesPath tells whether every % of a path begins an escape. A query is its reader's to judge, as in net/http.
func escapesPath(target []byte) bool {
	for i := 0; i < len(target) && target[i] != '?'; i++ {
		if target[i] == '%' {
			if i+2 >= len(target) || unhex(target[i+1]) < 0 || unhex(target[i+2]) < 0 {
				return false
			}
		}
	}
	return true
}

// unhex is the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func (r *Request) checkHost() error {
	r.Host = nil
	if r.has&(1<<kindHost) == 0 {
		if r.minor == 1 {
			return errHost
		}
		return nil
	}
	for i := range r.Fields {
		if r.Fields[i].kind != kindHost {
			continue
		}
		if r.Host != nil || !validHost(r.Fields[i].Value) {
			return errHost
		}
		r.Host = r.Fields[i].Value
	}
	return nil
}

// validHost tells whether host is a name or an address, and perhaps a port.
func validHost(host []byte) bool {
	if !all(host, &inHost) {
		return false
	}
	name, port := host, []byte(nil)
	if len(host) > 0 && host[0] == '[' {
		end := bytes.IndexByte(host, ']')
		if end < 0 {
			return false
		}
		name, port = host[1:end], host[end+1:]
		if len(port) > 0 && port[0] != ':' {
			return false
		}
	} else if colon := bytes.IndexByte(host, ':'); colon >= 0 {
		name, port = host[:colon], host[colon:]
		if bytes.IndexByte(name, '[') >= 0 {
			return false
		}
	}
	if len(name) == 0 || bytes.IndexByte(name, ']') >= 0 {
		return false
	}
	for i, c := range port {
		if i > 0 && !isDigit(c) {
			return false
		}
	}
	return true
}

// rare tells a request that net/http is left to serve.
func (r *Request) rare() bool {
	return r.Target[0] != '/' || r.upgrade && r.has&(1<<kindUpgrade) != 0 || string(r.Method) == http.MethodConnect
}

// preface is how a client begins that speaks HTTP/2 without having asked.
const preface = "PRI * HTTP/2.0\r\n\r\n"

// Response is the head of an endpoint's answer. What it refers to is valid until the function that it was given to returns.
type Response struct {
	message
	// Status is between 100 and 999.
	Status int

	reason []byte
}

// parse reads a head that ends in an empty line, of an answer to a request with the given method.
func (r *Response) parse(head, method []byte, mostFields int) error {
	line, rest := cutLine(head)
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return errStatusLine
	}
	if line[9] < '1' || line[9] > '9' || !isDigit(line[10]) || !isDigit(line[11]) || !isContent(line) {
		return errStatusLine
	}
	r.minor = line[7] - '0'
	r.Status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	r.reason = line[min(13, len(line)):]
	r.length = untilClose
	if err := r.parseFields(rest, mostFields); err != nil {
		return err
	}
	if !r.hasBody(method) {
		r.length = 0
	}
	if r.length == untilClose {
		r.keepAlive = false
	}
	return nil
}

// hasBody tells whether a body follows, as RFC 9112, section 6.3, has it.
func (r *Response) hasBody(method []byte) bool {
	return r.Status >= 200 && r.Status != http.StatusNoContent && r.Status != http.StatusNotModified && string(method) != http.MethodHead
}
