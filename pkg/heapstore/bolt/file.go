package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// When a checkpoint is made: when the log has so many bytes, which take seconds to be done again, or when the pages that are kept for
// the last checkpoint are so many and a part of the file, after a bucket was deleted or anyhow.
const (
	keptPagesDropped = 256
	keptPages        = 16 << 10
	// keptCommits is about how many transactions may have pages that are kept: bbolt looks through them at each one.
	keptCommits = 2 << 10
)

var walMaxBytes int64 = 64 << 20

// mapBytes is the address space that the file is given from the start. It takes no memory. A file that is larger is mapped anew as it
// grows, which takes a checkpoint.
var mapBytes = 1 << (28 + 4*(^uint(0)>>63))

// file is bbolt's file with a log in front of it. Only what is needed to do the last commits again is synced when they are made; bbolt makes
// one transaction of many, later, and until then they are read from the overlay. See doc.go, "How a commit gets to the disk".
type file struct {
	db  *bbolt.DB
	raw *os.File // bbolt's own, which closes it
	// cache has some of what is read from db.
	cache *cache

	// syncing is held while bbolt's file is synced, and guards unsynced, which is why that failed once.
	syncing  sync.Mutex
	unsynced error
	// ahead counts what syncs before a checkpoint.
	ahead sync.WaitGroup

	mu  sync.Mutex // held while a transaction or a checkpoint is made
	wal *wal
	// pin is a transaction that reads the last checkpoint: as long as it lasts, bbolt leaves alone what the checkpoint reaches.
	pin *bbolt.Tx
	// mapped is how much of the file bbolt has mapped at least. It cannot map more while there is a pin.
	mapped int64
	// tx is the transaction in which groups are made, nil if there is none; pending is what it has done and bbolt has not committed, and
	// over is that for readers. stuck is set when it is to be flushed before anything else is taken: the last flush, or group, failed.
	tx      *bbolt.Tx
	change  change
	pending pending
	over    overlay
	stuck   bool
	// groups counts those that were made. idle is the timer that waits until there are no more for a while; idling is for its end.
	groups uint64
	idle   *time.Timer
	idling sync.WaitGroup
	// commits is how many bbolt has made since the last checkpoint, kept how many pages are kept for that, and pages how many the file has.
	// dropped is set when a group deleted so much that a checkpoint is due.
	commits, kept, pages int64
	dropped              bool
	// coming is set while a checkpoint is made ready.
	coming bool
	// late is why the last checkpoint was not made, put how much longer the log has become since it was tried.
	late error
	put  int64
	// broken is why nothing can be written any more.
	broken error
	closed bool
}

func openFile(path string, lockTimeout time.Duration) (f *file, err error) {
	raw, err := openLocked(path, lockTimeout)
	if err != nil {
		return nil, err
	}
	return openRaw(raw, path)
}

// openRaw opens the file that is open and locked already, and closes it in the end.
func openRaw(raw *os.File, path string) (f *file, err error) {
	f = &file{raw: raw, cache: newCache()}
	if f.wal, err = openWAL(path + walSuffix); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	live := f.wal != nil && f.wal.head.live
	if live {
		if err := f.wal.head.putBack(raw); err != nil {
			return nil, errors.Join(err, f.wal.close(), raw.Close())
		}
	}
	if err := f.openBolt(); err != nil { // which closes raw
		if f.wal != nil {
			err = errors.Join(err, f.wal.close())
		}
		return nil, err
	}
	if live {
		err = f.recover()
	} else {
		err = f.start(path)
	}
	if err != nil {
		return nil, errors.Join(err, f.abandon())
	}
	return f, nil
}

// openBolt has bbolt open the file, which it writes nothing to yet.
func (f *file) openBolt() (err error) {
	// bbolt says so where a page is not what it should be.
	defer func() {
		if cause := recover(); cause != nil {
			err = errors.Join(fmt.Errorf("%w: damaged: %v", heapstore.ErrSchema, cause), f.raw.Close())
		}
	}()
	f.db, err = bbolt.Open(f.raw.Name(), 0o600, &bbolt.Options{
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return f.raw, nil },
		// The hash map finds free pages in constant time; the default, a sorted array, gets slow in a large fragmented file.
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: mapBytes,
		// It would sync the whole file each time it grows. Checkpoints sync it with its size.
		NoGrowSync: true,
		// It would write the list at once.
		NoFreelistSync: true,
	})
	if err != nil {
		return openError(err)
	}
	if err := f.checkName(); err != nil {
		return errors.Join(err, f.db.Close())
	}
	f.db.NoFreelistSync = false
	// So that bbolt refuses what it would need a larger map for, and nothing else: see bind.
	f.db.AllocSize = f.db.Info().PageSize
	info, err := f.raw.Stat()
	if err != nil {
		return errors.Join(err, f.db.Close())
	}
	f.mapped = mapSize(max(info.Size(), int64(mapBytes)))
	return nil
}

