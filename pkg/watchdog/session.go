package watchdog

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// sweepRounds bounds how often a session is looked through for what was started meanwhile.
const sweepRounds = 100

// killSession kills every process in the session of p, whatever group it has put itself into, as timeout and shells with job control do.
// The session's number must still be its leader's, dead or alive, so that no other session can have it.
//
// A process that has been sent SIGKILL starts no other. A round that finds nobody new was therefore the last that is needed.
func (p *process) killSession() {
	var killed map[int]bool
	for range sweepRounds {
		found := false
		for _, pid := range p.lookForMembers() {
			if !killed[pid] {
				if killed == nil {
					killed = map[int]bool{}
				}
				killed[pid], found = true, true
				// It may have ended, or be another user's by now. Its number is not another's: the kernel gives out all others first.
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if !found {
			return
		}
	}
}

// look is what was seen of a session at some moment. Who is in it later has been seen, or has a higher number.
type look struct {
	at   time.Time // before it was
	last int       // the number that was given out last
	seen []int     // the members, except the leader
}

// lookAhead looks at the session of a process that is busy, so that its end, when its caller waits, needs no look at all of /proc. It must
// not be called once the process may be ended.
func (p *process) lookAhead() {
	at, last := time.Now(), lastPID()
	if last == 0 {
		return
	}
	p.looked = look{at: at, last: last, seen: sessionMembers(p.pid)}
}

// lookForMembers is sessionMembers, without reading all of /proc where the numbers that were given out since the last look, or the leader's
// start, are few: whoever came since has a number among these. After most invocations there are none.
func (p *process) lookForMembers() (pids []int) {
	last, from := lastPID(), p.looked.last
	few := last >= from && last-from <= mostBetween
	if !few || time.Since(p.looked.at) > quickEnd || !p.among.manyNumbers() {
		return sessionMembers(p.pid)
	}
	for _, pid := range p.looked.seen {
		if sessionOf(pid) == p.pid {
			pids = append(pids, pid)
		}
	}
	for pid := from + 1; pid <= last; pid++ {
		if sessionOf(pid) == p.pid {
			pids = append(pids, pid)
		}
	}
	return pids
}

// groupLives tells whether anybody but the leader is left in the group and not a zombie. The leader's exit must not have been taken.
func (p *process) groupLives() bool {
	for _, pid := range sessionMembers(p.pid) {
		if group, err := syscall.Getpgid(pid); err != nil || group != p.pid {
			continue
		}
		if state, _ := processState(pid); state != "" && state != "Z" && state != "X" {
			return true
		}
	}
	return false
}

// sessionMembers lists the processes of a session except its leader. Without a /proc there is nothing to see.
func sessionMembers(leader int) (pids []int) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err == nil && pid != leader && sessionOf(pid) == leader {
			pids = append(pids, pid)
		}
	}
	return pids
}

// sessionOf asks the kernel, which is far cheaper than reading /proc/PID/stat. It returns 0 if there is no such process.
func sessionOf(pid int) int {
	sid, _, errno := syscall.RawSyscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(sid)
}

// processState reads /proc/PID/stat: "PID (NAME) STATE PARENT ...", where NAME may contain blanks and parentheses. The state is ""
// if the process is gone.
func processState(pid int) (state, parent string) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", ""
	}
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return "", ""
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 2 {
		return "", ""
	}
	return string(fields[0]), string(fields[1])
}
