package bolt

import (
	"encoding/binary"
	"io"
	"os"
)

const (
	// begunSuffix is behind the store's own name.
	begunSuffix = ".begun"
	// begunBytes is the size of a note: the item's id (8 bytes; 0 is none), how often its provider died (4), and whether it is
	// leased (4), all big-endian.
	begunBytes = 16
)

// begun notes which items are leased, so that the next to open the store knows at which of them its predecessor died: one that is
// every provider's end must not come again for ever. It is a file of its own, which is never synced and so costs next to nothing: what
// a process has written the kernel keeps when it dies, and a machine that lost its power was not felled by an item. What the file does
// not tell, because it could not be written or is gone, is one death that does not count.
type begun struct {
	file  *os.File
	notes map[uint64]*begunNote
	free  []int64
	end   int64
}

type begunNote struct {
	at     int64
	lost   int
	leased bool
}

// openBegun reads the notes of the items that are there, and counts a death for those that were leased. The store's lock is held.
func openBegun(path string, there func(id uint64) bool) *begun {
	b := &begun{notes: map[uint64]*begunNote{}}
	file, err := os.OpenFile(path+begunSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return b // a full disk must not keep heaps from being read
	}
	b.file = file
	old, err := io.ReadAll(file)
	if err != nil || file.Truncate(0) != nil {
		return b
	}
	for ; len(old) >= begunBytes; old = old[begunBytes:] {
		id, lost := binary.BigEndian.Uint64(old), int(binary.BigEndian.Uint32(old[8:]))
		if binary.BigEndian.Uint32(old[12:]) != 0 {
			lost++
		}
		if id != 0 && lost > 0 && there(id) {
			b.put(id, lost, false)
		}
	}
	return b
}

// put writes a note.
func (b *begun) put(id uint64, lost int, leased bool) {
	n := b.notes[id]
	if n == nil {
		n = &begunNote{at: b.end}
		if last := len(b.free) - 1; last >= 0 {
			n.at, b.free = b.free[last], b.free[:last]
		} else {
			b.end += begunBytes
		}
		b.notes[id] = n
	}
	n.lost, n.leased = lost, leased
	b.write(n.at, id, lost, leased)
}

func (b *begun) write(at int64, id uint64, lost int, leased bool) {
	if b.file == nil {
		return
	}
	var note [begunBytes]byte
	binary.BigEndian.PutUint64(note[:], id)
	binary.BigEndian.PutUint32(note[8:], uint32(lost))
	if leased {
		note[15] = 1
	}
	_, _ = b.file.WriteAt(note[:], at) // see begun
}

// lease notes that an item is begun, and returns how often it was so when its provider died.
func (b *begun) lease(id uint64) (lost int) {
	if n := b.notes[id]; n != nil {
		lost = n.lost
	}
	b.put(id, lost, true)
	return lost
}

// rest notes that an item is back in its line.
func (b *begun) rest(id uint64) {
	if n := b.notes[id]; n != nil && n.lost > 0 {
		b.put(id, n.lost, false)
		return
	}
	b.forget(id)
}

// forget drops the note of an item that is no more.
func (b *begun) forget(id uint64) {
	if n := b.notes[id]; n != nil {
		delete(b.notes, id)
		b.free = append(b.free, n.at)
		b.write(n.at, 0, 0, false)
	}
}

// close says that the provider ends in order: nothing that it had begun has killed it.
func (b *begun) close() error {
	for id, n := range b.notes {
		if n.leased {
			b.rest(id)
		}
	}
	if b.file == nil {
		return nil
	}
	return b.file.Close()
}
