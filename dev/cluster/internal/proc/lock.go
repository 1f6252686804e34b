package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrHeld is returned by TryLock when another process holds the lock.
var ErrHeld = errors.New("held by another process")

// pollEvery is how often waiting for a lock looks again. flock(2) can block, but not be cancelled.
const pollEvery = 100 * time.Millisecond

// Lock is a file that at most one process holds. It is released by Release or by the end of the process; children do not
// inherit it.
type Lock struct{ file *os.File }

// TryLock takes the lock, or returns ErrHeld at once. pid is what Holder will report: the process's number as seen from
// outside, which a process in its own PID namespace cannot get from the kernel.
func TryLock(path string, pid int) (*Lock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrHeld
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := file.Truncate(0); err != nil {
		file.Close()
		return nil, err
	}
	if _, err := file.WriteAt([]byte(strconv.Itoa(pid)), 0); err != nil {
		file.Close()
		return nil, err
	}
	return &Lock{file: file}, nil
}

// WaitLock takes the lock, waiting as long as ctx lets it. It calls waiting, once, if it must wait.
func WaitLock(ctx context.Context, path string, pid int, waiting func(holder int)) (*Lock, error) {
	for first := true; ; first = false {
		lock, err := TryLock(path, pid)
		if !errors.Is(err, ErrHeld) {
			return lock, err
		}
		if first {
			holder, _, err := Holder(path)
			if err != nil {
				return nil, err
			}
			waiting(holder)
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return nil, err
		}
	}
}

// Release lets go of the lock.
func (l *Lock) Release() error { return l.file.Close() }

// Holder tells whether any process holds the lock, and which pid it gave. The pid is 0 in the moment between taking the lock
// and writing it.
func Holder(path string) (pid int, held bool, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer file.Close()
	// A shared lock is refused exactly while somebody holds the exclusive one, and goes when the file is closed.
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil {
		return 0, false, nil
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return 0, false, err
	}
	raw := make([]byte, 20)
	n, _ := file.ReadAt(raw, 0) // a short read is the normal case
	pid, err = strconv.Atoi(strings.TrimSpace(string(raw[:n])))
	if err != nil {
		return 0, true, nil
	}
	return pid, true, nil
}

// KillHolder kills whoever holds the lock and returns its pid, 0 if nobody does, once the lock is free and the process dead.
func KillHolder(ctx context.Context, path string) (killed int, err error) {
	for {
		pid, held, err := Holder(path)
		if err != nil || !held {
			return killed, err
		}
		if pid > 0 {
			killed = pid
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return killed, fmt.Errorf("kill %d: %w", pid, err)
			}
			if err := waitEnd(ctx, pid, true); err != nil {
				return killed, fmt.Errorf("end of process %d: %w", pid, err)
			}
		}
		if err := sleep(ctx, pollEvery/10); err != nil {
			return killed, err
		}
	}
}

// WaitCollected returns once nothing is left of a process that ended, or after limit: its parent may never collect it.
func WaitCollected(ctx context.Context, pid int, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := waitEnd(limited, pid, false); err != nil && limited.Err() == nil {
		return err
	}
	return ctx.Err()
}

// waitEnd returns once the process is gone, or, with zombie, dead but not collected. The first process of a PID namespace
// becomes a zombie only after everything in the namespace has ended, so this waits for all of it.
func waitEnd(ctx context.Context, pid int, zombie bool) error {
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			return nil
		}
		if err != nil {
			return err
		}
		// The state follows the command, which is in parentheses and may itself hold any character.
		if _, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " "); zombie && strings.HasPrefix(rest, "Z") {
			return nil
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
