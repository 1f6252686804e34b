package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// redis is a server that is asked in its own protocol, RESP, on one connection for each caller.
//
// Source: https://redis.io/docs/latest/develop/reference/protocol-spec.
type redis struct {
	idle chan *redisConn
	all  []*redisConn
}

type redisConn struct {
	net.Conn
	answers *bufio.Reader
	request []byte
}

func openRedis(address string, conns int) (store, error) {
	r := &redis{idle: make(chan *redisConn, conns)}
	for range conns {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		conn := &redisConn{Conn: c, answers: bufio.NewReader(c)}
		r.all = append(r.all, conn)
		r.idle <- conn
	}
	return r, nil
}

func (r *redis) commit(_ context.Context, c commit) error {
	conn := <-r.idle
	defer func() { r.idle <- conn }()
	return conn.commit(c)
}

// commit sends a transaction at once and reads its answers.
func (c *redisConn) commit(what commit) error {
	request, sets := appendCommand(c.request[:0], "MULTI"), len(what.keys)
	for _, key := range what.keys {
		request = appendCommand(request, "SET", key, string(what.value))
	}
	if what.callID != "" {
		request = appendCommand(request, "SET", what.callID, string(what.answer))
		sets++
	}
	c.request = appendCommand(request, "EXEC")
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	want := append([]string{"+OK"}, strings.Fields(strings.Repeat("+QUEUED ", sets))...)
	want = append(want, "*"+strconv.Itoa(sets))
	for range sets {
		want = append(want, "+OK")
	}
	for _, line := range want {
		if err := c.expect(line); err != nil {
			return err
		}
	}
	return nil
}

// expect reads one line of an answer.
func (c *redisConn) expect(want string) error {
	line, err := c.answers.ReadSlice('\n')
	if err != nil {
		return errors.Join(io.ErrUnexpectedEOF, err)
	}
	if got := strings.TrimRight(string(line), "\r\n"); got != want {
		return fmt.Errorf("redis answered %.200q, want %q", got, want)
	}
	return nil
}

func appendCommand(b []byte, words ...string) []byte {
	b = fmt.Appendf(b, "*%d\r\n", len(words))
	for _, word := range words {
		b = append(strconv.AppendInt(append(b, '$'), int64(len(word)), 10), "\r\n"...)
		b = append(append(b, word...), "\r\n"...)
	}
	return b
}

func (r *redis) close() error {
	var errs []error
	for _, c := range r.all {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
