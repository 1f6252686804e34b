package http1

import (
	"io"
	"net"
	"sync"
)

// handover is the listener of the server that serves what the engine does not.
type handover struct {
	address net.Addr
	conns   chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func newHandover() *handover {
	return &handover{conns: make(chan net.Conn), done: make(chan struct{})}
}

// hand gives a connection away, or returns false if nobody takes it any more.
func (h *handover) hand(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
		return false
	}
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handover) Addr() net.Addr { return h.address }

// begunConn is a connection of which some was read.
type begunConn struct {
	*net.TCPConn
	read []byte
}

func (c *begunConn) Read(p []byte) (int, error) {
	if len(c.read) > 0 {
		n := copy(p, c.read)
		c.read = c.read[n:]
		return n, nil
	}
	return c.TCPConn.Read(p)
}

// WriteTo is the embedded one's, but for what was read.
func (c *begunConn) WriteTo(w io.Writer) (int64, error) {
	begun := int64(0)
	for len(c.read) > 0 {
		n, err := w.Write(c.read)
		c.read = c.read[n:]
		if begun += int64(n); err != nil {
			return begun, err
		}
	}
	n, err := c.TCPConn.WriteTo(w)
	return begun + n, err
}
