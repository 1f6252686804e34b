package watchdog

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// processes starts the function's processes and knows which of them live.
//
// Each has a session of its own, and with it a process group, so that what it started can be killed with it. Its states:
//
//	start ──► running ──► exited ──► gone
//	             │  the leader is a zombie,   end: group and session are killed, then the leader's exit is taken
//	             └─ signal (the group)
//
// The leader's exit is noticed but not taken until end. As long as it is not, the kernel gives its number to no other process,
// group or session, so that killing these can never hit an innocent one.
type processes struct {
	mu     sync.RWMutex // held for reading while a process starts, and for writing to decide whose a zombie is
	closed bool
	own    sync.Map // pid -> *process
	wg     sync.WaitGroup

	numbers sync.Once
	many    bool // see manyNumbers
}

// process is one process of the function, with its group and session.
type process struct {
	pid    int
	looked look // for what is in its session besides
	among  *processes
	handle *os.File // its pidfd, which tells the poller of its exit; nil if the kernel has none

	noticed sync.Once
	done    chan struct{} // closed when the leader has exited, once somebody has asked

	mu     sync.Mutex
	gone   bool
	left   bool // end has not waited for its exit
	status syscall.WaitStatus
}

const (
	// killPatience is how long end waits for a process that was killed: it may hang in the kernel, which may have much memory to free.
	killPatience = 10 * time.Second
	// refusedPatience is the same for one that may not be killed, because it has given itself another user.
	refusedPatience = 500 * time.Millisecond
)

// program is a command found in the file system.
type program struct {
	path string
	argv []string
}

// findProgram looks the command up in PATH, once, so that no invocation has to.
func findProgram(argv []string) (program, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return program{}, err
	}
	return program{path: path, argv: argv}, nil
}

// errClosed is given to whoever starts a process after endAll.
var errClosed = errors.New("the watchdog is ending")

// start runs p with the given descriptors as its 0, 1, 2 and so on, which the caller may close afterwards.
func (ps *processes) start(p program, environ []string, fds ...int) (*process, error) {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	if ps.closed {
		return nil, errClosed
	}
	files := make([]uintptr, len(fds))
	for i, fd := range fds {
		files[i] = uintptr(fd)
	}
	before, handle := time.Now(), -1
	pid, err := syscall.ForkExec(p.path, p.argv, &syscall.ProcAttr{
		Env:   environ,
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &handle},
	})
	if err != nil {
		return nil, &os.PathError{Op: "fork/exec", Path: p.path, Err: err}
	}
	proc := &process{pid: pid, looked: look{at: before, last: pid}, done: make(chan struct{}), among: ps}
	if handle >= 0 {
		proc.handle = nonblocking(handle)
	}
	ps.own.Store(pid, proc)
	ps.wg.Add(1)
	return proc, nil
}

// exited returns a channel that is closed when the leader has exited.
func (p *process) exited() <-chan struct{} {
	p.noticed.Do(func() {
		if p.waitExit(syscall.WNOHANG) {
			close(p.done)
			return
		}
		go func() {
			defer close(p.done)
			if !p.exitsBy(time.Time{}) {
				p.waitExit(0) // with a thread that waits in the kernel
			}
		}()
	})
	return p.done
}

// exitsBy waits until the leader has exited and returns true, or until a time, if it is not zero, and returns false. It does that at
// once if the process has no handle. It must not be called by several at a time.
func (p *process) exitsBy(end time.Time) (exited bool) {
	if p.handle == nil || p.handle.SetReadDeadline(end) != nil {
		return false
	}
	raw, err := p.handle.SyscallConn()
	if err != nil {
		return false
	}
	// Its error is that the time has come.
	_ = raw.Read(func(uintptr) bool {
		exited = p.waitExit(syscall.WNOHANG)
		return exited
	})
	return exited
}

// signal sends a signal to the whole group, unless it is gone.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signalLocked(sig)
}

