package watchdog

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// inPipe returns a pipe to write to a child. Here as in outPipe the child's end is a plain descriptor that blocks, as programs
// expect of their stdin and stdout, while ours does not, so that what is pending on it can be given up.
func inPipe() (ours *os.File, childs int, err error) {
	read, write, err := rawPipe()
	if err != nil {
		return nil, 0, err
	}
	return nonblocking(write), read, nil
}

// alwaysFits is what an empty pipe holds even for a user who has so many that the kernel gives him no more than a page for each.
const alwaysFits = 4 << 10

// filledPipe returns the child's end of a pipe that holds data and its end. There must be no more of it than alwaysFits.
func filledPipe(data []byte) (childs int, err error) {
	read, write, err := rawPipe()
	if err != nil {
		return 0, err
	}
	defer closeFD(write)
	n, err := syscall.Write(write, data)
	if err != nil || n != len(data) {
		closeFD(read)
		return 0, fmt.Errorf("write %d bytes into an empty pipe: %d, %w", len(data), n, err)
	}
	return read, nil
}

// outPipe returns a pipe to read from a child.
func outPipe() (ours *os.File, childs int, err error) {
	read, write, err := rawPipe()
	if err != nil {
		return nil, 0, err
	}
	return nonblocking(read), write, nil
}

// plainOutPipe is outPipe with our end a descriptor that does not block, unknown to the poller, which would be woken by every write.
func plainOutPipe() (ours, childs int, err error) {
	read, write, err := rawPipe()
	if err != nil {
		return 0, 0, err
	}
	setNonblocking(read)
	return read, write, nil
}

// atEnd tells whether a pipe is empty and nobody can write into it any more.
func atEnd(fd int) bool {
	const in, hangUp = 0x1, 0x10 // poll(2), POLLIN and POLLHUP
	ask := struct {
		fd           int32
		events, told int16
	}{fd: int32(fd), events: in}
	var now syscall.Timespec
	n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&ask)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return errno == 0 && n == 1 && ask.told&(in|hangUp) == hangUp
}

// pending is how much there is to read from a pipe.
func pending(fd int) int {
	var n int32
	// FIONREAD has another name in package syscall on each system: ioctl_tty(2).
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	if errno != 0 {
		panic("watchdog: a pipe that does not tell what it holds: " + errno.Error())
	}
	return int(n)
}

func rawPipe() (read, write int, err error) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return 0, 0, os.NewSyscallError("pipe2", err)
	}
	return fds[0], fds[1], nil
}

func nonblocking(fd int) *os.File {
	setNonblocking(fd)
	return os.NewFile(uintptr(fd), "pipe")
}

func setNonblocking(fd int) {
	if err := syscall.SetNonblock(fd, true); err != nil {
		panic("watchdog: a descriptor that cannot be non-blocking: " + err.Error())
	}
}

// closeFD closes the end of a pipe that a child has got, or will not get.
func closeFD(fd int) {
	// Nothing is buffered in it: closing cannot fail in a way that matters.
	_ = syscall.Close(fd)
}

// giveUpAfter ends reads and writes on a pipe that are pending then.
func giveUpAfter(f *os.File, d time.Duration) {
	// Fails only on a closed pipe, where nothing is pending.
	_ = f.SetDeadline(time.Now().Add(d))
}