// mapSize is how much bbolt maps of a file.
func mapSize(bytes int64) int64 {
	const most = 1 << 30
	for size := int64(1 << 15); size <= most; size *= 2 {
		if bytes <= size {
			return size
		}
	}
	return (bytes + most - 1) / most * most
}

// checkName refuses a file that does not stand alone without the log whose name it has: it may be one that was copied while a store was
// open, or what a power cut has left.
func (f *file) checkName() error {
	name, err := logName(f.db)
	switch {
	case err != nil || name == 0:
		return err
	case f.wal == nil:
		return fmt.Errorf("%w: the file was not closed in order and needs its log, %q, which is not there", heapstore.ErrSchema, f.raw.Name()+walSuffix)
	case f.wal.head.name != name:
		return fmt.Errorf("%w: the file was not closed in order, and the log beside it is of another one", heapstore.ErrSchema)
	}
	return nil
}

// start begins a log beside a file that stands alone.
func (f *file) start(path string) (err error) {
	if err := errors.Join(prepare(f.db), syncFolder(path)); err != nil { // bbolt syncs the file that it makes, but not the folder that lists it
		return err
	}
	if f.wal == nil {
		if f.wal, err = createWAL(path + walSuffix); err != nil {
			return err
		}
	}
	// If the process ended here before, both have a name.
	if name, err := logName(f.db); err != nil {
		return err
	} else if name == 0 {
		// The log is the first to have it: if the process ends between the two, the file still stands alone.
		if err := f.wal.begin(head{name: random()}); err != nil {
			return err
		}
		if err := setLogName(f.db, f.wal.head.name); err != nil {
			return err
		}
	}
	return f.mark(true)
}

// recover does again what was committed since the checkpoint to which the file was taken back.
func (f *file) recover() (err error) {
	if f.pin, err = f.db.Begin(false); err != nil {
		return err
	}
	f.bind()
	if err := prepare(f.db); err != nil {
		return err
	}
	var records [][]byte
	if err := f.wal.read(func(ops []byte) error {
		records = append(records, ops)
		return nil
	}); err != nil {
		return err
	}
	const atOnce = 4 << 20
	for len(records) > 0 {
		n := 0
		for size := 0; n < len(records) && size < atOnce; n++ {
			size += len(records[n])
		}
		err := f.redo(records[:n], func() {})
		if errors.Is(err, bolterrors.ErrMaxSizeReached) {
			return f.redoUnbound(records) // all of them: the log ends with the pin
		}
		if err != nil {
			return err
		}
		records = records[n:]
	}
	// If the disk has no room for a checkpoint, the log goes on.
	f.tryCheckpoint()
	return f.broken
}

// bind has bbolt write without a sync, and without the list of free pages, which a checkpoint writes; and has it refuse to map more of
// the file, for which it would wait for the pin to end.
func (f *file) bind() {
	f.db.NoSync, f.db.NoFreelistSync, f.db.MaxSize = true, true, int(f.mapped)
}

// redo makes a transaction of records. before is called at its end.
func (f *file) redo(records [][]byte, before func()) error {
	return f.db.Update(func(tx *bbolt.Tx) error {
		for _, ops := range records {
			if err := redo(tx, ops); err != nil {
				return err
			}
		}
		before()
		return nil
	})
}

// redoUnbound is redo when bbolt needs a larger map, which makes a checkpoint. The pin may end behind the transaction's begin: what it may
// write over was known then.
func (f *file) redoUnbound(records [][]byte) error {
	if err := f.redo(records, f.unbind); err != nil {
		return err
	}
	return f.mark(true)
}

// unbind ends the pin, so that bbolt can map more of the file. The transaction that is under way is to be a checkpoint.
func (f *file) unbind() {
	f.db.MaxSize, f.db.NoFreelistSync = 0, false
	f.unpin()
}

