package driver

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestRecord_RoundTrip(t *testing.T) {
	for name, record := range map[string]function.Record{
		"empty": {Answer: function.Answer{Header: map[string][]string{}, Trailer: map[string][]string{}, Body: []byte{}}},
		"full": {Digest: [32]byte{1, 2, 31: 3}, Answer: function.Answer{
			Status: 201, Bodiless: true, Body: []byte("\x00{}\xff"),
			Header:  map[string][]string{"X-Two": {"1", ""}, "Content-Type": {}, "\xff": {"é"}},
			Trailer: map[string][]string{"T": {"1"}},
		}},
	} {
		got, err := DecodeRecord(EncodeRecord(record))
		if err != nil || !reflect.DeepEqual(got, record) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, record)
		}
	}
}

// FuzzDecodeRecord reads anything without harm, and what it can read it writes as it would itself.
func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add(EncodeRecord(function.Record{Answer: function.Answer{Status: 200, Header: map[string][]string{"A": {"1", "2"}}, Body: []byte("x")}}))
	f.Add(append(bytes.Repeat([]byte{1}, 34), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		record, err := DecodeRecord(b)
		if err != nil {
			return
		}
		again, err := DecodeRecord(EncodeRecord(record))
		if err != nil || !reflect.DeepEqual(again, record) {
			t.Errorf("%+v became %+v, %v", record, again, err)
		}
	})
}
