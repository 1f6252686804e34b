package main

import (
	"os"
	"syscall"
)

// keepPrivate closes this process's environment and memory to others of the same user: the function is one, and the pod's secret is
// in both. Only CAP_SYS_PTRACE and, for reading, CAP_PERFMON and CAP_SYS_ADMIN still see them, which containers do not have unless they
// ask for them.
func keepPrivate() error {
	_, _, errno := syscall.Syscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("prctl(PR_SET_DUMPABLE)", errno)
	}
	return nil
}
