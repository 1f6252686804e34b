package http1

import "syscall"

// readFD reads what was received into p, which is not empty. 0 bytes and no error mean the peer's end.
func readFD(fd uintptr, p []byte) (n int, err error) {
	for err = syscall.EINTR; err == syscall.EINTR; {
		n, err = recv(fd, p, syscall.MSG_DONTWAIT)
	}
	return max(n, 0), err
}

// peekFD tells whether something was received that nobody has read: n > 0, or the peer's end: n == 0. EAGAIN means neither.
func peekFD(fd uintptr) (n int, err error) {
	var b [1]byte
	for err = syscall.EINTR; err == syscall.EINTR; {
		n, err = recv(fd, b[:], syscall.MSG_DONTWAIT|syscall.MSG_PEEK)
	}
	return max(n, 0), err
}

// writeFD writes as much of p as the socket takes.
func writeFD(fd uintptr, p []byte) (n int, err error) {
	for err = syscall.EINTR; err == syscall.EINTR; {
		n, err = send(fd, p, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
	}
	return max(n, 0), err
}
