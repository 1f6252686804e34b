package driver

import (
	"reflect"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestItem_RoundTrip(t *testing.T) {
	at := time.Unix(1_700_000_000, 123)
	for _, dead := range []bool{false, true} {
		item := function.Item{
			Function: function.Heap{Ref: function.Ref{Name: "a", Namespace: "b"}, ID: "c"}, Kind: function.ItemMessage, CallID: "\x00\xff",
			Accepted: at, Due: at.Add(time.Hour), Attempts: 300, Serial: true, Reason: "502", Payload: []byte("p"),
		}
		got, gotDead, err := DecodeItem(EncodeItem(item, dead))
		if err != nil || gotDead != dead || !reflect.DeepEqual(got, item) {
			t.Errorf("%+v, %t, %v, want %+v, %t", got, gotDead, err, item, dead)
		}
	}
}

// FuzzDecodeItem reads anything without harm, and what it can read it writes as it would itself.
func FuzzDecodeItem(f *testing.F) {
	f.Add([]byte{})
	f.Add(EncodeItem(function.Item{CallID: "a", Due: time.Unix(1, 0), Payload: []byte("x")}, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		item, dead, err := DecodeItem(b)
		if err != nil {
			return
		}
		again, deadAgain, err := DecodeItem(EncodeItem(item, dead))
		if err != nil || dead != deadAgain || !reflect.DeepEqual(again, item) {
			t.Errorf("%+v became %+v, %v", item, again, err)
		}
	})
}