func (f *file) unpin() {
	if f.pin != nil {
		_ = f.pin.Rollback() // which gives an error if it has ended
		f.pin = nil
	}
}

// update makes a group of what do changes, and returns when it is durable and can be read. If do changes nothing, there is none.
func (f *file) update(do func(c *change) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken == nil && f.dropped && !f.closed {
		f.tryCheckpoint()
	}
	if f.broken != nil {
		return f.broken
	}
	if f.stuck || f.pending.full() {
		if err := f.flush(); err != nil {
			return f.check(err)
		}
	}
	if err := f.open(); err != nil {
		return err
	}
	err := f.makeGroup(do)
	if errors.Is(err, errNothingWritten) {
		return nil
	}
	if err != nil {
		return f.check(err)
	}
	f.groups++
	f.flushLater()
	f.checkpointIfDue()
	return nil
}

// makeGroup has do change f.tx, and what it did put into the log. If that is not done, not even because of a panic, neither is the other:
// the transaction is rolled back, and made anew from what else is pending when it is needed.
func (f *file) makeGroup(do func(c *change) error) error {
	whole := false
	defer func() {
		if !whole {
			f.rollback()
			f.stuck = true // so that what is pending is flushed first next time, and not done again for each that fails
		}
	}()
	c := &f.change
	c.begin(f.tx)
	began := time.Now()
	if err := do(c); err != nil {
		whole = errors.Is(err, errNothingWritten) && c.empty()
		return err
	}
	if c.empty() {
		whole = true
		return errNothingWritten
	}
	took := time.Since(began)
	// Before anybody can read it: nobody reads what a power cut may take back.
	frame := c.ops
	if err := f.wal.append(frame); err != nil {
		return err
	}
	whole = true
	f.cache.hide(&c.written)
	defer f.cache.show()
	f.pending.add(frame[frameBytes:], len(c.touched), took)
	// The overlay knows of keys alone. And there is no use in keeping what fills it at once.
	if c.shapes || len(frame) > pendingBytes || len(c.touched) > min(pendingKeys, pendingDearKeys) {
		drops := c.drops
		if err := f.flush(); err != nil {
			return f.takeBack(frame, err)
		}
		// Whoever deleted a large bucket need not wait for it; whoever comes next finds the space.
		f.dropped = drops && f.kept > keptPagesDropped
		return nil
	}
	f.over.publish(c.touched)
	return nil
}

// takeBack makes the last record, of a group that was not flushed, one that never was, so that err is the truth.
func (f *file) takeBack(frame []byte, err error) error {
	f.pending.drop()
	if f.broken != nil {
		return err
	}
	return errors.Join(err, f.wal.takeBack(frame))
}

// check looks whether an error is one after which nothing can be written any more: what a disk says that it could not sync may be there
// or not, and a sync that succeeds later says nothing of it.
func (f *file) check(err error) error {
	if errors.Is(err, errSync) && f.broken == nil {
		f.broken = fmt.Errorf("nothing is written until the store is opened again: %w", err)
	}
	return errors.Join(err, f.late)
}

// checkpointIfDue makes a checkpoint when it is time. What was committed is durable whatever comes of it.
func (f *file) checkpointIfDue() {
	if !f.coming && (f.wal.end-walStart > f.put+walMaxBytes ||
		f.late == nil && (f.kept > keptPages && f.kept*2 > f.pages || f.kept > keptCommits && f.commits > keptCommits)) {
		f.coming = true
		f.ahead.Go(f.checkpointAhead)
	}
}

// checkpointAhead makes a checkpoint for which nobody waits long: nearly all of the file is synced while commits go on.
func (f *file) checkpointAhead() {
	// What is written during the first is the second's, which is so much shorter.
	_ = errors.Join(f.sync(), f.sync()) // the error lasts
	f.mu.Lock()
	defer f.mu.Unlock()
	f.coming = false
	if f.broken == nil && !f.closed {
		f.tryCheckpoint()
	}
}

// sync puts bbolt's file on the disk. An error lasts: a disk tells it once, and to one of all who sync.
func (f *file) sync() error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if f.unsynced == nil {
		if err := syncAll(f.raw); err != nil {
			f.unsynced = fmt.Errorf("%w: %w", errSync, err)
		}
	}
	return f.unsynced
}