func (p *process) signalLocked(sig syscall.Signal) {
	if p.gone {
		return
	}
	// The only possible errors are that nobody in the group is left, or that the function gave itself another user.
	_ = syscall.Kill(-p.pid, sig)
}

// end kills what is left of the group and the session, takes the leader's exit and returns it. It waits for the leader only: the
// others' exits, and whatever escaped into a session of its own, are the reaper's. It may be called more than once.
//
// A leader that does not exit in time is left to itself, so that whoever waits is answered: end returns then what it should have exited
// with, and its exit is taken when it comes.
func (p *process) end() syscall.WaitStatus {
	p.signal(syscall.SIGKILL)
	if !p.exitsSoon() {
		p.leave()
		return syscall.WaitStatus(syscall.SIGKILL)
	}
	return p.bury()
}

// exitsSoon waits for a leader that was sent SIGKILL, as long as can be expected of it.
func (p *process) exitsSoon() bool {
	select {
	case <-p.exited():
		return true
	default:
	}
	limit := killPatience
	if p.refuses() {
		limit = refusedPatience
	}
	patience := time.NewTimer(limit)
	defer patience.Stop()
	select {
	case <-p.exited():
		return true
	case <-patience.C:
		return false
	}
}

// refuses tells whether the leader may not be killed. The group's signal is no failure if it reaches anybody.
func (p *process) refuses() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.gone && syscall.Kill(p.pid, syscall.SIGKILL) == syscall.EPERM
}

// leave has the leader's exit taken whenever it comes. Nobody waits for that: it may be never.
func (p *process) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left || p.gone {
		return
	}
	p.left = true
	p.among.wg.Done()
	go func() {
		<-p.exited()
		p.bury()
	}()
}

// bury is end, of a leader that has exited.
func (p *process) bury() syscall.WaitStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return p.status
	}
	// Again, for what was started between the first kill and the leader's exit.
	p.signalLocked(syscall.SIGKILL)
	p.killSession()
	p.gone = true
	for {
		_, err := syscall.Wait4(p.pid, &p.status, 0, nil)
		if err == nil {
			break
		}
		if err != syscall.EINTR {
			panic(fmt.Sprintf("watchdog: somebody else has taken the exit of process %d: %v", p.pid, err))
		}
	}
	if p.handle != nil {
		_ = p.handle.Close() // nothing was written to it
	}
	p.among.own.CompareAndDelete(p.pid, p) // the number may be in use again already
	if !p.left {
		p.among.wg.Done()
	}
	return p.status
}

// waitExit waits until the leader has exited, or with WNOHANG asks whether it has, and leaves it a zombie.
func (p *process) waitExit(options uintptr) bool {
	const (
		byPID = 1 // P_PID
		flags = syscall.WEXITED | syscall.WNOWAIT
	)
	var info struct { // siginfo_t, of which the number is enough: it stays 0 if there is no exit yet
		signo int32
		rest  [124]byte
	}
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(p.pid), uintptr(unsafe.Pointer(&info)), flags|options, 0, 0)
		if errno != syscall.EINTR {
			return info.signo != 0
		}
	}
}

// signalAll sends a signal to every group.
func (ps *processes) signalAll(sig syscall.Signal) {
	ps.own.Range(func(_, p any) bool {
		p.(*process).signal(sig)
		return true
	})
}

// endAll kills every group, lets no other start, and waits until those who started them have called end.
func (ps *processes) endAll() {
	ps.mu.Lock()
	ps.closed = true
	ps.mu.Unlock()
	ps.signalAll(syscall.SIGKILL)
	ps.wg.Wait()
}

// exitText says how a process ended in the words that OpenFaaS answers carry, or "" if it ended well.
func exitText(s syscall.WaitStatus) string {
	switch {
	case s.Signaled() && s.CoreDump():
		return fmt.Sprintf("signal: %v (core dumped)", s.Signal())
	case s.Signaled():
		return fmt.Sprintf("signal: %v", s.Signal())
	case s.ExitStatus() != 0:
		return fmt.Sprintf("exit status %d", s.ExitStatus())
	}
	return ""
}
