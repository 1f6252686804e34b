package driver

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// recordFormat is the first byte of a record that EncodeRecord made.
const recordFormat = 1

var errRecord = errors.New("a recorded answer is damaged")

// EncodeRecord returns a record as bytes: a format byte, the digest, the status, whether it is bodiless, headers and
// trailers as counted names and values in the order of the names, and the body. Counts and lengths are uvarints.
func EncodeRecord(r function.Record) []byte {
	b := make([]byte, 0, 512+len(r.Answer.Body))
	b = append(b, recordFormat)
	b = append(b, r.Digest[:]...)
	b = binary.AppendUvarint(b, uint64(r.Answer.Status))
	if r.Answer.Bodiless {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = appendHeader(b, r.Answer.Header)
	b = appendHeader(b, r.Answer.Trailer)
	return append(b, r.Answer.Body...)
}

func appendHeader(b []byte, header map[string][]string) []byte {
	b = binary.AppendUvarint(b, uint64(len(header)))
	for _, name := range slices.Sorted(maps.Keys(header)) {
		b = appendText(b, name)
		b = binary.AppendUvarint(b, uint64(len(header[name])))
		for _, value := range header[name] {
			b = appendText(b, value)
		}
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// DecodeRecord undoes EncodeRecord. The record shares no memory with b.
func DecodeRecord(b []byte) (r function.Record, err error) {
	d := decoder{rest: b}
	if d.byte() != recordFormat {
		return r, errRecord
	}
	copy(r.Digest[:], d.take(uint64(len(r.Digest))))
	r.Answer.Status = int(d.uvarint())
	r.Answer.Bodiless = d.byte() == 1
	r.Answer.Header = d.header()
	r.Answer.Trailer = d.header()
	r.Answer.Body = append([]byte{}, d.rest...)
	if d.damaged {
		return function.Record{}, errRecord
	}
	return r, nil
}

// decoder takes what it reads off rest. After damage it reads nothing but zeros.
type decoder struct {
	rest    []byte
	damaged bool
}

func (d *decoder) take(n uint64) []byte {
	if d.damaged || n > uint64(len(d.rest)) {
		d.damaged, d.rest = true, nil
		return nil
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *decoder) byte() byte {
	b := d.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

func (d *decoder) uvarint() uint64 {
	n, length := binary.Uvarint(d.rest)
	if length <= 0 {
		d.damaged, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[length:]
	return n
}

func (d *decoder) header() map[string][]string {
	header := map[string][]string{}
	for n := d.uvarint(); n > 0 && !d.damaged; n-- {
		name := string(d.take(d.uvarint()))
		// Not nil: a name with no value is there, which says that none is to be guessed.
		values := []string{}
		for m := d.uvarint(); m > 0 && !d.damaged; m-- {
			values = append(values, string(d.take(d.uvarint())))
		}
		header[name] = values
	}
	return header
}
