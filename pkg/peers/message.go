package peers

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// Path is where a provider answers with its report.
const Path = "/dc/load"

const (
	nonceHeader = "X-Dc-Nonce"
	timeHeader  = "X-Dc-Time"
	macHeader   = "X-Dc-Mac"
	// clockSlack is how far the clocks of two providers may be apart. A question that is older tells nothing that its first
	// hearer was not told; it only costs the answer.
	clockSlack = time.Minute
	// maxReportBytes is the report of some hundred thousand functions that were all called since the last.
	maxReportBytes = 64 << 20
)

// Load is what a function has to do, at one provider or at several.
type Load struct {
	// InFlight is how many calls are at replicas, Waiting how many wait for one.
	InFlight, Waiting int
	// Last is when a call last came or ended; zero if none did.
	Last time.Time
	// Unreached says that calls have reached none of its replicas lately.
	Unreached bool
	// Started is how many calls have come, and CallTime how long all of them together have been there.
	Started  uint64
	CallTime time.Duration
}

// report is a provider's answer. Times are in nanoseconds: of its own clock, as Unix has them.
type report struct {
	// Process is another in each run of a provider.
	Process string `json:"process"`
	// Now is when the report was made: the since of the next question.
	Now       int64    `json:"now"`
	Functions []figure `json:"functions"`
}

// figure is what a report says of one function.
type figure struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	InFlight  int    `json:"inFlight,omitempty"`
	Waiting   int    `json:"waiting,omitempty"`
	Unreached bool   `json:"unreached,omitempty"`
	// Ago is how long before Now a call last came or ended.
	Ago      int64  `json:"ago"`
	Started  uint64 `json:"started"`
	CallTime int64  `json:"callTime"`
}

func (f figure) ref() function.Ref { return function.Ref{Name: f.Name, Namespace: f.Namespace} }

// key is what questions and reports are authenticated with: of no use for what the provider's key is used for elsewhere.
type key []byte

func deriveKey(secret []byte) key { return mac(secret, "dc-provider peers") }

func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		// The length of each, so that no two lists of parts are the same text.
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
	return h.Sum(nil)
}

// sign authenticates a question.
func (k key) sign(r *http.Request, nonce string, now time.Time) {
	at := strconv.FormatInt(now.Unix(), 10)
	r.Header.Set(nonceHeader, nonce)
	r.Header.Set(timeHeader, at)
	r.Header.Set(macHeader, hex.EncodeToString(mac(k, "ask", nonce, at, r.URL.RequestURI())))
}

// asked reports whether a question was asked by a provider, not long ago.
func (k key) asked(r *http.Request, now time.Time) bool {
	at, err := strconv.ParseInt(r.Header.Get(timeHeader), 10, 64)
	if err != nil || now.Sub(time.Unix(at, 0)).Abs() > clockSlack {
		return false
	}
	want := mac(k, "ask", r.Header.Get(nonceHeader), r.Header.Get(timeHeader), r.URL.RequestURI())
	return matches(want, r.Header.Get(macHeader))
}

// seal authenticates a report, for the question with that nonce alone.
func (k key) seal(nonce string, report []byte) string {
	return hex.EncodeToString(mac(k, "tell", nonce, string(report)))
}

func (k key) told(nonce string, report []byte, seal string) bool {
	return matches(mac(k, "tell", nonce, string(report)), seal)
}

func matches(want []byte, text string) bool {
	got, err := hex.DecodeString(text)
	return err == nil && hmac.Equal(got, want)
}

func newNonce() string { return rand.Text() }
