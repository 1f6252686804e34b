package readypush

import (
	"encoding/hex"
	"net/netip"
	"strings"
)

// A contract reads and writes its heap, in the course of a call, at a URL that comes with the call:
//
//	provider                        watchdog                             function
//	   | call, X-Heap-Url: http://127.0.0.1:8083/SEALED ------------------> |
//	   |                               | <---- GET SEALED/heap/KEY -------- |
//	   |                               | OpenHeapCall: a call of ours, and which provider has it
//	   | <---- GET /dc/heap/KEY ------ | X-Dc-Heap-Call, X-Dc-Heap-Proof
//	   | a call under way? CheckHeapProof: by a pod of its function
//
// The function knows nothing but the URL, which is worth nothing anywhere else, nor after its call.
const (
	// HeapPort is where the watchdog listens, on the loopback address alone.
	HeapPort = 8083
	// HeapPath is where the provider answers watchdogs; a key follows.
	HeapPath = "/dc/heap/"
	// HeapCallHeader names the call, and HeapProofHeader proves that a holder of the token asks.
	HeapCallHeader  = "X-Dc-Heap-Call"
	HeapProofHeader = "X-Dc-Heap-Proof"
)

const (
	heapCallBytes   = 16
	maxAddressBytes = 64
)

// SealHeapCall names a call, by 16 random bytes in hexadecimal, and the address of the provider that has it, for one segment
// of a URL. Only a holder of the token can make one.
func (t Token) SealHeapCall(id string, provider netip.AddrPort) string {
	return t.sealHeapCall(id, hexAddress(provider))
}

func (t Token) sealHeapCall(id, address string) string {
	text := id + "-" + address
	sum := mac(t[:], "heap url\n"+text)
	return text + "-" + hex.EncodeToString(sum[:])
}

// OpenHeapCall reads what SealHeapCall made, and reports whether it did. The watchdog connects to no other address.
func (t Token) OpenHeapCall(sealed string) (id string, provider netip.AddrPort, ok bool) {
	text, sum := sealed, ""
	if i := strings.LastIndexByte(sealed, '-'); i >= 0 {
		text, sum = sealed[:i], sealed[i+1:]
	}
	if !sameMAC(sum, mac(t[:], "heap url\n"+text)) {
		return "", netip.AddrPort{}, false
	}
	id, address, _ := strings.Cut(text, "-")
	raw, err := hex.DecodeString(address)
	if err != nil || len(raw) > maxAddressBytes || !isHex(id, heapCallBytes, heapCallBytes) {
		return "", netip.AddrPort{}, false
	}
	provider, err = netip.ParseAddrPort(string(raw))
	return id, provider, err == nil
}

// HeapProof is what a watchdog shows the provider with a request for a call's heap.
func (t Token) HeapProof(id string) string {
	sum := mac(t[:], "heap call\n"+id)
	return hex.EncodeToString(sum[:])
}

// CheckHeapProof tells whether proof was made for this call by a holder of the token.
func (t Token) CheckHeapProof(id, proof string) bool {
	return sameMAC(proof, mac(t[:], "heap call\n"+id))
}