// tryCheckpoint makes a checkpoint. If the disk has no room, the log grows for a while before it is tried again.
func (f *file) tryCheckpoint() {
	f.dropped = false
	if err := f.checkpoint(true); err != nil {
		f.late, f.put = fmt.Errorf("make a checkpoint: %w", err), f.wal.end-walStart
	}
}

// checkpoint puts all into bbolt's file, and starts the log anew. If it is not to be live, the file stands alone from then on.
func (f *file) checkpoint(live bool) error {
	if err := f.flush(); err != nil {
		return err
	}
	f.db.NoFreelistSync = false
	err := writeFreeList(f.db, live, func() {})
	if errors.Is(err, bolterrors.ErrMaxSizeReached) {
		if err := writeFreeList(f.db, live, f.unbind); err != nil {
			return errors.Join(err, f.mark(true)) // the next transaction would write over the last checkpoint
		}
		return f.mark(live)
	}
	f.db.NoFreelistSync = true
	if err != nil {
		return err
	}
	return f.mark(live)
}

// writeFreeList makes a transaction that writes next to nothing else. It is a variable for tests' sake.
var writeFreeList = func(db *bbolt.DB, live bool, before func()) error {
	return db.Update(func(tx *bbolt.Tx) (err error) {
		if !live {
			err = tx.Bucket(metaBucket).Delete(logKey)
		}
		before()
		return err
	})
}

// mark makes bbolt's file as it is a checkpoint. If that fails, nothing can be written any more.
func (f *file) mark(live bool) (err error) {
	defer func() {
		if err != nil {
			f.broken = fmt.Errorf("nothing is written until the store is opened again: %w", err)
		}
	}()
	pin, err := f.db.Begin(false)
	if err != nil {
		return err
	}
	if err := f.sync(); err != nil {
		return errors.Join(err, pin.Rollback())
	}
	h, pageSize := head{live: live, name: f.wal.head.name}, int64(f.db.Info().PageSize)
	if err = h.take(f.raw, pageSize, pin.ID()); err == nil {
		err = f.wal.begin(h)
	}
	if err != nil {
		return errors.Join(err, pin.Rollback())
	}
	// Only now: until the head is on the disk, the last checkpoint is what a power cut leaves.
	f.unpin()
	f.pin, f.commits, f.kept, f.late, f.put = pin, 0, 0, nil, 0
	// Not more than is sure: a file that was opened may fill its map to the last page.
	f.mapped = max(f.mapped, mapSize(pin.Size()))
	f.bind()
	return nil
}

// roundUp has a large file grow by large steps, as bbolt itself would: few syncs have a new length to keep then.
func (f *file) roundUp() {
	const step = 16 << 20
	if info, err := f.raw.Stat(); err == nil && info.Size() > step && info.Size()%step > 0 {
		_ = f.raw.Truncate((info.Size()/step + 1) * step) // otherwise it grows as it is written to
	}
}

// snapshot begins to read a checkpoint. With the list of free pages in it a copy can be looked through for damage.
func (f *file) snapshot() (*bbolt.Tx, error) {
	_ = f.sync() // so that commits wait less for the checkpoint; the error lasts
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, heapstore.ErrClosed
	}
	if f.broken != nil {
		return nil, f.broken
	}
	if err := f.checkpoint(true); err != nil {
		return nil, err
	}
	return f.db.Begin(false)
}

// close leaves a file that stands alone, if it can.
func (f *file) close() error {
	defer f.idling.Wait()
	defer f.ahead.Wait() // which needs f.mu
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	var err error
	if f.broken == nil {
		err = f.checkpoint(false)
	}
	return errors.Join(err, f.abandon())
}

// abandon closes the files as they are.
func (f *file) abandon() error {
	f.closed = true
	f.cache.close()
	if f.idle != nil && f.idle.Stop() {
		f.idle = nil
		f.idling.Done()
	}
	f.rollback() // bbolt would wait for it
	f.unpin()
	err := f.db.Close()
	f.over.clear() // behind that: nobody reads what is older meanwhile
	if f.wal != nil {
		err = errors.Join(err, f.wal.close())
	}
	return err
}

func openError(err error) error {
	for _, damage := range []error{bolterrors.ErrInvalid, bolterrors.ErrVersionMismatch, bolterrors.ErrChecksum} {
		if errors.Is(err, damage) {
			return fmt.Errorf("%w: %w", heapstore.ErrSchema, err)
		}
	}
	return err
}

// syncFolder makes a file's name durable.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
