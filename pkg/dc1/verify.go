package dc1

import (
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"hash"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// ErrRefused: the request is not signed as it should be. An error that is this one has for its text what a Dragonchain says.
var ErrRefused = errors.New("request not signed as it should be")

// ErrTooMany: more requests were let in lately than are remembered.
var ErrTooMany = errors.New("too many signed requests")

// Skew is how far a timestamp may be from now, before or after.
const Skew = 10 * time.Minute

// refusal is what a Dragonchain says.
type refusal string

func (r refusal) Error() string { return string(r) }

// Is makes every refusal ErrRefused.
func (r refusal) Is(target error) bool { return target == ErrRefused }

const (
	errNoChain     = refusal("Missing Dragonchain ID in request header")
	errNoTimestamp = refusal("Missing timestamp in request header")
	errChain       = refusal("Incorrect Dragonchain ID")
	errVersion     = refusal("Unsupported DC Authorization Version")
	errHash        = refusal("Unsupported HMAC Hash Type")
	errSkew        = refusal("Timestamp of request too skewed")
	errMalformed   = refusal("Malformed Authorization Header")
	errMAC         = refusal("Invalid HMAC Authentication")
	errReplay      = refusal("Previous matching request found (no replays allowed)")
)

// Config says whom a Verifier knows. Both fields are required.
type Config struct {
	// Chain is the public id that requests must name.
	Chain string
	// Key returns the text of a key. It is asked for each request, with an id of whatever the client sent that has no slash, and
	// never for an empty one.
	Key func(id string) (text string, known bool)
}

// Verifier tells whether requests were signed with a key.
type Verifier struct {
	cfg  Config
	seen replays
}

// New checks cfg. It starts nothing.
func New(cfg Config) (*Verifier, error) {
	if cfg.Chain == "" || cfg.Key == nil {
		return nil, errors.New("dc1: the chain's id and its keys are needed")
	}
	return &Verifier{cfg: cfg, seen: replays{limit: maxSeen}}, nil
}

// Verify returns nil for a request that was signed with a key for this moment, the first time that it sees it. Other errors are
// ErrRefused or ErrTooMany.
func (v *Verifier) Verify(r *http.Request, body []byte, now time.Time) error {
	chain, timestamp := r.Header.Get(headerChain), r.Header.Get(headerTimestamp)
	switch {
	case chain == "":
		return errNoChain
	case timestamp == "":
		return errNoTimestamp
	case chain != v.cfg.Chain:
		return errChain
	}
	hash, credentials, err := parseScheme(r.Header.Get("Authorization"))
	if err != nil {
		return err
	}
	if err := checkTimestamp(timestamp, now); err != nil {
		return err
	}
	id, mac, err := parseCredentials(credentials)
	if err != nil {
		return err
	}
	// With a key that is not known the same is done, so that it takes as long.
	key, known := v.cfg.Key(id)
	known = known && key != ""
	m := message{method: r.Method, chain: chain, timestamp: timestamp, contentType: r.Header.Get("Content-Type"), body: body}
	same := false
	for _, path := range signedPaths(r) {
		m.path = path
		if hmac.Equal(mac, m.mac(hash, key)) {
			same = true
		}
	}
	if !same || !known {
		return errMAC
	}
	return v.seen.add(id, mac, now)
}

// signedPaths are the path with its query, without its escapes and with them.
func signedPaths(r *http.Request) [2]string {
	query := ""
	if r.URL.RawQuery != "" {
		query = "?" + r.URL.RawQuery
	}
	return [2]string{r.URL.Path + query, r.URL.EscapedPath() + query}
}

// parseScheme reads DCVERSION-HMAC-HASH, and returns what follows.
func parseScheme(header string) (newHash func() hash.Hash, credentials string, err error) {
	scheme, credentials, found := strings.Cut(header, " ")
	dc, rest, ofDC := strings.Cut(scheme, "-HMAC")
	version, isVersion := strings.CutPrefix(dc, "DC")
	if !found || !ofDC || !isVersion {
		return nil, "", errMalformed
	}
	if version != "1" {
		return nil, "", errVersion
	}
	name, found := strings.CutPrefix(rest, "-")
	if !found {
		return nil, "", errMalformed
	}
	newHash, known := hashes[name]
	if !known {
		return nil, "", errHash
	}
	return newHash, credentials, nil
}

// parseCredentials reads KEY-ID:MAC.
func parseCredentials(s string) (id string, mac []byte, err error) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 1 || strings.Contains(s[:colon], "/") {
		return "", nil, errMalformed
	}
	// Package base64 alone skips line ends, and takes any last bits that are too many.
	mac, err = base64.StdEncoding.Strict().DecodeString(s[colon+1:])
	if err != nil || len(mac) == 0 || strings.ContainsAny(s[colon+1:], "\r\n") {
		return "", nil, errMalformed
	}
	return s[:colon], mac, nil
}

// timestampForm is what is taken: package time alone would take more.
var timestampForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$`)

func checkTimestamp(s string, now time.Time) error {
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || !timestampForm.MatchString(s) {
		return errMalformed
	}
	if now.Sub(at).Abs() > Skew {
		return errSkew
	}
	return nil
}
