package assignment

import (
	"crypto/cipher"
	"crypto/ecdh"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const (
	// MaxIdentityBytes is the longest that SealIdentity makes, and that OpenIdentity reads.
	MaxIdentityBytes = 16 << 10
	// MaxCallBytes is the longest Call that ParseCall reads.
	MaxCallBytes = 512

	maxTokenBytes = 12 << 10
	maxNameBytes  = 253 // a DNS subdomain: a pod's name
	maxUIDBytes   = 128
)

// ErrIdentity is returned for bytes that no spare has sealed for this provider, challenge and address.
var ErrIdentity = errors.New("identity was not sealed for this provider, challenge and address")

// Spare is a spare that the provider may assign a function to, once it has believed it.
type Spare struct {
	// Pod and UID are those of the pod.
	Pod, UID string
	// Function is what the spare has been assigned already, as NAME.NAMESPACE; empty for one that is free.
	Function string

	key *ecdh.PublicKey
}

// identity is the JSON of a sealed identity.
type identity struct {
	Pod      string `json:"pod"`
	UID      string `json:"uid"`
	Function string `json:"function,omitempty"`
	Token    string `json:"token"`
}

// SealIdentity answers a challenge that arrived at ip so that only the provider can read the answer. token is the pod's service-account
// token. The challenge's form is checked: see readypush.ErrChallenge.
func (k *SpareKey) SealIdentity(challenge string, ip netip.Addr, s Spare, token string) ([]byte, error) {
	if err := readypush.CheckChallenge(challenge); err != nil {
		return nil, err
	}
	id := identity{Pod: s.Pod, UID: s.UID, Function: s.Function, Token: token}
	if err := id.check(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(id)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	seal, err := identitySeal(k.shared, k.private.PublicKey(), k.provider, challenge, ip)
	if err != nil {
		return nil, err
	}
	out := append([]byte{wireVersion}, k.private.PublicKey().Bytes()...)
	return seal.Seal(out, nil, text, out), nil
}

// OpenIdentity reads what SealIdentity made for this challenge at ip. What it says is the word of whoever holds the spare's key: the
// token has to be reviewed, and the pod looked at, before the spare is believed. An error wraps ErrIdentity.
func (k *ProviderKey) OpenIdentity(challenge string, ip netip.Addr, sealed []byte) (s Spare, token string, err error) {
	if len(sealed) > MaxIdentityBytes || len(sealed) < 1+keyBytes || sealed[0] != wireVersion {
		return Spare{}, "", fmt.Errorf("%w: %d bytes", ErrIdentity, len(sealed))
	}
	head, rest := sealed[:1+keyBytes], sealed[1+keyBytes:]
	spare, err := ecdh.X25519().NewPublicKey(head[1:])
	if err != nil {
		return Spare{}, "", fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	shared, err := k.private.ECDH(spare)
	if err != nil {
		return Spare{}, "", fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	seal, err := identitySeal(shared, spare, k.private.PublicKey(), challenge, ip)
	if err != nil {
		return Spare{}, "", err
	}
	text, err := seal.Open(nil, nil, rest, head)
	if err != nil {
		return Spare{}, "", ErrIdentity
	}
	var id identity
	if err := json.Unmarshal(text, &id); err != nil {
		return Spare{}, "", fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	if err := id.check(); err != nil {
		return Spare{}, "", fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return Spare{Pod: id.Pod, UID: id.UID, Function: id.Function, key: spare}, id.Token, nil
}

func (id identity) check() error {
	switch {
	case !isName(id.Pod):
		return errors.New("pod is not a pod's name")
	case !isUID(id.UID):
		return errors.New("uid is not a pod's uid")
	case id.Function != "" && !isName(id.Function):
		return errors.New("function is not NAME.NAMESPACE")
	case id.Token == "" || len(id.Token) > maxTokenBytes:
		return fmt.Errorf("token is missing, or longer than %d bytes", maxTokenBytes)
	}
	return nil
}

// identitySeal is for one challenge and address. A challenger may repeat his challenge: each answer has a random nonce.
func identitySeal(shared []byte, spare, provider *ecdh.PublicKey, challenge string, ip netip.Addr) (cipher.AEAD, error) {
	key, err := sealKey(shared, "dc-provider: identity\n"+challenge+"\n"+ip.Unmap().String(), spare, provider)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	seal, err := cipher.NewGCMWithRandomNonce(newCipher(key))
	if err != nil {
		panic("assignment: AES without GCM: " + err.Error())
	}
	return seal, nil
}

// Call is what a spare posts to the provider to be asked who it is. Nothing in it is to be believed.
type Call struct {
	Pod string `json:"pod"`
}

// Encode is the call's JSON, which ParseCall reads.
func (c Call) Encode() []byte {
	text, err := json.Marshal(c)
	if err != nil {
		panic("assignment: a string has no JSON: " + err.Error())
	}
	return text
}

// ParseCall reads a call. Members that it does not know are ignored.
func ParseCall(text []byte) (Call, error) {
	if len(text) > MaxCallBytes {
		return Call{}, fmt.Errorf("spare's call is longer than %d bytes", MaxCallBytes)
	}
	var c Call
	if err := json.Unmarshal(text, &c); err != nil {
		return Call{}, fmt.Errorf("spare's call: %w", err)
	}
	if !isName(c.Pod) {
		return Call{}, errors.New("spare's call: pod is not a pod's name")
	}
	return c, nil
}

func isName(s string) bool {
	if s == "" || len(s) > maxNameBytes {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// isUID takes what Kubernetes gives as uids, which are UUIDs as a rule.
func isUID(s string) bool {
	if s == "" || len(s) > maxUIDBytes {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}
