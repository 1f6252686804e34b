package main

import (
	"syscall"
	"unsafe"
)

// isSubreaper asks the kernel whether this process was made the parent of its descendants' orphans.
func isSubreaper() bool {
	const prGetChildSubreaper = 37
	var set int32
	_, _, errno := syscall.Syscall(syscall.SYS_PRCTL, prGetChildSubreaper, uintptr(unsafe.Pointer(&set)), 0)
	return errno == 0 && set != 0
}
