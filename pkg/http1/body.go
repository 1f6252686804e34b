package http1

import (
	"errors"
	"io"
	"net"
)

const (
	bufferBytes  = 8 << 10  // for a head and what comes with it
	copyBytes    = 64 << 10 // for a body that streams
	lineBytes    = 512      // the line of a chunk's size, extensions included
	trailerBytes = 4 << 10
	mostTrailers = 64
	roomBytes    = 1 << 10 // what source wants to have free before it reads
)

// source is the receiving side of a connection, with what was read of it and not used yet: buf[r:w]. What is below floor is still
// referred to, and is not overwritten.
type source struct {
	conn        *net.TCPConn
	arm         func() error // before the connection is read, unless nil
	buf         []byte
	floor, r, w int
}

func (s *source) buffered() []byte { return s.buf[s.r:s.w] }

// reset forgets what was referred to.
func (s *source) reset() {
	s.floor = 0
	if s.r == s.w {
		s.r, s.w = 0, 0
	}
}

// room makes room to read into behind w.
func (s *source) room(bytes int) {
	if s.r == s.w {
		s.r, s.w = s.floor, s.floor
	}
	if len(s.buf)-s.w >= bytes {
		return
	}
	if s.r > s.floor && len(s.buf)-s.floor-(s.w-s.r) >= bytes {
		s.w = s.floor + copy(s.buf[s.floor:], s.buf[s.r:s.w])
		s.r = s.floor
		return
	}
	// What is referred to stays where it is, in the old buffer.
	bigger := make([]byte, max(2*(s.w-s.r), s.w-s.r+bytes, bufferBytes))
	s.w = copy(bigger, s.buf[s.r:s.w])
	s.buf, s.r, s.floor = bigger, 0, 0
}

// fill reads some more. It returns io.ErrUnexpectedEOF at the end.
func (s *source) fill() error {
	s.room(roomBytes)
	n, err := s.read(s.buf[s.w:])
	s.w += n
	return err
}

// read reads at least one byte from the connection, or returns an error.
func (s *source) read(p []byte) (int, error) {
	if s.arm != nil {
		if err := s.arm(); err != nil {
			return 0, err
		}
	}
	n, err := s.conn.Read(p)
	if n > 0 {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return 0, err
}

// line cuts a line off what is buffered. It returns nil if there is no whole one yet.
func (s *source) line(most int) ([]byte, error) {
	for i, c := range s.buf[s.r:min(s.w, s.r+most)] {
		if c != '\n' {
			continue
		}
		if i == 0 || s.buf[s.r+i-1] != '\r' {
			return nil, errChunk
		}
		line := s.buf[s.r : s.r+i-1]
		s.r += i + 1
		return line, nil
	}
	if s.w-s.r >= most {
		return nil, errChunk
	}
	return nil, nil
}

// stage is what comes next of a chunked body.
type stage uint8

const (
	atSize stage = iota
	atData
	atDataEnd
	atTrailer
	atEnd
)

// body is that of a message, without its framing.
type body struct {
	src      *source
	length   int64 // as message.length
	left     int64 // of the body or the chunk
	stage    stage
	trailer  []byte // lines, of a chunked body at its end
	trailers int
	got      int64 // bytes that were read, without framing
	err      error // whatever ended it: io.EOF is its end
}

func (b *body) begin(src *source, length int64) {
	*b = body{src: src, length: length, left: max(length, 0), trailer: b.trailer[:0]}
	if length == 0 {
		b.err = io.EOF
	}
}

// ended tells whether the whole body was read.
func (b *body) ended() bool { return b.err == io.EOF }

// Read reads as much as there is without waiting, or waits for some. It returns io.EOF along with the last bytes. Any other error
// is one of the connection, a *refusal, or io.ErrUnexpectedEOF. What comes of one after it is not used.
func (b *body) Read(p []byte) (int, error) { return b.read(p, true) }

// read waits for nothing if it is told so, and may then return 0 and nil.
func (b *body) read(p []byte, wait bool) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.length == chunked {
		n, b.err = b.readChunks(p, wait)
	} else {
		n, b.err = b.readPlain(p, wait)
	}
	b.got += int64(n)
	return n, b.err
}

