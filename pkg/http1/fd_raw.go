//go:build !race && (amd64 || arm64)

package http1

import (
	"syscall"
	"unsafe"
)

// The runtime is not told of these calls, which never wait. Told of them, as it is by package syscall, it gives the processor to another
// thread when one takes some 20 us, which is what a write takes whose receiver the kernel serves within the call, and two threads are
// awake then. That is a seventh of what a forwarded request costs under load, and two fifths where there is one connection (scenarios
// proxy/c64 and proxy/c1). The garbage collector waits for such a call as it waits for any code of that length.

func recv(fd uintptr, p []byte, flags int) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func send(fd uintptr, p []byte, flags int) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
