package assignment

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

const (
	wireVersion = 1
	keyBytes    = 32
	tagBytes    = 16
	nonceBytes  = 12
)

// ProviderKey is the provider's. It is safe for concurrent use.
type ProviderKey struct{ private *ecdh.PrivateKey }

// DeriveProviderKey makes the key from the provider's ready key, so that it is the same after a restart and in every replica of the
// provider. The ready key must not be empty.
func DeriveProviderKey(readyKey []byte) (*ProviderKey, error) {
	if len(readyKey) == 0 {
		return nil, errors.New("provider key: the ready key is missing")
	}
	seed, err := hkdf.Key(sha256.New, readyKey, nil, "dc-provider: key of spares", keyBytes)
	if err != nil {
		return nil, fmt.Errorf("provider key: %w", err)
	}
	private, err := ecdh.X25519().NewPrivateKey(seed)
	if err != nil {
		return nil, fmt.Errorf("provider key: %w", err)
	}
	return &ProviderKey{private}, nil
}

// Public is the public half, for the environment of spares (EnvKey): 64 hexadecimal digits.
func (k *ProviderKey) Public() string { return hex.EncodeToString(k.private.PublicKey().Bytes()) }

// SpareKey is that of one process of a spare. It is safe for concurrent use.
type SpareKey struct {
	private  *ecdh.PrivateKey
	provider *ecdh.PublicKey
	shared   []byte // of both
}

// NewSpareKey makes a key for talking to the provider whose public key is given as Public writes it.
func NewSpareKey(providerPublic string) (*SpareKey, error) {
	raw, err := hex.DecodeString(providerPublic)
	if err != nil || len(raw) != keyBytes {
		return nil, errors.New("the provider's public key is not 64 hexadecimal digits")
	}
	provider, err := ecdh.X25519().NewPublicKey(raw)
	if err != nil {
		return nil, fmt.Errorf("the provider's public key: %w", err)
	}
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a spare's key: %w", err)
	}
	shared, err := private.ECDH(provider)
	if err != nil {
		return nil, fmt.Errorf("the provider's public key: %w", err) // one of the few that give everybody the same
	}
	return &SpareKey{private, provider, shared}, nil
}

// sealKey derives the key of one message. Every part has a fixed length, save purpose, which comes last.
func sealKey(secret []byte, purpose string, publics ...*ecdh.PublicKey) ([]byte, error) {
	var salt []byte
	for _, p := range publics {
		salt = append(salt, p.Bytes()...)
	}
	return hkdf.Key(sha256.New, secret, salt, purpose, 32)
}

func newCipher(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("assignment: a key of 32 bytes is none: " + err.Error())
	}
	return block
}