func (b *body) readPlain(p []byte, wait bool) (int, error) {
	if b.length >= 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.take(p, wait)
	if b.length == untilClose {
		if err == io.ErrUnexpectedEOF {
			err = io.EOF
		}
		return n, err
	}
	if b.left -= int64(n); b.left == 0 {
		return n, io.EOF
	}
	return n, err
}

// take moves bytes from what is buffered, or from the connection if nothing is.
func (b *body) take(p []byte, wait bool) (int, error) {
	if n := copy(p, b.src.buffered()); n > 0 || !wait || len(p) == 0 {
		b.src.r += n
		return n, nil
	}
	if len(p) < roomBytes {
		if err := b.src.fill(); err != nil {
			return 0, err
		}
		n := copy(p, b.src.buffered())
		b.src.r += n
		return n, nil
	}
	return b.src.read(p)
}

// readChunks goes on until p is full, or it would have to wait and has something.
func (b *body) readChunks(p []byte, wait bool) (n int, err error) {
	for {
		enough := true
		switch b.stage {
		case atSize:
			enough, err = b.readSize()
		case atData:
			if n == len(p) {
				return n, nil
			}
			into := p[n:]
			if int64(len(into)) > b.left {
				into = into[:b.left]
			}
			var m int
			m, err = b.take(into, wait && n == 0)
			n += m
			if b.left -= int64(m); b.left == 0 {
				b.stage = atDataEnd
			} else if m == 0 && err == nil {
				return n, nil
			}
		case atDataEnd:
			enough, err = b.readDataEnd()
		case atTrailer:
			enough, err = b.readTrailer()
		case atEnd:
			return n, io.EOF
		}
		if err != nil {
			return n, err
		}
		if !enough {
			if n > 0 || !wait {
				return n, nil
			}
			if err := b.src.fill(); err != nil {
				return n, err
			}
		}
	}
}

// readSize reads the line before a chunk: at most 15 hexadecimal digits, and an extension that nobody needs.
func (b *body) readSize() (enough bool, err error) {
	line, err := b.src.line(lineBytes)
	if line == nil || err != nil {
		return false, err
	}
	digits := 0
	size := int64(0)
	for digits < len(line) && unhex(line[digits]) >= 0 {
		size = size<<4 | int64(unhex(line[digits]))
		if digits++; digits > 15 {
			return false, errChunk
		}
	}
	if extension := line[digits:]; digits == 0 || len(extension) > 0 && (extension[0] != ';' || !all(extension, &content)) {
		return false, errChunk
	}
	b.left, b.stage = size, atData
	if size == 0 {
		b.stage = atTrailer
	}
	return true, nil
}

func (b *body) readDataEnd() (enough bool, err error) {
	switch rest := b.src.buffered(); {
	case len(rest) > 0 && rest[0] != '\r' || len(rest) > 1 && rest[1] != '\n':
		return false, errChunk
	case len(rest) < 2:
		return false, nil
	}
	b.src.r += 2
	b.stage = atSize
	return true, nil
}

// readTrailer reads one line. Fields that would have changed the message had they stood in its head are dropped (RFC 9110,
// section 6.5.1).
func (b *body) readTrailer() (enough bool, err error) {
	line, err := b.src.line(trailerBytes)
	if err != nil {
		return false, errTrailer
	}
	if line == nil {
		return false, nil
	}
	if len(line) == 0 {
		b.stage = atEnd
		return true, nil
	}
	f, err := parseField(line)
	if b.trailers++; err != nil || len(b.trailer)+len(line) > trailerBytes || b.trailers > mostTrailers {
		return false, errTrailer
	}
	if f.kind == plain {
		b.trailer = appendField(b.trailer, f.Name, f.Value)
	}
	return true, nil
}

func appendField(b, name, value []byte) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// malformed tells whether err is the peer's fault, and not the connection's.
func malformed(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}
