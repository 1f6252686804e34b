package bolt

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// entryFormat is the first byte of what a key holds, followed by three uvarints, namely the version, the time of the write
// in Unix nanoseconds and the length of the call id, by the call id and by the value. Nothing that a contract committed under
// schema 2 begins so: that was a value alone, and JSON.
const entryFormat = 1

// firstVersion is that of all keys that were written under schema 2.
const firstVersion = 1

var errEntry = errors.New("an entry of a heap is damaged")

func encodeEntry(value []byte, version uint64, callID string, now time.Time) []byte {
	b := make([]byte, 0, 1+3*binary.MaxVarintLen64+len(callID)+len(value))
	b = append(b, entryFormat)
	b = binary.AppendUvarint(b, version)
	b = binary.AppendUvarint(b, uint64(now.UnixNano()))
	b = binary.AppendUvarint(b, uint64(len(callID)))
	b = append(b, callID...)
	return append(b, value...)
}

// decodeEntry undoes encodeEntry. The entry's value is a part of b.
func decodeEntry(key string, b []byte) (heapstore.Entry, error) {
	if len(b) == 0 || b[0] != entryFormat {
		return heapstore.Entry{Key: key, Value: b, Version: firstVersion}, nil
	}
	var numbers [3]uint64
	rest := b[1:]
	for i := range numbers {
		n, length := binary.Uvarint(rest)
		if length <= 0 {
			return heapstore.Entry{}, errEntry
		}
		numbers[i], rest = n, rest[length:]
	}
	if numbers[2] > uint64(len(rest)) {
		return heapstore.Entry{}, errEntry
	}
	return heapstore.Entry{
		Key: key, Value: rest[numbers[2]:], Version: numbers[0], CallID: string(rest[:numbers[2]]), At: time.Unix(0, int64(numbers[1])),
	}, nil
}
