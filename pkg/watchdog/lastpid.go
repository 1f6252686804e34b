package watchdog

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// The kernel gives process numbers out in rising order and begins anew when it has reached kernel.pid_max. A session that ends within
// quickEnd of its leader's start has all its members between the leader and the last number that was given out: to come round within
// that time the kernel would have to make more than half a million processes a second, several times what it can.
const (
	quickEnd    = 50 * time.Millisecond
	leastMax    = 1 << 15 // what kernel.pid_max is at least, unless somebody has lowered it
	mostBetween = 1000    // numbers that are asked for one by one; for more it is cheaper to read /proc
)

// lastPID is the number of the process or thread that was started last in this pid namespace, or 0 where that cannot be told: where
// there is no /proc, or where /proc/loadavg is somebody else's, as lxcfs makes it.
func lastPID() int {
	fd, err := syscall.Open("/proc/loadavg", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer closeFD(fd)
	const procMagic = 0x9fa0 // statfs(2), PROC_SUPER_MAGIC
	var fs syscall.Statfs_t
	if err := syscall.Fstatfs(fd, &fs); err != nil || fs.Type != procMagic {
		return 0
	}
	var text [128]byte // "0.20 0.18 0.12 1/80 11206"
	n, err := syscall.Read(fd, text[:])
	if err != nil || n <= 0 {
		return 0
	}
	line := bytes.TrimSpace(text[:n])
	pid, err := strconv.Atoi(string(line[bytes.LastIndexByte(line, ' ')+1:]))
	if err != nil {
		return 0
	}
	return pid
}

// manyNumbers tells whether the kernel has as many numbers to give out as quickEnd relies on. It is asked once.
func (ps *processes) manyNumbers() bool {
	ps.numbers.Do(func() {
		text, err := os.ReadFile("/proc/sys/kernel/pid_max")
		if err != nil {
			return
		}
		most, err := strconv.Atoi(string(bytes.TrimSpace(text)))
		ps.many = err == nil && most >= leastMax
	})
	return ps.many
}
