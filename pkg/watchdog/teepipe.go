package watchdog

import (
	"io"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// teePipe is a pipe that copies what is read from it, and can tell whether the copy has all that was written so far: a reader that
// has taken something out of the pipe may not have got further yet.
type teePipe struct {
	file *os.File
	raw  syscall.RawConn
	copy io.Writer // never fails

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

// drained tells whether everything that was written before has been copied.
func (p *teePipe) drained() bool {
	var waiting int32
	err := p.raw.Control(func(fd uintptr) {
		p.mu.Lock()
		defer p.mu.Unlock()
		// FIONREAD has another name in package syscall on each system: ioctl_tty(2).
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&waiting))); errno != 0 {
			waiting = 0 // nothing can be said of it
		}
	})
	return err != nil || waiting == 0 // a closed pipe was read to its end, or given up
}
