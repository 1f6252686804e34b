package readypush

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
)

const (
	// ReadyPath is where the watchdog answers probes and challenges.
	ReadyPath = "/_/ready"
	// ProbePort is where a watchdog answers that came out of the warm pool. Functions have port 8080: the watchdog stands before them there,
	// and answers there too, or they serve by themselves, and it stands beside them.
	ProbePort = 8079
	// ChallengeHeader carries the provider's challenge in its request to ReadyPath.
	ChallengeHeader = "X-Dc-Challenge"
	// ProofHeader carries the watchdog's proof in its answer.
	ProofHeader = "X-Dc-Proof"
)

const (
	challengeBytes    = 16
	maxChallengeBytes = 64
)

// ErrChallenge is returned for a challenge that is not hexadecimal or not of 16 to 64 bytes.
var ErrChallenge = errors.New("challenge is not 32 to 128 lower-case hexadecimal digits")

// NewChallenge makes a random challenge.
func NewChallenge() string {
	var c [challengeBytes]byte
	rand.Read(c[:]) // never fails: the runtime ends the process if the kernel has no randomness
	return hex.EncodeToString(c[:])
}

// CheckChallenge returns ErrChallenge if challenge has not a challenge's form.
func CheckChallenge(challenge string) error {
	if !isHex(challenge, challengeBytes, maxChallengeBytes) {
		return ErrChallenge
	}
	return nil
}

// Proof answers a challenge that arrived at ip. Its form is checked, so that no challenger can have text of its choosing
// signed.
func (t Token) Proof(challenge string, ip netip.Addr) (string, error) {
	if err := CheckChallenge(challenge); err != nil {
		return "", err
	}
	sum := t.proof(challenge, ip)
	return hex.EncodeToString(sum[:]), nil
}

// CheckProof tells whether proof was made for this challenge by a holder of the token who is at ip, where the challenge was
// sent to: a stranger who replays a function's message and hands the challenge on to it gets a proof of another address.
func (t Token) CheckProof(challenge string, ip netip.Addr, proof string) bool {
	return sameMAC(proof, t.proof(challenge, ip))
}

func (t Token) proof(challenge string, ip netip.Addr) [sha256.Size]byte {
	return mac(t[:], "proof\n"+challenge+"\n"+ip.Unmap().String())
}
