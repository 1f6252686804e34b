package assignment

import (
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	lengthBytes = 4
	headBytes   = 1 + keyBytes + lengthBytes + tagBytes
)

// MaxSealedBytes is the longest that Seal makes.
const MaxSealedBytes = headBytes + MaxBytes + tagBytes

// ErrSealed is wrapped by errors about bytes that the provider has not sealed for this spare.
var ErrSealed = errors.New("assignment was not sealed by the provider for this spare")

// Seal makes of a what only the spare can read, which must come from OpenIdentity. It sets a's pod.
func (k *ProviderKey) Seal(to Spare, a Assignment) ([]byte, error) {
	if to.key == nil {
		return nil, errors.New("seal assignment: the spare has no key")
	}
	a.Pod, a.UID = to.Pod, to.UID
	text, err := a.Encode()
	if err != nil {
		return nil, err
	}
	once, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("seal assignment: %w", err)
	}
	long, err := k.private.ECDH(to.key)
	if err != nil {
		return nil, fmt.Errorf("seal assignment: %w", err)
	}
	short, err := once.ECDH(to.key)
	if err != nil {
		return nil, fmt.Errorf("seal assignment: %w", err)
	}
	seal, err := assignmentSeal(long, short, k.private.PublicKey(), to.key, once.PublicKey(), to.Pod, to.UID)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, headBytes+len(text)+tagBytes)
	out = append(append(out, wireVersion), once.PublicKey().Bytes()...)
	public := slices.Clone(out)
	out = seal.Seal(out, nonceOf(0), binary.BigEndian.AppendUint32(nil, uint32(len(text))), public)
	return seal.Seal(out, nonceOf(1), text, public), nil
}

// Open reads what Seal made for this spare, in this pod, up to the end of from. It reads a head of 53 bytes, and on only if the provider
// has made that. An error wraps ErrSealed, or is one of reading, or says what is wrong with an assignment that the provider
// has sent.
func (k *SpareKey) Open(from io.Reader, pod, uid string) (*Assignment, error) {
	var head [headBytes]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return nil, readError(err)
	}
	if head[0] != wireVersion {
		return nil, fmt.Errorf("%w: version %d", ErrSealed, head[0])
	}
	public := head[:1+keyBytes]
	once, err := ecdh.X25519().NewPublicKey(public[1:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	short, err := k.private.ECDH(once)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	seal, err := assignmentSeal(k.shared, short, k.provider, k.private.PublicKey(), once, pod, uid)
	if err != nil {
		return nil, err
	}
	length, err := seal.Open(nil, nonceOf(0), head[1+keyBytes:], public)
	if err != nil {
		return nil, ErrSealed
	}
	n := binary.BigEndian.Uint32(length)
	if n > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes are above %d", ErrTooLarge, n, MaxBytes)
	}
	body := make([]byte, n+tagBytes)
	if _, err := io.ReadFull(from, body); err != nil {
		return nil, readError(err)
	}
	switch _, err := io.ReadFull(from, make([]byte, 1)); err {
	case io.EOF:
	case nil:
		return nil, fmt.Errorf("%w: there is more than it says", ErrSealed)
	default:
		return nil, readError(err)
	}
	text, err := seal.Open(body[:0], nonceOf(1), body, public)
	if err != nil {
		return nil, ErrSealed
	}
	a, err := Parse(text)
	if err != nil {
		return nil, err
	}
	if a.Pod != pod || a.UID != uid {
		return nil, fmt.Errorf("%w: it names another pod", ErrSealed)
	}
	return a, nil
}

// readError makes one of ours of an assignment that has ended early.
func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it breaks off", ErrSealed)
	}
	return fmt.Errorf("read assignment: %w", err)
}

// assignmentSeal has a key for one assignment: once is used for no other. So its nonces may be counted.
func assignmentSeal(long, short []byte, provider, spare, once *ecdh.PublicKey, pod, uid string) (cipher.AEAD, error) {
	key, err := sealKey(slices.Concat(long, short), "dc-provider: assignment\n"+pod+"\n"+uid, provider, spare, once)
	if err != nil {
		return nil, fmt.Errorf("assignment: %w", err)
	}
	seal, err := cipher.NewGCM(newCipher(key))
	if err != nil {
		panic("assignment: AES without GCM: " + err.Error())
	}
	return seal, nil
}

func nonceOf(n byte) []byte {
	nonce := make([]byte, nonceBytes)
	nonce[nonceBytes-1] = n
	return nonce
}
