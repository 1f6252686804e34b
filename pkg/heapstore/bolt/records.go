package bolt

import (
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/driver"
)

// trimAtOnce is how many old records one commit deletes at most. More than one, so that a store that has too many gets rid
// of them.
const trimAtOnce = 4

var (
	idsBucket = []byte("ids")
	logBucket = []byte("log")
)

// Recorded is heapstore.Store's.
func (s *Store) Recorded(ctx context.Context, h heapstore.Heap, callID string) (r heapstore.Record, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return r, false, wrap("look up a call of", h, err)
	}
	if entry, held := s.pendingRecord(h, callID); held {
		if entry != nil {
			r, err = driver.DecodeRecord(entry[entryHead+len(callID):])
			found = err == nil
		}
		return r, found, wrap("look up a call of", h, err)
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		if heapsOf(tx).Bucket(bucketName(h)) == nil {
			return heapstore.ErrNoHeap
		}
		calls := callsOf(tx).Bucket(bucketName(h))
		if calls == nil {
			return nil
		}
		number := calls.Bucket(idsBucket).Get([]byte(callID))
		if number == nil {
			return nil
		}
		entry := calls.Bucket(logBucket).Get(number)
		r, err = driver.DecodeRecord(entry[entryHead+len(callID):])
		found = err == nil
		return err
	})
	return r, found, wrap("look up a call of", h, err)
}

// pendingRecord returns the log's entry of a call that is pending, or nil if its deletion is.
func (s *Store) pendingRecord(h heapstore.Heap, callID string) (entry []byte, held bool) {
	over := &s.file.over
	if !over.any.Load() {
		return nil, false
	}
	over.mu.RLock()
	defer over.mu.RUnlock()
	calls := over.root.at(callsBucket, bucketName(h))
	number, held := calls.at(idsBucket).get([]byte(callID))
	if number != nil {
		entry, _ = calls.at(logBucket).get(number) // of the same group
	}
	return entry, held
}

// entryHead is the length of what an entry of the log has before the call id: its time and the id's length.
const entryHead = 8 + 2

func isRecorded(tx *change, h heapstore.Heap, callID string) bool {
	calls := tx.calls().Bucket(bucketName(h))
	return calls != nil && calls.Bucket(idsBucket).Get([]byte(callID)) != nil
}

// record adds an entry to a heap's log and deletes the oldest ones if it holds too much. The sequence of the ids' bucket is
// the sum of the entries' bytes, that of the log's the number of the last entry.
func (s *Store) record(tx *change, h heapstore.Heap, callID string, encoded []byte, now time.Time) error {
	calls, err := tx.calls().CreateBucketIfNotExists(bucketName(h))
	if err != nil {
		return err
	}
	ids, err := calls.CreateBucketIfNotExists(idsBucket)
	if err != nil {
		return err
	}
	log, err := calls.CreateBucketIfNotExists(logBucket)
	if err != nil {
		return err
	}
	sequence, err := log.NextSequence()
	if err != nil {
		return err
	}
	entry := make([]byte, 0, entryHead+len(callID)+len(encoded))
	entry = binary.BigEndian.AppendUint64(entry, uint64(now.UnixNano()))
	entry = binary.BigEndian.AppendUint16(entry, uint16(len(callID)))
	entry = append(append(entry, callID...), encoded...)
	number := binary.BigEndian.AppendUint64(nil, sequence)
	if err := log.Put(number, entry); err != nil {
		return err
	}
	if err := ids.Put([]byte(callID), number); err != nil {
		return err
	}
	if err := ids.SetSequence(ids.Sequence() + uint64(len(entry))); err != nil {
		return err
	}
	return s.trim(ids, log, now)
}

// trim deletes the oldest entries of a log that are too old or too many, and always leaves the newest.
func (s *Store) trim(ids, log *bucket, now time.Time) error {
	for range trimAtOnce {
		number, entry := log.First()
		first, last := binary.BigEndian.Uint64(number), log.Sequence()
		old := now.Sub(time.Unix(0, int64(binary.BigEndian.Uint64(entry)))) > s.recordAge
		if first == last || !old && last-first < heapstore.MaxRecords && ids.Sequence() <= heapstore.MaxRecordBytes {
			return nil
		}
		size := uint64(len(entry))
		id := append([]byte{}, entry[entryHead:entryHead+int(binary.BigEndian.Uint16(entry[8:]))]...)
		if err := ids.Delete(id); err != nil {
			return err
		}
		if err := log.Delete(append([]byte{}, number...)); err != nil {
			return err
		}
		if err := ids.SetSequence(ids.Sequence() - size); err != nil {
			return err
		}
	}
	return nil
}
