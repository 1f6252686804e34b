package bolt

import (
	"errors"
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
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(timeout); ; time.Sleep(pause) {
		if err := lock(file); err == nil {
			return file, nil
		} else if !errors.Is(err, heapstore.ErrLocked) || time.Now().After(end) {
			return nil, errors.Join(err, file.Close())
		}
	}
}
