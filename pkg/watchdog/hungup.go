package watchdog

import (
	"net/http"
	"syscall"
	"unsafe"
)

// hungUp tells whether the caller of r has closed its connection, or its sending side, though there may be more to read from it.
func hungUp(r *http.Request) bool {
	conn, ok := r.Context().Value(connKey{}).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return true // closed on this side
	}
	gone := false
	if err := raw.Control(func(fd uintptr) { gone = pollHungUp(int32(fd)) }); err != nil {
		return true
	}
	return gone
}

// pollHungUp asks the kernel without waiting: see ppoll(2). EPOLLRDHUP, which is POLLRDHUP, tells of an end behind what was not read yet.
func pollHungUp(fd int32) bool {
	const hangUps = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR // the latter two are told unasked
	ask := struct {
		fd           int32
		events, told int16
	}{fd: fd, events: syscall.EPOLLRDHUP}
	var now syscall.Timespec
	n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&ask)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return errno == 0 && n == 1 && ask.told&hangUps != 0
}
