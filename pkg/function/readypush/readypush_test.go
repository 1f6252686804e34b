package readypush_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

var token = readypush.DeriveToken([]byte("key of the provider"), "hello.openfaas-fn", "uid-1")

// plainMAC is the protocol's formula written out again, so that a change of it cannot pass unseen.
func plainMAC(key []byte, text string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

func TestToken_DependsOnKeyFunctionAndRecord(t *testing.T) {
	if want := plainMAC([]byte("key of the provider"), "hello.openfaas-fn/uid-1"); token.Hex() != want {
		t.Fatalf("token %s, want %s", token.Hex(), want)
	}
	for name, other := range map[string]readypush.Token{
		"key":      readypush.DeriveToken([]byte("other"), "hello.openfaas-fn", "uid-1"),
		"function": readypush.DeriveToken([]byte("key of the provider"), "hallo.openfaas-fn", "uid-1"),
		"record":   readypush.DeriveToken([]byte("key of the provider"), "hello.openfaas-fn", "uid-2"),
	} {
		if other == token {
			t.Errorf("another %s gives the same token", name)
		}
	}
}

func TestToken_TextRoundTripAndHidden(t *testing.T) {
	back, err := readypush.ParseToken(token.Hex())
	if err != nil || back != token {
		t.Fatalf("ParseToken(Hex) = %v, %v", back, err)
	}
	for _, bad := range []string{"", "00", strings.Repeat("z", 64), token.Hex() + "00"} {
		if _, err := readypush.ParseToken(bad); err == nil {
			t.Errorf("ParseToken(%q) succeeded", bad)
		}
	}
	for _, verb := range []string{"%v", "%s", "%+v", "%#v", "%q"} {
		if out := fmt.Sprintf(verb, token); !strings.Contains(out, "secret") {
			t.Errorf("%s prints %s", verb, out)
		}
	}
}

func TestMessage_SignedParsedVerified(t *testing.T) {
	m := readypush.NewMessage(token, "hello.openfaas-fn", "hello-6d5f-x2")
	back, err := readypush.Parse(m.Encode())
	if err != nil || back != m {
		t.Fatalf("Parse(Encode) = %+v, %v", back, err)
	}
	raw, _ := hex.DecodeString(token.Hex())
	if want := plainMAC(raw, "push\nhello.openfaas-fn\nhello-6d5f-x2\n"+m.Nonce); m.MAC != want {
		t.Errorf("mac %s, want %s", m.MAC, want)
	}
	if !back.Verify(token) {
		t.Error("own message refused")
	}
	if again := readypush.NewMessage(token, m.Function, m.Pod); again.Nonce == m.Nonce {
		t.Error("nonce used twice")
	}

	for name, change := range map[string]func(*readypush.Message){
		"function": func(m *readypush.Message) { m.Function = "other.openfaas-fn" },
		"pod":      func(m *readypush.Message) { m.Pod = "other" },
		"nonce":    func(m *readypush.Message) { m.Nonce = strings.Repeat("0", 32) },
		"mac":      func(m *readypush.Message) { m.MAC = strings.Repeat("0", 64) },
	} {
		changed := m
		change(&changed)
		if changed.Verify(token) {
			t.Errorf("message with another %s accepted", name)
		}
	}
	if m.Verify(readypush.DeriveToken(nil, "hello.openfaas-fn", "uid-1")) {
		t.Error("message accepted under another token")
	}
}

func TestMessage_Times(t *testing.T) {
	plain := readypush.NewMessage(token, "hello.openfaas-fn", "hello-6d5f-x2")
	if _, _, ok := plain.Times(); ok {
		t.Error("a message without times tells some")
	}
	m := plain.WithTimes(token, 105*time.Millisecond, 4*time.Millisecond)
	raw, _ := hex.DecodeString(token.Hex())
	if want := plainMAC(raw, "times\n"+m.Nonce+"\n105000\n4000"); m.TimesMAC != want {
		t.Errorf("mac of the times %s, want %s", m.TimesMAC, want)
	}
	back, err := readypush.Parse(m.Encode())
	if err != nil || back != m || !back.Verify(token) {
		t.Fatalf("Parse(Encode) = %+v, %v", back, err)
	}
	if up, serving, ok := back.Times(); !ok || up != 105*time.Millisecond || serving != 4*time.Millisecond {
		t.Errorf("times %v, %v, %v", up, serving, ok)
	}
	// An older provider knows nothing of them.
	if m.MAC != plain.MAC {
		t.Error("the times have changed the message's own mac")
	}
	longest := readypush.NewMessage(token, strings.Repeat("f", 127), strings.Repeat("p", 253)).
		WithTimes(token, 100*365*24*time.Hour, 100*365*24*time.Hour)
	if _, err := readypush.Parse(longest.Encode()); err != nil {
		t.Errorf("the longest message: %v", err)
	}
	for name, change := range map[string]func(*readypush.Message){
		"up":      func(m *readypush.Message) { m.UpMicros++ },
		"serving": func(m *readypush.Message) { m.ServingMicros++ },
		"mac":     func(m *readypush.Message) { m.TimesMAC = plain.MAC },
		"of another message": func(m *readypush.Message) {
			*m = readypush.NewMessage(token, m.Function, m.Pod).WithTimes(token, time.Second, 0)
			m.TimesMAC = back.TimesMAC
		},
	} {
		changed := m
		change(&changed)
		if changed.Verify(token) {
			t.Errorf("message with other times (%s) accepted", name)
		}
	}
	for name, impossible := range map[string]readypush.Message{
		"negative":     plain.WithTimes(token, time.Second, -time.Second),
		"out of order": plain.WithTimes(token, time.Second, time.Minute),
		"for ever":     plain.WithTimes(token, math.MaxInt64, 0),
	} {
		if _, _, ok := impossible.Times(); ok {
			t.Errorf("times that are %s are told", name)
		}
	}
}

func TestParse_Refuses(t *testing.T) {
	good := readypush.NewMessage(token, "hello.openfaas-fn", "hello-1")
	edit := func(change func(*readypush.Message)) []byte {
		m := good
		change(&m)
		return m.Encode()
	}
	for name, body := range map[string][]byte{
		"empty":                 nil,
		"no JSON":               []byte("ready"),
		"no object":             []byte(`[1]`),
		"text after":            append(good.Encode(), '}'),
		"wrong types":           []byte(`{"function":1}`),
		"too long":              append(good.Encode(), make([]byte, readypush.MaxMessageBytes)...),
		"no function":           edit(func(m *readypush.Message) { m.Function = "" }),
		"function two lines":    edit(func(m *readypush.Message) { m.Function = "a\nb" }),
		"function upper case":   edit(func(m *readypush.Message) { m.Function = "Hello.fn" }),
		"function too long":     edit(func(m *readypush.Message) { m.Function = strings.Repeat("a", 128) }),
		"no pod":                edit(func(m *readypush.Message) { m.Pod = "" }),
		"pod with slash":        edit(func(m *readypush.Message) { m.Pod = "a/b" }),
		"nonce short":           edit(func(m *readypush.Message) { m.Nonce = "00" }),
		"nonce upper case":      edit(func(m *readypush.Message) { m.Nonce = strings.Repeat("A", 32) }),
		"mac not hexadecimal":   edit(func(m *readypush.Message) { m.MAC = strings.Repeat("x", 64) }),
		"mac of another length": edit(func(m *readypush.Message) { m.MAC = strings.Repeat("0", 62) }),
		"mac of times is none":  edit(func(m *readypush.Message) { m.TimesMAC = "00" }),
	} {
		if m, err := readypush.Parse(body); err == nil {
			t.Errorf("%s: parsed as %+v", name, m)
		}
	}
	if _, err := readypush.Parse([]byte(`{"new":true,` + string(good.Encode()[1:]))); err != nil {
		t.Errorf("a member of a newer version: %v", err)
	}
}

func TestProof(t *testing.T) {
	pod := netip.MustParseAddr("10.1.2.3")
	challenge := readypush.NewChallenge()
	proof, err := token.Proof(challenge, pod)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := hex.DecodeString(token.Hex())
	if want := plainMAC(raw, "proof\n"+challenge+"\n10.1.2.3"); proof != want {
		t.Errorf("proof %s, want %s", proof, want)
	}
	if !token.CheckProof(challenge, netip.MustParseAddr("::ffff:10.1.2.3"), proof) {
		t.Error("own proof refused")
	}
	if token.CheckProof(readypush.NewChallenge(), pod, proof) {
		t.Error("proof accepted for another challenge")
	}
	if token.CheckProof(challenge, netip.MustParseAddr("10.1.2.4"), proof) {
		t.Error("proof accepted from another address")
	}
	if token.CheckProof(challenge, pod, "") || readypush.DeriveToken(nil, "a", "b").CheckProof(challenge, pod, proof) {
		t.Error("proof accepted without the token")
	}
	for _, bad := range []string{"", "00", "push\nhello", strings.Repeat("g", 32), strings.Repeat("0", 130), strings.Repeat("0", 33)} {
		if p, err := token.Proof(bad, pod); err == nil {
			t.Errorf("Proof(%q) = %s", bad, p)
		}
	}
}

func TestUsage_OnlyTheAskerReadsIt(t *testing.T) {
	pod, challenge := netip.MustParseAddr("10.1.2.3"), readypush.NewChallenge()
	cpu, memory := 12.5, int64(3<<30)
	for name, u := range map[string]readypush.Usage{
		"all known":     {MilliCPU: &cpu, MemoryBytes: &memory, InFlight: 2, Served: 1 << 60},
		"counters only": {Served: 3},
	} {
		sealed, err := token.SealUsage(challenge, pod, u)
		if err != nil || len(sealed) > readypush.MaxUsageBytes {
			t.Fatalf("%s: %d bytes, %v", name, len(sealed), err)
		}
		if bytes.Contains(sealed, []byte("served")) {
			t.Errorf("%s: %q can be read", name, sealed)
		}
		got, err := token.OpenUsage(challenge, netip.MustParseAddr("::ffff:10.1.2.3"), sealed)
		if err != nil || !reflect.DeepEqual(got, u) {
			t.Errorf("%s: opened as %+v, %v", name, got, err)
		}
		changed := slices.Clone(sealed)
		changed[len(changed)-1] ^= 1
		for what, open := range map[string]func() (readypush.Usage, error){
			"another challenge": func() (readypush.Usage, error) { return token.OpenUsage(readypush.NewChallenge(), pod, sealed) },
			"another address":   func() (readypush.Usage, error) { return token.OpenUsage(challenge, pod.Next(), sealed) },
			"another token": func() (readypush.Usage, error) {
				return readypush.DeriveToken(nil, "a", "b").OpenUsage(challenge, pod, sealed)
			},
			"a changed byte": func() (readypush.Usage, error) { return token.OpenUsage(challenge, pod, changed) },
			"nothing":        func() (readypush.Usage, error) { return token.OpenUsage(challenge, pod, nil) },
			"a cut":          func() (readypush.Usage, error) { return token.OpenUsage(challenge, pod, sealed[:20]) },
		} {
			if got, err := open(); !errors.Is(err, readypush.ErrUsage) {
				t.Errorf("%s: with %s it opens as %+v, %v", name, what, got, err)
			}
		}
	}
	for _, bad := range []string{"", "00", "proof\n" + challenge, strings.Repeat("0", 130)} {
		if _, err := token.SealUsage(bad, pod, readypush.Usage{}); !errors.Is(err, readypush.ErrChallenge) {
			t.Errorf("challenge %q: %v", bad, err)
		}
	}
	notANumber := math.NaN()
	if _, err := token.SealUsage(challenge, pod, readypush.Usage{MilliCPU: &notANumber}); err == nil {
		t.Error("a rate that is not a number was sealed")
	}
}

// FuzzParse checks that whatever parses is safe to sign, and comes back unchanged.
func FuzzParse(f *testing.F) {
	f.Add(readypush.NewMessage(token, "hello.openfaas-fn", "hello-1").Encode())
	f.Add([]byte(`{"function":"a","pod":"b","nonce":"","mac":""}`))
	f.Add([]byte(`{"function":"a\nb"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := readypush.Parse(body)
		if err != nil {
			return
		}
		if strings.ContainsAny(m.Function+m.Pod+m.Nonce, "\n\x00") {
			t.Fatalf("separator inside a field: %+v", m)
		}
		if back, err := readypush.Parse(m.Encode()); err != nil || back != m {
			t.Fatalf("%+v became %+v, %v", m, back, err)
		}
		m.Verify(token)
	})
}

// The watchdog lives in every container, so what it imports must stay small.
// FuzzProof checks that only a challenge of the right form is answered, and that its answer is a proof of it and of no other.
func FuzzProof(f *testing.F) {
	f.Add(readypush.NewChallenge())
	f.Add("push\nhello.openfaas-fn\npod\n00")
	f.Add(strings.Repeat("0g", 16))
	ip := netip.MustParseAddr("10.0.0.1")
	f.Fuzz(func(t *testing.T, challenge string) {
		proof, err := token.Proof(challenge, ip)
		if err != nil {
			return
		}
		if raw, err := hex.DecodeString(challenge); err != nil || len(raw) < 16 || len(raw) > 64 || strings.ToLower(challenge) != challenge {
			t.Errorf("challenge %q was answered", challenge)
		}
		if !token.CheckProof(challenge, ip, proof) || token.CheckProof(challenge+"0", ip, proof) || token.CheckProof(challenge, ip.Next(), proof) {
			t.Errorf("%q is no proof of %q alone", proof, challenge)
		}
	})
}

func TestImports_StandardLibraryOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(out)) {
		if path != "github.com/dragonchain/dc-provider/pkg/function/readypush" {
			t.Errorf("imports %s", path)
		}
	}
}
