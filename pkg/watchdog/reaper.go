package watchdog

import (
	"context"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// reapPause gathers exits, so that a busy fork mode scans /proc ten times a second and not once per invocation.
const reapPause = 100 * time.Millisecond

// reap takes the exits of processes that were adopted: as process 1 of a container we are the parent of every orphan, and
// its zombie stays until we ask for it. Exits of the function's own processes are left to them. It returns when ctx ends.
//
// It looks through /proc rather than asking wait4 for any child, for wait4 would answer with our own first of all, and an own
// zombie may stay for as long as its invocation lasts.
func (ps *processes) reap(ctx context.Context) {
	exits := make(chan os.Signal, 1)
	signal.Notify(exits, syscall.SIGCHLD)
	defer signal.Stop(exits)
	pause := time.NewTimer(reapPause)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		ps.reapAdopted()
		select {
		case <-ctx.Done():
			return
		case <-exits:
			pause.Reset(reapPause)
		}
	}
}

// reapAdopted does one round and returns how many exits it took.
func (ps *processes) reapAdopted() (reaped int) {
	proc, err := os.Open("/proc")
	if err != nil {
		return 0 // no /proc in this container: zombies stay until it ends
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return 0
	}
	self := os.Getpid()
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err == nil && isZombieOf(pid, self) && ps.take(pid) {
			reaped++
		}
	}
	return reaped
}

// take takes the exit of pid unless it is one of the function's own processes.
func (ps *processes) take(pid int) bool {
	ps.mu.Lock() // no process is between its start and its entry in own now
	defer ps.mu.Unlock()
	if _, own := ps.own.Load(pid); own {
		return false
	}
	got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
	return err == nil && got == pid
}

func isZombieOf(pid, parent int) bool {
	state, of := processState(pid)
	return state == "Z" && of == strconv.Itoa(parent)
}
