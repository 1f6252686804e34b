package bolt

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// lock takes the lock that bbolt holds on an open file. It ends when the file is closed.
func lock(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return heapstore.ErrLocked
	}
	return err
}

// openLocked opens a store's file, and makes it if it is absent, and waits for its lock.
func openLocked(path string, timeout time.Duration) (*os.File, error) {
	const pause = 50 * time.Millisecond
	if timeout == 0 {
		timeout = defaultLockTimeout
	}
	for end := time.Now().Add(timeout); ; time.Sleep(pause) {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err = lock(file); err == nil {
			err = checkPath(file, path)
		}
		if err == nil {
			return file, nil
		}
		if err = errors.Join(err, file.Close()); !errors.Is(err, heapstore.ErrLocked) || time.Now().After(end) {
			return nil, err
		}
	}
}

// checkPath finds a file locked that is not at its path any more: whoever had it has put another one there.
func checkPath(file *os.File, path string) error {
	locked, err := file.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(locked, there) {
		return fmt.Errorf("%w, which replaces it", heapstore.ErrLocked)
	}
	return nil
}
