package bolt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"go.etcd.io/bbolt"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// Snapshot returns a copy of the whole file as it was at one moment, between two commits, while the store goes on. The copy is
// made before Snapshot returns, beside the store's file and with no name, so that nothing is left of it when it is closed or the
// process dies: its reader may be as slow as it likes, which one of the store's own transactions would make the file grow for. A
// disk without room for it gives an error.
func (s *Store) Snapshot(ctx context.Context) (snapshot *os.File, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(filepath.Dir(s.db.Path()), ".snapshot-*")
	if err != nil {
		return nil, fmt.Errorf("copy heap store: %w", err)
	}
	if err = errors.Join(os.Remove(file.Name()), s.copyTo(&cancelled{ctx: ctx, to: file})); err == nil {
		err = standAlone(file)
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("copy heap store: %w", err), file.Close())
	}
	return file, nil
}

func (s *Store) copyTo(to io.Writer) error {
	tx, err := s.file.snapshot()
	if err != nil {
		return err
	}
	_, err = tx.WriteTo(to)
	return errors.Join(err, tx.Rollback())
}

// standAlone makes a whole copy one that needs no log.
func standAlone(file *os.File) error {
	fd, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		return err
	}
	db, err := bbolt.Open(file.Name(), 0o600, &bbolt.Options{
		// For bbolt to close. The file has no name to open it by.
		OpenFile:     func(path string, _ int, _ os.FileMode) (*os.File, error) { return os.NewFile(uintptr(fd), path), nil },
		FreelistType: bbolt.FreelistMapType, NoSync: true, NoGrowSync: true,
	})
	if err != nil {
		return err
	}
	return errors.Join(writeFreeList(db, false, func() {}), db.Close())
}

// cancelled ends a copy whose reader has gone.
type cancelled struct {
	ctx context.Context
	to  io.Writer
}

func (c *cancelled) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.to.Write(p)
}

// Restore makes the file at path of a snapshot. It takes the snapshot only if it is whole: of a schema that Open knows, and
// without damage. A store that was there is kept beside it with its log, with ".replaced" behind its name, in place of an earlier one; if a
// process has it open, the error wraps heapstore.ErrLocked and nothing is changed. Until the new file is in its place, under
// its name, and on the disk, the old one is.
func Restore(snapshot io.Reader, path string) error {
	if err := restore(snapshot, path); err != nil {
		return fmt.Errorf("restore heap store %q: %w", path, err)
	}
	return nil
}

func restore(snapshot io.Reader, path string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".restore-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	_, err = io.Copy(file, snapshot)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := checkSnapshot(file.Name()); err != nil {
		return err
	}
	// As long as the old file's log is there.
	locked, err := openLocked(file.Name(), 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, locked.Close()) }()
	release, err := setAside(path)
	if err != nil {
		return err
	}
	// It is about items of the file that was there.
	err = removeIfThere(path + begunSuffix)
	if err = errors.Join(err, os.Rename(file.Name(), path)); err != nil {
		return errors.Join(err, release())
	}
	// The old file's log goes when the new file is in its place for good. If the power is cut between the two, the log is refused, as it
	// is of another file.
	return errors.Join(syncFolder(path), removeIfThere(path+walSuffix), release(), syncFolder(path))
}

func removeIfThere(path string) error {
	err := os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// checkSnapshot refuses a file that Open would refuse, or that is damaged. It changes nothing in it.
func checkSnapshot(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return openError(err)
	}
	return errors.Join(checkPages(db, path), db.Close())
}

func checkPages(db *bbolt.DB, path string) (err error) {
	// bbolt says so where a page is not what it should be.
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: damaged: %v", heapstore.ErrSchema, cause)
		}
	}()
	err = db.View(func(tx *bbolt.Tx) error {
		// First of all: to read a page that is not in the file would end the process.
		if info, err := os.Stat(path); err != nil || info.Size() < tx.Size() {
			return errors.Join(err, fmt.Errorf("%w: the file broke off: %d bytes are needed", heapstore.ErrSchema, tx.Size()))
		}
		var damage error
		for found := range tx.Check() { // to its end, which frees the goroutine that looks
			damage = errors.Join(damage, found)
		}
		return damage
	})
	if err != nil {
		return err
	}
	found, err := schemaOf(db)
	if err != nil {
		return err
	}
	if !readable(found) {
		return fmt.Errorf("%w: the snapshot has schema %q, this version of the program knows schema %d", heapstore.ErrSchema, found, schemaVersion)
	}
	name, err := logName(db)
	if err == nil && name != 0 {
		err = fmt.Errorf("%w: it is no snapshot but the file of a store that was not closed, without its log", heapstore.ErrSchema)
	}
	return err
}

// readable reports whether Open takes a file of a schema.
func readable(schema string) bool {
	n, err := strconv.Atoi(schema)
	return err == nil && n >= 1 && n <= schemaVersion
}

// setAside gives the file at path another name, if there is one, and keeps it from being opened until release is called: a
// provider that starts meanwhile finds the new one.
func setAside(path string) (release func() error, err error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return func() error { return nil }, nil
	}
	// The least that takes the lock. What is in the file does not matter: it may be damaged, which is a reason to restore.
	old, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := lock(old); err != nil {
		return nil, errors.Join(err, old.Close())
	}
	// A link and not a rename: if what follows fails, the old file is where it was.
	aside := path + ".replaced"
	if err := errors.Join(removeIfThere(aside), removeIfThere(aside+walSuffix)); err != nil {
		return nil, errors.Join(err, old.Close())
	}
	err = os.Link(path+walSuffix, aside+walSuffix)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err := errors.Join(err, os.Link(path, aside)); err != nil {
		return nil, errors.Join(err, old.Close())
	}
	return old.Close, nil
}
