package bolt

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"os"
	"syscall"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// walSuffix is behind the store's own name.
const walSuffix = ".wal"

// The log's layout: two heads, of which the one with the greater epoch counts, each in a block of its own; behind them records. Numbers are little-endian.
//
//	head     magic (8 bytes), epoch (8), salt (8), live (1), the number of the first record (8), the log's name (8), bbolt's meta page
//	         as far as it is used (80), the checksum of its roots (4), the checksum of all that (4)
//	record   length of its operations (4), checksum (4), number (8), operations
//
// A record's checksum is over the salt as well, which is new with each epoch and known to nobody else, and numbers go on from epoch to
// epoch: what is left of an earlier one is none of this, not even if a contract has written into its heap what looks like a record. A
// head is within a sector, and so is never torn.
const (
	headBytes  = 4096
	walStart   = 2 * headBytes
	frameBytes = 4 + 4 + 8

	// bbolt's page header and its meta: see internal/common in its source.
	pageHeadBytes = 16
	metaBytes     = pageHeadBytes + 64
	noFreeList    = -1

	// The file grows by as much as it has, within these, so that few appends have more to write than what they append.
	walGrowsFrom, walGrowsTo = 256 << 10, 4 << 20
)

var (
	walMagic   = [8]byte{'d', 'c', 'h', 'e', 'a', 'p', 'w', 1}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errSync = errors.New("the disk did not keep what was written")

	// Disks that fail are made of these.
	syncData = syscall.Fdatasync
	syncAll  = (*os.File).Sync
)

// head says what a log is about.
type head struct {
	epoch, salt uint64
	// live says that the store's file is to be taken back to meta, and the records to be done again. Otherwise the file stands alone.
	live bool
	// first is the number of the first record. name is what the store's file has, or is about to have, until it stands alone.
	first, name uint64
	// meta is bbolt's, of the checkpoint; rootSum is the checksum of the pages that it begins with.
	meta    [metaBytes]byte
	rootSum uint32
}

// wal is the log: what was committed since the last checkpoint. It is not safe for concurrent use.
type wal struct {
	file *os.File
	head head
	// end is where the next record goes, next its number, size what the file has for records.
	end, size int64
	next      uint64
}

// openWAL opens a log; it returns nil if there is none. The store's lock is held.
func openWAL(path string) (*wal, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	w := &wal{file: file, end: walStart}
	if err := w.readHead(); err != nil {
		return nil, errors.Join(fmt.Errorf("log %q: %w", path, err), file.Close())
	}
	return w, nil
}

