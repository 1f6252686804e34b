package readypush

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"log/slog"
)

// Token is the secret that the provider shares with the pods of one function's record. It prints as "[secret]"; Hex gives
// its text.
type Token [sha256.Size]byte

// DeriveToken gives the token for the pods of one record. function is NAME.NAMESPACE; recordUID is the uid of the record's
// object, so that a function deleted and made again under its old name has a new token.
func DeriveToken(key []byte, function, recordUID string) Token {
	return mac(key, function+"/"+recordUID)
}

// ParseToken reads what Hex wrote. The error does not contain the text, which may be a secret with a typing error in it.
func ParseToken(text string) (Token, error) {
	var t Token
	if len(text) != hex.EncodedLen(len(t)) {
		return Token{}, errors.New("token must be 64 hexadecimal digits")
	}
	if _, err := hex.Decode(t[:], []byte(text)); err != nil {
		return Token{}, errors.New("token must be 64 hexadecimal digits")
	}
	return t, nil
}

// Hex is the token's text, as it is handed to a pod.
func (t Token) Hex() string { return hex.EncodeToString(t[:]) }

// String hides the token from logs and error messages.
func (t Token) String() string { return "[secret]" }

// GoString hides the token from %#v.
func (t Token) GoString() string { return "[secret]" }

// LogValue hides the token from structured logs.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

func mac(key []byte, text string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	h.Sum(sum[:0])
	return sum
}

// sameMAC compares a received mac, in hexadecimal, with the expected one, in a time that does not depend on either.
func sameMAC(received string, want [sha256.Size]byte) bool {
	return subtle.ConstantTimeCompare([]byte(received), []byte(hex.EncodeToString(want[:]))) == 1
}
