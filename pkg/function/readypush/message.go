package readypush

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// MaxMessageBytes is the longest body that Parse accepts. A message with the longest names Kubernetes allows is shorter.
const MaxMessageBytes = 1024

const (
	nonceBytes       = 16
	maxFunctionBytes = 63 + 1 + 63 // NAME.NAMESPACE, each a DNS label
	maxPodBytes      = 253         // a DNS subdomain
	// maxUpMicros, a hundred years, is below what a time.Duration can hold.
	maxUpMicros = int64(100 * 365 * 24 * time.Hour / time.Microsecond)
)

// Message says that a pod of a function can take calls.
type Message struct {
	Function string `json:"function"` // NAME.NAMESPACE
	Pod      string `json:"pod"`
	Nonce    string `json:"nonce"` // 16 random bytes, lower-case hexadecimal
	MAC      string `json:"mac"`   // HMAC-SHA256 under the token, lower-case hexadecimal

	// UpMicros is how long the watchdog had run when it made the message, and ServingMicros how long the function had been
	// able to serve, in microseconds. They are an older watchdog's to leave out and an older provider's to ignore, so they
	// have a mac of their own.
	UpMicros      int64  `json:"upMicros,omitempty"`
	ServingMicros int64  `json:"servingMicros,omitempty"`
	TimesMAC      string `json:"timesMac,omitempty"`
}

// NewMessage makes a message with a fresh nonce, signed with the token.
func NewMessage(t Token, function, pod string) Message {
	var nonce [nonceBytes]byte
	rand.Read(nonce[:]) // never fails: the runtime ends the process if the kernel has no randomness
	m := Message{Function: function, Pod: pod, Nonce: hex.EncodeToString(nonce[:])}
	sum := mac(t[:], m.signed())
	m.MAC = hex.EncodeToString(sum[:])
	return m
}

// WithTimes is the message with what it tells of the start, signed with the token.
func (m Message) WithTimes(t Token, up, serving time.Duration) Message {
	m.UpMicros, m.ServingMicros = up.Microseconds(), serving.Microseconds()
	sum := mac(t[:], m.signedTimes())
	m.TimesMAC = hex.EncodeToString(sum[:])
	return m
}

// Times is what a verified message tells of the start: for how long the watchdog had run, and the function been able to
// serve. ok is false if it tells nothing, or nothing that can be.
func (m Message) Times() (up, serving time.Duration, ok bool) {
	up, serving = time.Duration(m.UpMicros)*time.Microsecond, time.Duration(m.ServingMicros)*time.Microsecond
	return up, serving, m.TimesMAC != "" && 0 <= m.ServingMicros && m.ServingMicros <= m.UpMicros && m.UpMicros <= maxUpMicros
}

// Encode is the message's JSON, which Parse reads.
func (m Message) Encode() []byte {
	data, err := json.Marshal(m)
	if err != nil {
		panic("readypush: a struct of strings and numbers has no JSON: " + err.Error())
	}
	return data
}

// Parse reads a message and checks its form, not its mac: see Verify. Members that it does not know are ignored, so that an
// older provider understands a newer watchdog.
func Parse(data []byte) (Message, error) {
	if len(data) > MaxMessageBytes {
		return Message{}, fmt.Errorf("ready message is longer than %d bytes", MaxMessageBytes)
	}
	var m Message
	if err := json.Unmarshal(data, &m); err != nil {
		return Message{}, fmt.Errorf("ready message: %w", err)
	}
	switch {
	case !isDNSName(m.Function, maxFunctionBytes):
		return Message{}, errors.New("ready message: function is not NAME.NAMESPACE")
	case !isDNSName(m.Pod, maxPodBytes):
		return Message{}, errors.New("ready message: pod is not a pod's name")
	case !isHex(m.Nonce, nonceBytes, nonceBytes):
		return Message{}, errors.New("ready message: nonce is not 32 lower-case hexadecimal digits")
	case !isHex(m.MAC, len(Token{}), len(Token{})):
		return Message{}, errors.New("ready message: mac is not 64 lower-case hexadecimal digits")
	case m.TimesMAC != "" && !isHex(m.TimesMAC, len(Token{}), len(Token{})):
		return Message{}, errors.New("ready message: timesMac is not 64 lower-case hexadecimal digits")
	}
	return m, nil
}

// Verify tells whether the message was made by a holder of the token.
func (m Message) Verify(t Token) bool {
	return sameMAC(m.MAC, mac(t[:], m.signed())) && (m.TimesMAC == "" || sameMAC(m.TimesMAC, mac(t[:], m.signedTimes())))
}

// signed is the text under the mac. No field of a parsed message can hold a line feed, so no two messages share a text.
func (m Message) signed() string { return "push\n" + m.Function + "\n" + m.Pod + "\n" + m.Nonce }

// signedTimes is the text under the mac of the times. The nonce makes it one of this message.
func (m Message) signedTimes() string {
	return fmt.Sprintf("times\n%s\n%d\n%d", m.Nonce, m.UpMicros, m.ServingMicros)
}

func isDNSName(s string, maxBytes int) bool {
	if s == "" || len(s) > maxBytes {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// isHex tells whether s is lower-case hexadecimal for minBytes to maxBytes bytes.
func isHex(s string, minBytes, maxBytes int) bool {
	if len(s)%2 != 0 || len(s) < 2*minBytes || len(s) > 2*maxBytes {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
