package readypush

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
)

const (
	// UsagePath is where the watchdog tells what its container uses.
	UsagePath = "/_/usage"
	// MaxUsageBytes is above what a watchdog answers at UsagePath.
	MaxUsageBytes = 1024
)

// ErrUsage is returned by OpenUsage for bytes that no holder of the token has sealed for this challenge and address.
var ErrUsage = errors.New("usage was not sealed by a holder of the token for this challenge and address")

// Usage is what the container of one watchdog uses. A field that is nil is not known there.
type Usage struct {
	// MilliCPU is the processor time used lately, in thousandths of a processor.
	MilliCPU *float64 `json:"milliCPU,omitempty"`
	// MemoryBytes is the working set: what the kernel cannot take back, as the kubelet counts it.
	MemoryBytes *int64 `json:"memoryBytes,omitempty"`
	// InFlight is how many invocations are accepted and not yet answered, Served how many have ended since the start.
	InFlight int    `json:"inFlight"`
	Served   uint64 `json:"served"`
}

// SealUsage answers a challenge that arrived at ip so that only a holder of the token can read the answer. The challenge's
// form is checked as Proof does.
func (t Token) SealUsage(challenge string, ip netip.Addr, u Usage) ([]byte, error) {
	if err := CheckChallenge(challenge); err != nil {
		return nil, err
	}
	text, err := json.Marshal(u)
	if err != nil {
		return nil, fmt.Errorf("usage: %w", err) // a rate that is not a number
	}
	return t.usageSeal(challenge, ip).Seal(nil, nil, text, nil), nil
}

// OpenUsage reads what SealUsage made for this challenge at ip.
func (t Token) OpenUsage(challenge string, ip netip.Addr, sealed []byte) (Usage, error) {
	text, err := t.usageSeal(challenge, ip).Open(nil, nil, sealed, nil)
	if err != nil {
		return Usage{}, ErrUsage
	}
	var u Usage
	if err := json.Unmarshal(text, &u); err != nil {
		return Usage{}, fmt.Errorf("usage: %w", err)
	}
	return u, nil
}

// usageSeal is AES-256-GCM under a key of this challenge and address alone. A challenger may repeat his challenge: each
// answer has a random nonce.
func (t Token) usageSeal(challenge string, ip netip.Addr) cipher.AEAD {
	key := mac(t[:], "usage\n"+challenge+"\n"+ip.Unmap().String())
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("readypush: a mac of 32 bytes is no key: " + err.Error())
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("readypush: AES without GCM: " + err.Error())
	}
	return seal
}
