package proc

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Service is one program that is to run for ever.
type Service struct {
	Name string
	Args []string // Args[0] is the program, looked up in Path
	Env  []string
	// Log is the file that takes standard output and error.
	Log string
	// WaitFor are addresses, "tcp:HOST:PORT" or "unix:PATH", that must accept a connection before it starts.
	WaitFor []string
	// Prepare are commands that must succeed before every start. None by default.
	Prepare [][]string
}

const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// steady is how long a program must have run for its end to count as new trouble and not as more of the same.
	steady = 10 * time.Second
)

// nextBackoff gives the pause before the next start, from the pause before the last one and how long the program then ran.
func nextBackoff(last, ran time.Duration) time.Duration {
	if last == 0 || ran >= steady {
		return firstBackoff
	}
	return min(2*last, maxBackoff)
}

// Run starts the service and starts it again whenever it ends, until ctx does. It leaves the last process running: the end
// of the PID namespace is what ends it.
func (s Service) Run(ctx context.Context, log *slog.Logger, reaper *Reaper) error {
	var backoff time.Duration
	for {
		started := time.Now()
		err := s.once(ctx, reaper, func(pid int) {
			started = time.Now()
			log.Info("started", "service", s.Name, "pid", pid)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		backoff = nextBackoff(backoff, time.Since(started))
		log.Warn("ended", "service", s.Name, "err", err, "backoff_seconds", backoff.Seconds())
		if err := sleep(ctx, backoff); err != nil {
			return err
		}
	}
}

// once waits, prepares, runs and returns how the program ended. The error is never nil.
func (s Service) once(ctx context.Context, reaper *Reaper, started func(pid int)) error {
	for _, addr := range s.WaitFor {
		if err := WaitAddr(ctx, addr); err != nil {
			return err
		}
	}
	for _, args := range s.Prepare {
		if err := s.exec(ctx, reaper, args, nil); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	return s.exec(ctx, reaper, s.Args, started)
}

// exec runs args to their end. A nil started marks a command that is meant to end, so that status 0 is no error.
func (s Service) exec(ctx context.Context, reaper *Reaper, args []string, started func(pid int)) error {
	out, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.Env, out, out
	ended, err := reaper.Start(cmd)
	if err != nil {
		return err
	}
	if started != nil {
		started(cmd.Process.Pid)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case status := <-ended:
		return endError(args[0], status, started != nil)
	}
}

func endError(program string, status syscall.WaitStatus, forever bool) error {
	switch {
	case status.Signaled():
		return fmt.Errorf("%s: killed by %s", program, status.Signal())
	case status.ExitStatus() != 0 || forever:
		return fmt.Errorf("%s: exit status %d", program, status.ExitStatus())
	}
	return nil
}

// WaitAddr returns once addr ("tcp:HOST:PORT" or "unix:PATH") accepts a connection.
func WaitAddr(ctx context.Context, addr string) error {
	network, address, ok := cutAddr(addr)
	if !ok {
		return fmt.Errorf("wait for %q: want tcp:HOST:PORT or unix:PATH", addr)
	}
	dialer := net.Dialer{Timeout: time.Second}
	for {
		conn, err := dialer.DialContext(ctx, network, address)
		if err == nil {
			return conn.Close()
		}
		if err := sleep(ctx, pollEvery/2); err != nil {
			return fmt.Errorf("wait for %s: %w", addr, err)
		}
	}
}

func cutAddr(addr string) (network, address string, ok bool) {
	for _, network := range []string{"tcp", "unix"} {
		if len(addr) > len(network)+1 && addr[:len(network)+1] == network+":" {
			return network, addr[len(network)+1:], true
		}
	}
	return "", "", false
}