// readHead reads the head that counts.
func (w *wal) readHead() error {
	info, err := w.file.Stat()
	if err != nil {
		return err
	}
	var blocks [walStart]byte
	if _, err := w.file.ReadAt(blocks[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	// A log is made with a head that is not live: if there is none yet, nothing was in it.
	for _, block := range [][]byte{blocks[:headBytes], blocks[headBytes:]} {
		h, ok := decodeHead(block)
		if !ok && len(bytes.Trim(block, "\x00")) > 0 {
			return fmt.Errorf("%w: it is damaged, or no log", heapstore.ErrSchema)
		}
		if ok && h.epoch >= w.head.epoch {
			w.head = h
		}
	}
	w.next, w.size = w.head.first, info.Size()
	return nil
}

// createWAL makes a log that is not live, and its name durable.
func createWAL(path string) (*wal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	w := &wal{file: file, end: walStart}
	if err := errors.Join(w.grow(walStart), w.write(head{}), syncFolder(path)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return w, nil
}

// begin starts the log anew. What is in it does not count from then on.
func (w *wal) begin(h head) error {
	h.epoch, h.salt, h.first = w.head.epoch+1, random(), w.next
	if err := w.grow(walStart); err != nil {
		return err
	}
	return w.write(h)
}

// random is a number that nobody else knows.
func random() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func (w *wal) write(h head) error {
	if _, err := w.file.WriteAt(encodeHead(h), int64(h.epoch%2)*headBytes); err != nil {
		return fmt.Errorf("%w: %w", errSync, err)
	}
	if err := w.sync(); err != nil {
		return err
	}
	w.head, w.end = h, walStart
	return nil
}

// append makes a record durable. frame is the operations behind frameBytes of room. After any error but errSync the log is as it was.
func (w *wal) append(frame []byte) error {
	if len(frame)-frameBytes > 1<<32-1 {
		return fmt.Errorf("a transaction of %d bytes", len(frame))
	}
	if err := w.grow(w.end + int64(len(frame))); err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-frameBytes))
	binary.LittleEndian.PutUint64(frame[8:], w.next)
	binary.LittleEndian.PutUint32(frame[4:], w.sum(frame))
	if _, err := w.file.WriteAt(frame, w.end); err != nil {
		return errors.Join(err, w.erase(w.end)) // it may be there all the same, if what is missing is as what was there
	}
	if err := w.sync(); err != nil {
		return err
	}
	w.end += int64(len(frame))
	w.next++
	return nil
}

// takeBack makes the last record one that never was.
func (w *wal) takeBack(frame []byte) error {
	at := w.end - int64(len(frame))
	if err := w.erase(at); err != nil {
		return err
	}
	w.end = at
	w.next--
	return nil
}

// erase ends the log for whoever reads it.
func (w *wal) erase(at int64) error {
	if _, err := w.file.WriteAt(make([]byte, frameBytes), at); err != nil {
		return fmt.Errorf("%w: %w", errSync, err)
	}
	return w.sync()
}

// grow makes room for records up to end, with zeros: a sync of what is written over them has no more to keep than that.
func (w *wal) grow(end int64) error {
	for w.size < end {
		more := min(max(w.size, walGrowsFrom), walGrowsTo)
		if _, err := w.file.WriteAt(make([]byte, more), w.size); err != nil {
			return err
		}
		w.size += more
	}
	return nil
}

func (w *wal) sync() error {
	for {
		switch err := syncData(int(w.file.Fd())); {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EINTR):
			return fmt.Errorf("%w: %w", errSync, err)
		}
	}
}

// sum is a record's checksum, over all of its frame but the checksum itself.
func (w *wal) sum(frame []byte) uint32 {
	sum := crc32.Update(0, castagnoli, binary.LittleEndian.AppendUint64(nil, w.head.salt))
	sum = crc32.Update(sum, castagnoli, frame[:4])
	return crc32.Update(sum, castagnoli, frame[8:])
}

// read calls do for the operations of each record, which are do's to keep, up to the log's end.
func (w *wal) read(do func(ops []byte) error) error {
	for {
		var frame [frameBytes]byte
		if w.end+frameBytes > w.size {
			return nil
		}
		if _, err := w.file.ReadAt(frame[:], w.end); err != nil {
			return err
		}
		length := int64(binary.LittleEndian.Uint32(frame[:]))
		if length == 0 || length > w.size-w.end-frameBytes || binary.LittleEndian.Uint64(frame[8:]) != w.next {
			return nil
		}
		record := make([]byte, frameBytes+length)
		if _, err := w.file.ReadAt(record, w.end); err != nil {
			return err
		}
		if binary.LittleEndian.Uint32(record[4:]) != w.sum(record) {
			return nil
		}
		if err := do(record[frameBytes:]); err != nil {
			return err
		}
		w.end += int64(len(record))
		w.next++
	}
}

func (w *wal) close() error { return w.file.Close() }

func encodeHead(h head) []byte {
	b := append(make([]byte, 0, headBytes), walMagic[:]...)
	b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, h.epoch), h.salt)
	live := byte(0)
	if h.live {
		live = 1
	}
	b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(append(b, live), h.first), h.name)
	b = binary.LittleEndian.AppendUint32(append(b, h.meta[:]...), h.rootSum)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:headBytes]
}

