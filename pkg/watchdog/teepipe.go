package watchdog

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
)

// teePipe is a pipe that the function logs into. It copies what is read from it, and can tell whether the copy has all that was written
// so far: a reader that has taken something out of the pipe may not have got further yet.
//
// When it is given up (giveUpAfter), what it holds at the next read is still read, and then it is at its end. So whoever is late to read
// what a process has left behind loses none of it, and a process that writes on and on keeps nobody.
type teePipe struct {
	file *os.File
	raw  syscall.RawConn
	copy io.Writer // never fails

	givenUp bool // owned by the reader, as is left
	left    int  // what it held then, less what has been read since

	mu sync.Mutex // held from taking bytes out of the pipe until they are copied
}

// newTeePipe takes a pipe that does not block.
func newTeePipe(file *os.File, to io.Writer) *teePipe {
	raw, err := file.SyscallConn()
	if err != nil {
		panic("watchdog: a pipe without a descriptor: " + err.Error())
	}
	return &teePipe{file: file, raw: raw, copy: to}
}

func (p *teePipe) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	waitErr := p.raw.Read(func(fd uintptr) (done bool) {
		n, err = p.take(int(fd), b)
		return err != syscall.EAGAIN
	})
	if errors.Is(waitErr, os.ErrDeadlineExceeded) {
		waitErr = p.raw.Control(func(fd uintptr) { n, err = p.takeLeft(int(fd), b) })
	}
	switch {
	case waitErr != nil:
		return 0, waitErr
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (p *teePipe) take(fd int, b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if n, err = syscall.Read(fd, b); err != syscall.EINTR {
			break
		}
	}
	if n > 0 {
		_, _ = p.copy.Write(b[:n])
	}
	return max(n, 0), err
}

// takeLeft is take within what there was when it was first called.
func (p *teePipe) takeLeft(fd int, b []byte) (n int, err error) {
	if !p.givenUp {
		p.givenUp, p.left = true, pending(fd)
	}
	if p.left == 0 {
		return 0, nil
	}
	n, err = p.take(fd, b[:min(len(b), p.left)])
	p.left -= n
	return n, err
}

// drained tells whether everything that was written before has been copied.
func (p *teePipe) drained() bool {
	waiting := 0
	err := p.raw.Control(func(fd uintptr) {
		p.mu.Lock()
		defer p.mu.Unlock()
		waiting = pending(int(fd))
	})
	return err != nil || waiting == 0 // a closed pipe was read to its end, or given up
}
