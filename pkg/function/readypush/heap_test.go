package readypush_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const heapCall = "00112233445566778899aabbccddeeff"

func TestHeapCall(t *testing.T) {
	ours := readypush.DeriveToken([]byte("a key of the provider"), "ledger.fns", "1")
	others := readypush.DeriveToken([]byte("a key of the provider"), "ledger.fns", "2")
	for _, address := range []string{"10.1.2.3:8081", "[fd00::1]:8081"} {
		at := netip.MustParseAddrPort(address)
		sealed := ours.SealHeapCall(heapCall, at)
		if strings.ContainsAny(sealed, "/?#%[]: ") {
			t.Errorf("%q is no segment of a URL", sealed)
		}
		if id, provider, ok := ours.OpenHeapCall(sealed); !ok || id != heapCall || provider != at {
			t.Errorf("%q gives %q, %v, %t", sealed, id, provider, ok)
		}
		if _, _, ok := others.OpenHeapCall(sealed); ok {
			t.Error("another record's token opens it")
		}
		for i := range sealed {
			if _, _, ok := ours.OpenHeapCall(sealed[:i] + "x" + sealed[i+1:]); ok {
				t.Fatalf("changed at %d it opens", i)
			}
		}
	}
	proof := ours.HeapProof(heapCall)
	if !ours.CheckHeapProof(heapCall, proof) || others.CheckHeapProof(heapCall, proof) || ours.CheckHeapProof(heapCall[1:]+"0", proof) ||
		ours.CheckHeapProof(heapCall, "") {
		t.Error("a proof is one of a token and a call")
	}
}

// Whatever is kept of whom, each function's calls have its own token, and a function that was made again has another.
func TestHeapURLs(t *testing.T) {
	key, at := []byte("a key of the provider"), netip.MustParseAddrPort("10.1.2.3:8081")
	urls := readypush.NewHeapURLs(key, at)
	for range 2 {
		for i := range 5000 {
			name, uid := fmt.Sprintf("f%d.fns", i%2500), strconv.Itoa(i)
			want := "http://127.0.0.1:8083/" + readypush.DeriveToken(key, name, uid).SealHeapCall(heapCall, at)
			if got := urls.URL(name, uid, heapCall); got != want {
				t.Fatalf("%s, %s: %s, want %s", name, uid, got, want)
			}
		}
	}
}

func BenchmarkHeapURLs(b *testing.B) {
	key, at := []byte("a key of the provider"), netip.MustParseAddrPort("10.1.2.3:8081")
	b.Run("kept", func(b *testing.B) {
		urls := readypush.NewHeapURLs(key, at)
		b.ReportAllocs()
		for b.Loop() {
			urls.URL("ledger.fns", "1", heapCall)
		}
	})
	b.Run("derived", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			readypush.NewHeapURLs(key, at).URL("ledger.fns", "1", heapCall)
		}
	})
}

func FuzzOpenHeapCall(f *testing.F) {
	token := readypush.DeriveToken([]byte("a key of the provider"), "ledger.fns", "1")
	f.Add(token.SealHeapCall(heapCall, netip.MustParseAddrPort("10.1.2.3:8081")))
	f.Add("")
	f.Add("--")
	f.Fuzz(func(t *testing.T, sealed string) {
		if id, provider, ok := token.OpenHeapCall(sealed); ok && token.SealHeapCall(id, provider) != sealed {
			t.Fatalf("%q opens, and was not sealed", sealed)
		}
	})
}