func decodeHead(b []byte) (h head, ok bool) {
	const metaAt = 8 + 8 + 8 + 1 + 8 + 8
	const used = metaAt + metaBytes + 4
	if !bytes.Equal(b[:8], walMagic[:]) || binary.LittleEndian.Uint32(b[used:]) != crc32.Checksum(b[:used], castagnoli) {
		return h, false
	}
	h.epoch, h.salt = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	h.live, h.first, h.name = b[24] == 1, binary.LittleEndian.Uint64(b[25:]), binary.LittleEndian.Uint64(b[33:])
	copy(h.meta[:], b[metaAt:])
	h.rootSum = binary.LittleEndian.Uint32(b[metaAt+metaBytes:])
	return h, true
}

// meta is what is read in a meta page of bbolt, whose numbers are the machine's.
type meta struct{ pageSize, root, free, pages int64 }

func readMeta(page []byte) (m meta, err error) {
	const magic, version, sumAt = 0xED0CDAED, 2, 56
	b := page[pageHeadBytes:metaBytes]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:sumAt]) // never fails
	if binary.NativeEndian.Uint32(b) != magic || binary.NativeEndian.Uint32(b[4:]) != version || binary.NativeEndian.Uint64(b[sumAt:]) != sum.Sum64() {
		return m, errors.New("no meta page of bbolt")
	}
	return meta{
		pageSize: int64(binary.NativeEndian.Uint32(b[8:])), root: int64(binary.NativeEndian.Uint64(b[16:])),
		free: int64(binary.NativeEndian.Uint64(b[32:])), pages: int64(binary.NativeEndian.Uint64(b[40:])),
	}, nil
}

// sumRoots is the checksum of the two pages at which all of a bbolt file begins, that of the buckets and that of the free pages. The
// first holds the log's name, and the counters of all heaps and of the queue, and so tells a checkpoint from any other.
func sumRoots(file *os.File, m meta) (sum uint32, err error) {
	page := make([]byte, m.pageSize)
	for _, id := range []int64{m.root, m.free} {
		if id == noFreeList {
			continue
		}
		if _, err := file.ReadAt(page, id*m.pageSize); err != nil {
			return 0, err
		}
		sum = crc32.Update(sum, castagnoli, page)
	}
	return sum, nil
}

// take reads from bbolt's file what a head says of the checkpoint that a transaction sees.
func (h *head) take(file *os.File, pageSize int64, txID int) error {
	if _, err := file.ReadAt(h.meta[:], int64(txID%2)*pageSize); err != nil {
		return err
	}
	m, err := readMeta(h.meta[:])
	if err != nil {
		return err
	}
	h.rootSum, err = sumRoots(file, m)
	return err
}

// putBack takes bbolt's file back to the checkpoint: nothing that it reaches was written over since. It may be repeated.
func (h *head) putBack(file *os.File) error {
	m, err := readMeta(h.meta[:])
	if err != nil {
		return fmt.Errorf("%w: the log's checkpoint: %w", heapstore.ErrSchema, err)
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < m.pages*m.pageSize {
		return fmt.Errorf("%w: the file has %d bytes, and its log is of one with at least %d: they do not belong together",
			heapstore.ErrSchema, info.Size(), m.pages*m.pageSize)
	}
	switch sum, err := sumRoots(file, m); {
	case err != nil:
		return err
	case sum != h.rootSum:
		return fmt.Errorf("%w: the file is not the one that its log is of, or is damaged", heapstore.ErrSchema)
	}
	for slot := range int64(2) {
		page := make([]byte, m.pageSize)
		copy(page, h.meta[:])
		binary.NativeEndian.PutUint64(page, uint64(slot))
		if _, err := file.WriteAt(page, slot*m.pageSize); err != nil {
			return err
		}
	}
	return file.Sync()
}
