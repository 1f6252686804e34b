package dc1

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/base64"
	"hash"
	"net/http"
	"strings"
	"time"

	"golang.org/x/crypto/blake2b"
)

// The headers that make a signed request, beside Authorization.
const (
	headerChain     = "dragonchain"
	headerTimestamp = "timestamp"
)

// hashes are those that a mac may be made with, by the name that the header gives them.
var hashes = map[string]func() hash.Hash{
	"SHA256":     sha256.New,
	"SHA3-256":   func() hash.Hash { return sha3.New256() },
	"BLAKE2b512": newBLAKE2b512,
}

func newBLAKE2b512() hash.Hash {
	h, err := blake2b.New512(nil)
	if err != nil {
		panic("BLAKE2b without a key: " + err.Error()) // only a key can be wrong
	}
	return h
}

// Key is one that requests are signed with.
type Key struct {
	ID, Text string
}

// Sign adds the headers by which the chain knows who sends r with this body, for this moment. The body is JSON, or nil for none.
func Sign(r *http.Request, body []byte, chain string, key Key, now time.Time) {
	timestamp := now.UTC().Format("2006-01-02T15:04:05.000Z")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	m := message{
		method: r.Method, path: r.URL.RequestURI(), chain: chain, timestamp: timestamp, contentType: r.Header.Get("Content-Type"), body: body,
	}
	r.Header.Set(headerChain, chain)
	r.Header.Set(headerTimestamp, timestamp)
	r.Header.Set("Authorization", "DC1-HMAC-SHA256 "+key.ID+":"+base64.StdEncoding.EncodeToString(m.mac(sha256.New, key.Text)))
}

// message is what of a request is signed.
type message struct {
	method, path, chain, timestamp, contentType string
	body                                        []byte
}

// mac signs m.
func (m message) mac(hash func() hash.Hash, key string) []byte {
	// A Hash never returns an error.
	content := hash()
	_, _ = content.Write(m.body)
	mac := hmac.New(hash, []byte(key))
	_, _ = mac.Write([]byte(strings.Join([]string{
		strings.ToUpper(m.method), m.path, m.chain, m.timestamp, m.contentType, base64.StdEncoding.EncodeToString(content.Sum(nil)),
	}, "\n")))
	return mac.Sum(nil)
}
