package readypush

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"sync"
)

// mostTokens bounds the tokens that are kept, each of some 150 bytes.
const mostTokens = 4096

// HeapURLs makes the URLs that contracts get with their calls. One is made for each call, so that the tokens, which are the same for
// all calls of a function, are kept: see BenchmarkHeapURLs. It is safe for concurrent use.
type HeapURLs struct {
	key      []byte
	provider string

	mu     sync.Mutex
	tokens map[record]Token
}

// record is what a token is derived from.
type record struct{ function, uid string }

// NewHeapURLs returns what makes URLs of calls that the provider at this address has, whose key tokens are derived from.
func NewHeapURLs(key []byte, provider netip.AddrPort) *HeapURLs {
	return &HeapURLs{key: key, provider: hexAddress(provider), tokens: map[record]Token{}}
}

// URL is that of one call, whose id is as in SealHeapCall. function and recordUID are as in DeriveToken.
func (u *HeapURLs) URL(function, recordUID, id string) string {
	return "http://127.0.0.1:" + strconv.Itoa(HeapPort) + "/" + u.token(record{function, recordUID}).sealHeapCall(id, u.provider)
}

func (u *HeapURLs) token(of record) Token {
	u.mu.Lock()
	defer u.mu.Unlock()
	token, kept := u.tokens[of]
	if !kept {
		if len(u.tokens) == mostTokens {
			for other := range u.tokens {
				delete(u.tokens, other) // whoever that is has it again at the next call
				break
			}
		}
		token = DeriveToken(u.key, of.function, of.uid)
		u.tokens[of] = token
	}
	return token
}

func hexAddress(provider netip.AddrPort) string { return hex.EncodeToString([]byte(provider.String())) }
