package watchdog

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
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
}

// process is one process of the function, with its group and session.
type process struct {
	pid    int
	exited chan struct{} // closed when the leader has exited
	among  *processes

	mu     sync.Mutex
	gone   bool
	status syscall.WaitStatus
}

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

// start runs p with the given descriptors, which the caller may close afterwards.
func (ps *processes) start(p program, environ []string, stdin, stdout, stderr int) (*process, error) {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	if ps.closed {
		return nil, errClosed
	}
	pid, err := syscall.ForkExec(p.path, p.argv, &syscall.ProcAttr{
		Env:   environ,
		Files: []uintptr{uintptr(stdin), uintptr(stdout), uintptr(stderr)},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, &os.PathError{Op: "fork/exec", Path: p.path, Err: err}
	}
	proc := &process{pid: pid, exited: make(chan struct{}), among: ps}
	ps.own.Store(pid, proc)
	ps.wg.Add(1)
	go proc.notice()
	return proc, nil
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
func (p *process) end() syscall.WaitStatus {
	p.signal(syscall.SIGKILL)
	<-p.exited
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return p.status
	}
	// Again, for what was started between the first kill and the leader's exit.
	p.signalLocked(syscall.SIGKILL)
	killSession(p.pid)
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
	p.among.own.CompareAndDelete(p.pid, p) // the number may be in use again already
	p.among.wg.Done()
	return p.status
}

// notice waits until the leader has exited and leaves it a zombie.
func (p *process) notice() {
	defer close(p.exited)
	const (
		byPID = 1 // P_PID
		flags = syscall.WEXITED | syscall.WNOWAIT
	)
	var info [128]byte // siginfo_t, which tells nothing that end would not
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(p.pid), uintptr(unsafe.Pointer(&info)), flags, 0, 0)
		if errno != syscall.EINTR {
			return
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
