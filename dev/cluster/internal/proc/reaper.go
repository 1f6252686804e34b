package proc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
)

// Reaper waits for every child of this process, its own and those it inherits. With a Reaper running nothing else may
// wait for a child: exec.Cmd.Wait would lose its status to it.
type Reaper struct {
	mu      sync.Mutex
	waiting map[int]chan syscall.WaitStatus
}

// NewReaper gives a Reaper; Run makes it work.
func NewReaper() *Reaper {
	return &Reaper{waiting: make(map[int]chan syscall.WaitStatus)}
}

// Start starts cmd and returns a channel that gets its exit status, once. Standard streams must be files or nil.
func (r *Reaper) Start(cmd *exec.Cmd) (<-chan syscall.WaitStatus, error) {
	// Held over the start: a child that ends at once must not be reaped before it is known.
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan syscall.WaitStatus, 1)
	r.waiting[cmd.Process.Pid] = ended
	return ended, nil
}

// Run reaps until ctx ends.
func (r *Reaper) Run(ctx context.Context) error {
	signals := make(chan os.Signal, 1) // one pending signal stands for any number of dead children
	signal.Notify(signals, syscall.SIGCHLD)
	defer signal.Stop(signals)
	for {
		if err := r.reapAll(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-signals:
		}
	}
}

func (r *Reaper) reapAll() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.ECHILD) || pid == 0:
			return nil
		case err != nil:
			return err
		}
		if ended, ok := r.waiting[pid]; ok {
			delete(r.waiting, pid)
			ended <- status
		}
	}
}
