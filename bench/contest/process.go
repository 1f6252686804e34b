package contest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// startLimit is how long a process may take to listen.
	startLimit = 15 * time.Second
	// lookEvery is how exactly the moment of listening is seen.
	lookEvery = 100 * time.Microsecond
)

// Command is what to start.
type Command struct {
	// Name is for errors and for the file of the output.
	Name string
	Path string
	Args []string
	// Env is added to a short environment of PATH and HOME: what the caller's happens to hold is not measured.
	Env []string
	// Dir is where it runs and where its output is kept.
	Dir string
	// Address is where it will listen.
	Address string
}

// Process is a running Command. It is not for concurrent use, its measurements apart.
type Process struct {
	Command
	PID     int
	Started time.Time
	cmd     *exec.Cmd
	output  *os.File
	// ended is closed when the process was waited for.
	ended chan struct{}
}

// Start starts c and does not wait for it to listen.
func Start(c Command) (*Process, error) {
	output, err := os.Create(filepath.Join(c.Dir, c.Name+".log"))
	if err != nil {
		return nil, err
	}
	p := &Process{Command: c, output: output, ended: make(chan struct{})}
	p.cmd = exec.Command(c.Path, c.Args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = c.Dir, output, output
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.Dir, "TMPDIR=" + c.Dir}, c.Env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.Started = time.Now()
	if err := p.cmd.Start(); err != nil {
		output.Close()
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	p.PID = p.cmd.Process.Pid
	go func() {
		defer close(p.ended)
		// How it ended is in ProcessState; that it did is what matters.
		_ = p.cmd.Wait()
	}()
	return p, nil
}

// AwaitListening waits until the process takes connections and returns how long after its start that was.
func (p *Process) AwaitListening(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		c, err := net.Dial("tcp", p.Address)
		if err == nil {
			took := time.Since(p.Started)
			return took, c.Close()
		}
		select {
		case <-p.ended:
			return 0, p.failure("ended before it listened")
		case <-ctx.Done():
			return 0, p.failure("does not listen on " + p.Address)
		case <-tick.C:
		}
	}
}

// Check is an error if the process has ended.
func (p *Process) Check() error {
	select {
	case <-p.ended:
		return p.failure("ended")
	default:
		return nil
	}
}

// failure is an error with the end of what the process said.
func (p *Process) failure(what string) error {
	state := "still running"
	select {
	case <-p.ended:
		state = p.cmd.ProcessState.String()
	default:
	}
	return fmt.Errorf("%s %s (%s): %s", p.Name, what, state, p.Tail())
}

// Tail is the end of what the process has said.
func (p *Process) Tail() string {
	const enough = 2000
	info, err := p.output.Stat()
	if err != nil {
		return err.Error()
	}
	text := make([]byte, min(enough, info.Size()))
	n, _ := p.output.ReadAt(text, info.Size()-int64(len(text))) // what can be read is enough
	return strings.TrimSpace(string(text[:n]))
}

// Stop kills the process and all that descend from it, and deletes its output. It does not ask first: nothing of what is
// measured has anything to lose, and the OpenFaaS watchdogs would take half a minute to end.
func (p *Process) Stop() error {
	family := tree(p.PID)
	for _, m := range family {
		if m.alive() {
			// It may end this very moment, which is what is wanted.
			_ = syscall.Kill(m.pid, syscall.SIGKILL)
		}
	}
	<-p.ended
	// What was born meanwhile is in the group, unless it has left that; then it has lost its pipes to the watchdog and ends.
	if err := syscall.Kill(-p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	return errors.Join(p.output.Close(), os.Remove(p.output.Name()))
}

// Port finds a port of 127.0.0.1 that nobody listens on. Somebody else may take it before it is used; then that start fails.
func Port() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
