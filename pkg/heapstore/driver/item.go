package driver

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// itemFormat is the first byte of an item that EncodeItem made.
const itemFormat = 1

var errItem = errors.New("a queued item is damaged")

// EncodeItem returns an item without its ID as bytes, in the order of DecodeItem.
func EncodeItem(i function.Item, dead bool) []byte {
	b := make([]byte, 0, 256+len(i.Payload))
	b = append(b, itemFormat, byte(i.Kind), bit(i.Serial), bit(dead))
	for _, text := range []string{i.Function.Namespace, i.Function.Name, i.Function.ID, i.CallID, i.Reason} {
		b = appendText(b, text)
	}
	b = binary.AppendUvarint(b, uint64(i.Accepted.UnixNano()))
	b = binary.AppendUvarint(b, uint64(i.Due.UnixNano()))
	b = binary.AppendUvarint(b, uint64(i.Attempts))
	return append(b, i.Payload...)
}

func bit(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// DecodeItem undoes EncodeItem. The payload shares memory with b.
func DecodeItem(b []byte) (i function.Item, dead bool, err error) {
	d := decoder{rest: b}
	if d.byte() != itemFormat {
		return i, false, errItem
	}
	i.Kind, i.Serial, dead = function.ItemKind(d.byte()), d.byte() == 1, d.byte() == 1
	for _, text := range []*string{&i.Function.Namespace, &i.Function.Name, &i.Function.ID, &i.CallID, &i.Reason} {
		*text = string(d.take(d.uvarint()))
	}
	i.Accepted, i.Due = time.Unix(0, int64(d.uvarint())), time.Unix(0, int64(d.uvarint()))
	i.Attempts, i.Payload = int(d.uvarint()), d.rest
	if d.damaged {
		return function.Item{}, false, errItem
	}
	return i, dead, nil
}

// Bounds fills in a queue's bounds.
func Bounds(b heapstore.QueueBounds) heapstore.QueueBounds {
	if b.Items == 0 {
		b.Items = heapstore.DefaultQueueItems
	}
	if b.Bytes == 0 {
		b.Bytes = heapstore.DefaultQueueBytes
	}
	if b.TotalItems == 0 {
		b.TotalItems = heapstore.DefaultTotalItems
	}
	if b.TotalBytes == 0 {
		b.TotalBytes = heapstore.DefaultTotalBytes
	}
	return b
}
