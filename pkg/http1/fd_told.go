//go:build race || !(amd64 || arm64)

package http1

import "syscall"

// As in fd_raw.go, but for machines with other system calls, and for the race detector: package syscall tells it that what is done
// after a read comes after what was done before a write. Tests with the race detector run this and not fd_raw.go: make test-unit has this
// package's tests run without it as well, and so do the fuzz targets and test/e2e.

func recv(fd uintptr, p []byte, flags int) (int, error) {
	if flags&syscall.MSG_PEEK == 0 {
		return syscall.Read(int(fd), p) // which does not wait either: package net has seen to that
	}
	n, _, err := syscall.Recvfrom(int(fd), p, flags)
	return n, err
}

func send(fd uintptr, p []byte, _ int) (int, error) { return syscall.Write(int(fd), p) }
