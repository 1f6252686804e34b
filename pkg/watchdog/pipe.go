package watchdog

import (
	"os"
	"syscall"
	"time"
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

// outPipe returns a pipe to read from a child.
func outPipe() (ours *os.File, childs int, err error) {
	read, write, err := rawPipe()
	if err != nil {
		return nil, 0, err
	}
	return nonblocking(read), write, nil
}

func rawPipe() (read, write int, err error) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return 0, 0, os.NewSyscallError("pipe2", err)
	}
	return fds[0], fds[1], nil
}

func nonblocking(fd int) *os.File {
	if err := syscall.SetNonblock(fd, true); err != nil {
		panic("watchdog: a pipe that cannot be non-blocking: " + err.Error())
	}
	return os.NewFile(uintptr(fd), "pipe")
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
