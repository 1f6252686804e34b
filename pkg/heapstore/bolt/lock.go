package bolt

import (
	"errors"
	"os"
	"syscall"

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
