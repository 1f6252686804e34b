package assignment_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/netip"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

const (
	pod = "pool-openfaas-fn-x7k2p"
	uid = "0b7a3a0e-5a11-4c2c-9b3e-6e8f0f6f2b11"
	jwt = "eyJhbGciOi.the-token.signature"
)

var address = netip.MustParseAddr("10.1.2.3")

func providerKey(t testing.TB, secret string) *assignment.ProviderKey {
	t.Helper()
	k, err := assignment.DeriveProviderKey([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func spareKey(t testing.TB, p *assignment.ProviderKey) *assignment.SpareKey {
	t.Helper()
	k, err := assignment.NewSpareKey(p.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// registered is a spare that the provider knows, and its key.
func registered(t testing.TB, p *assignment.ProviderKey) (assignment.Spare, *assignment.SpareKey) {
	t.Helper()
	k := spareKey(t, p)
	challenge := readypush.NewChallenge()
	sealed, err := k.SealIdentity(challenge, address, assignment.Spare{Pod: pod, UID: uid}, jwt)
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := p.OpenIdentity(challenge, address, sealed)
	if err != nil {
		t.Fatal(err)
	}
	return s, k
}

func cowsay() assignment.Assignment {
	user := int64(1000)
	return assignment.Assignment{
		Function: "cowsay.openfaas-fn", Record: "11111111-2222", User: &user, MemoryLimitBytes: 128 << 20,
		Env:     map[string]string{"fprocess": "cowsay -f tux", "greeting": "a=b $(HOME)\nç", "DC_READY_TOKEN": strings.Repeat("ab", 32)},
		Secrets: map[string][]byte{"api-key": []byte("hunter2"), "binary": {0, 1, 0xff}, "empty": {}},
	}
}

func TestProviderKey_DerivedFromReadyKey(t *testing.T) {
	if a, b := providerKey(t, "a"), providerKey(t, "a"); a.Public() != b.Public() {
		t.Error("one ready key gave two provider keys")
	}
	if a, b := providerKey(t, "a"), providerKey(t, "b"); a.Public() == b.Public() {
		t.Error("two ready keys gave one provider key")
	}
	if _, err := assignment.DeriveProviderKey(nil); err == nil {
		t.Error("a key was derived from nothing")
	}
}

func TestNewSpareKey_RefusesWhatIsNoKey(t *testing.T) {
	for name, public := range map[string]string{
		"empty": "", "short": "ab", "no hexadecimal": strings.Repeat("x", 64), "long": strings.Repeat("ab", 33),
		"of low order: all spares would share one secret": strings.Repeat("00", 32),
	} {
		if _, err := assignment.NewSpareKey(public); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestIdentity_OnlyTheProviderReadsIt(t *testing.T) {
	provider := providerKey(t, "secret")
	k := spareKey(t, provider)
	challenge := readypush.NewChallenge()
	told := assignment.Spare{Pod: pod, UID: uid, Function: "cowsay.openfaas-fn"}
	sealed, err := k.SealIdentity(challenge, address, told, jwt)
	if err != nil || len(sealed) > assignment.MaxIdentityBytes {
		t.Fatalf("%d bytes, %v", len(sealed), err)
	}
	if bytes.Contains(sealed, []byte("token")) || bytes.Contains(sealed, []byte(pod)) {
		t.Error("it can be read by anybody")
	}
	got, token, err := provider.OpenIdentity(challenge, netip.MustParseAddr("::ffff:10.1.2.3"), sealed)
	if err != nil || got.Pod != pod || got.UID != uid || got.Function != told.Function || token != jwt {
		t.Fatalf("%+v, %q, %v", got, token, err)
	}
	for name, open := range map[string]func() error{
		"another provider": func() error {
			_, _, err := providerKey(t, "other").OpenIdentity(challenge, address, sealed)
			return err
		},
		"another challenge": func() error {
			_, _, err := provider.OpenIdentity(readypush.NewChallenge(), address, sealed)
			return err
		},
		"another address": func() error {
			_, _, err := provider.OpenIdentity(challenge, netip.MustParseAddr("10.1.2.4"), sealed)
			return err
		},
	} {
		if err := open(); !errors.Is(err, assignment.ErrIdentity) {
			t.Errorf("%s: %v", name, err)
		}
	}
	eachChange(sealed, func(what string, changed []byte) {
		if _, _, err := provider.OpenIdentity(challenge, address, changed); !errors.Is(err, assignment.ErrIdentity) {
			t.Fatalf("%s: %v", what, err)
		}
	})
	again, err := k.SealIdentity(challenge, address, told, jwt)
	if err != nil || bytes.Equal(again, sealed) {
		t.Errorf("the same challenge is answered with the same bytes: %v", err)
	}
}

func TestSealIdentity_RefusesWhatCannotBe(t *testing.T) {
	k := spareKey(t, providerKey(t, "secret"))
	good := assignment.Spare{Pod: pod, UID: uid}
	for name, seal := range map[string]func() ([]byte, error){
		"no challenge": func() ([]byte, error) { return k.SealIdentity("", address, good, jwt) },
		"no token":     func() ([]byte, error) { return k.SealIdentity(readypush.NewChallenge(), address, good, "") },
		"long token": func() ([]byte, error) {
			return k.SealIdentity(readypush.NewChallenge(), address, good, strings.Repeat("a", 13<<10))
		},
		"no pod": func() ([]byte, error) {
			return k.SealIdentity(readypush.NewChallenge(), address, assignment.Spare{UID: uid}, jwt)
		},
		"no uid": func() ([]byte, error) {
			return k.SealIdentity(readypush.NewChallenge(), address, assignment.Spare{Pod: pod}, jwt)
		},
		"odd function": func() ([]byte, error) {
			return k.SealIdentity(readypush.NewChallenge(), address, assignment.Spare{Pod: pod, UID: uid, Function: "a b"}, jwt)
		},
	} {
		if out, err := seal(); err == nil {
			t.Errorf("%s: %d bytes", name, len(out))
		}
	}
}

func TestAssignment_OnlyItsSpareReadsIt(t *testing.T) {
	provider := providerKey(t, "secret")
	spare, k := registered(t, provider)
	sealed, err := provider.Seal(spare, cowsay())
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2", "aHVudGVyMg", "cowsay", "greeting"} {
		if bytes.Contains(sealed, []byte(secret)) {
			t.Errorf("%s can be read by anybody", secret)
		}
	}
	want := cowsay()
	want.Pod, want.UID = pod, uid
	for name, from := range map[string]io.Reader{
		"at once": bytes.NewReader(sealed), "byte by byte": iotest.OneByteReader(bytes.NewReader(sealed)),
		"end with the last bytes": iotest.DataErrReader(bytes.NewReader(sealed)),
	} {
		if got, err := k.Open(from, pod, uid); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	other, otherKey := registered(t, provider)
	forOther, err := provider.Seal(other, cowsay())
	if err != nil {
		t.Fatal(err)
	}
	stranger := providerKey(t, "other")
	forged, err := stranger.Seal(spare, cowsay())
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (*assignment.Assignment, error){
		"another spare":                func() (*assignment.Assignment, error) { return otherKey.Open(bytes.NewReader(sealed), pod, uid) },
		"for another spare":            func() (*assignment.Assignment, error) { return k.Open(bytes.NewReader(forOther), pod, uid) },
		"by another provider":          func() (*assignment.Assignment, error) { return k.Open(bytes.NewReader(forged), pod, uid) },
		"in another pod":               func() (*assignment.Assignment, error) { return k.Open(bytes.NewReader(sealed), pod+"x", uid) },
		"in another pod of the name":   func() (*assignment.Assignment, error) { return k.Open(bytes.NewReader(sealed), pod, uid+"x") },
		"name and uid cut another way": func() (*assignment.Assignment, error) { return k.Open(bytes.NewReader(sealed), pod+"\n"+uid, "") },
		"the spare has started again": func() (*assignment.Assignment, error) {
			return spareKey(t, provider).Open(bytes.NewReader(sealed), pod, uid)
		},
		"nothing": func() (*assignment.Assignment, error) { return k.Open(bytes.NewReader(nil), pod, uid) },
		"twice in one": func() (*assignment.Assignment, error) {
			return k.Open(bytes.NewReader(append(slices.Clone(sealed), sealed...)), pod, uid)
		},
		"an identity instead": func() (*assignment.Assignment, error) { return k.Open(bytes.NewReader(identityOf(t, k)), pod, uid) },
		"head of one, body of the other": func() (*assignment.Assignment, error) {
			again, err := provider.Seal(spare, cowsay())
			if err != nil {
				t.Fatal(err)
			}
			return k.Open(bytes.NewReader(append(slices.Clone(sealed[:53]), again[53:]...)), pod, uid)
		},
	} {
		if a, err := open(); !errors.Is(err, assignment.ErrSealed) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	eachChange(sealed, func(what string, changed []byte) {
		if _, err := k.Open(bytes.NewReader(changed), pod, uid); !errors.Is(err, assignment.ErrSealed) {
			t.Fatalf("%s: %v", what, err)
		}
	})
}

func identityOf(t *testing.T, k *assignment.SpareKey) []byte {
	t.Helper()
	sealed, err := k.SealIdentity(readypush.NewChallenge(), address, assignment.Spare{Pod: pod, UID: uid}, jwt)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// eachChange calls check with good changed in each of its bytes, cut off at each of them, and with a byte more. Of an X25519 key the
// highest bit does not count: with it the key is the same, yet the text that is authenticated is not.
func eachChange(good []byte, check func(what string, changed []byte)) {
	for i := range good {
		for _, bit := range []byte{0x01, 0x80} {
			changed := slices.Clone(good)
			changed[i] ^= bit
			check("byte flipped", changed)
		}
		check("cut off", slices.Clone(good[:i]))
	}
	check("one more", append(slices.Clone(good), 0))
}

// A stranger cannot make a spare read on: only whoever has the provider's key can have it take more than the head.
func TestOpen_ReadsOnForTheProviderAlone(t *testing.T) {
	provider := providerKey(t, "secret")
	spare, k := registered(t, provider)
	sealed, err := providerKey(t, "other").Seal(spare, cowsay())
	if err != nil {
		t.Fatal(err)
	}
	read := &countingReader{from: bytes.NewReader(sealed)}
	if _, err := k.Open(read, pod, uid); !errors.Is(err, assignment.ErrSealed) {
		t.Errorf("%v", err)
	}
	if read.n != 53 {
		t.Errorf("%d bytes were read", read.n)
	}
}

type countingReader struct {
	from io.Reader
	n    int
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.n += n
	return n, err
}

func TestOpen_ErrorOfReadingIsNotTheProviders(t *testing.T) {
	provider := providerKey(t, "secret")
	spare, k := registered(t, provider)
	sealed, err := provider.Seal(spare, cowsay())
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("connection reset")
	for _, n := range []int{0, 10, 53, 60, len(sealed)} {
		from := io.MultiReader(bytes.NewReader(sealed[:n]), iotest.ErrReader(broken))
		if _, err := k.Open(from, pod, uid); !errors.Is(err, broken) || errors.Is(err, assignment.ErrSealed) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func TestSeal_Refuses(t *testing.T) {
	provider := providerKey(t, "secret")
	spare, _ := registered(t, provider)
	for name, change := range map[string]func(*assignment.Assignment){
		"no function":           func(a *assignment.Assignment) { a.Function = "" },
		"no namespace":          func(a *assignment.Assignment) { a.Function = "cowsay" },
		"no record":             func(a *assignment.Assignment) { a.Record = "" },
		"negative memory":       func(a *assignment.Assignment) { a.MemoryLimitBytes = -1 },
		"variable without name": func(a *assignment.Assignment) { a.Env[""] = "x" },
		"name with =":           func(a *assignment.Assignment) { a.Env["a=b"] = "x" },
		"name with NUL":         func(a *assignment.Assignment) { a.Env["a\x00"] = "x" },
		"value with NUL":        func(a *assignment.Assignment) { a.Env["a"] = "x\x00" },
		"long variable":         func(a *assignment.Assignment) { a.Env["a"] = strings.Repeat("x", 128<<10) },
		"secret without name":   func(a *assignment.Assignment) { a.Secrets[""] = nil },
		"secret of a folder":    func(a *assignment.Assignment) { a.Secrets["a/b"] = nil },
		"secret above":          func(a *assignment.Assignment) { a.Secrets[".."] = nil },
		"secret of dots":        func(a *assignment.Assignment) { a.Secrets["..data"] = nil },
		"secret here":           func(a *assignment.Assignment) { a.Secrets["."] = nil },
	} {
		a := cowsay()
		change(&a)
		if _, err := provider.Seal(spare, a); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := provider.Seal(assignment.Spare{Pod: pod, UID: uid}, cowsay()); err == nil {
		t.Error("sealed for a spare that was never heard")
	}
	a := cowsay()
	a.Secrets["large"] = make([]byte, assignment.MaxBytes)
	if _, err := provider.Seal(spare, a); !errors.Is(err, assignment.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

func TestSeal_LargestFits(t *testing.T) {
	provider := providerKey(t, "secret")
	spare, k := registered(t, provider)
	a := cowsay()
	a.Secrets = map[string][]byte{"large": make([]byte, assignment.MaxBytes*3/4-4096)}
	sealed, err := provider.Seal(spare, a)
	if err != nil || len(sealed) > assignment.MaxSealedBytes {
		t.Fatalf("%d bytes, %v", len(sealed), err)
	}
	got, err := k.Open(bytes.NewReader(sealed), pod, uid)
	if err != nil || !maps.EqualFunc(got.Secrets, a.Secrets, bytes.Equal) {
		t.Errorf("%v", err)
	}
}

func TestParse(t *testing.T) {
	a := cowsay()
	a.Pod, a.UID = pod, uid
	text, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := assignment.Parse([]byte(`{"later":1,` + string(text[1:])))
	if err != nil || !reflect.DeepEqual(*got, a) {
		t.Errorf("a member of a newer version: %+v, %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "no JSON": []byte("x"), "null": []byte("null"), "no object": []byte("[]"), "half": text[:len(text)/2],
		"more after it": append(slices.Clone(text), '}'), "too long": append(slices.Clone(text), bytes.Repeat([]byte(" "), assignment.MaxBytes)...),
	} {
		if a, err := assignment.Parse(bad); err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestCall(t *testing.T) {
	c, err := assignment.ParseCall(assignment.Call{Pod: pod}.Encode())
	if err != nil || c.Pod != pod {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"", "{}", "[]", `{"pod":"a/b"}`, `{"pod":"` + strings.Repeat("a", 254) + `"}`, `{"pod":"a"}` + strings.Repeat(" ", 512)} {
		if c, err := assignment.ParseCall([]byte(bad)); err == nil {
			t.Errorf("%.40q: %+v", bad, c)
		}
	}
}

func FuzzOpen(f *testing.F) {
	provider := providerKey(f, "secret")
	spare, k := registered(f, provider)
	sealed, err := provider.Seal(spare, cowsay())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add(sealed[:53])
	f.Add(append([]byte{1}, make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := k.Open(bytes.NewReader(data), pod, uid); err == nil {
			t.Fatalf("made up: %+v", a)
		}
	})
}

func FuzzOpenIdentity(f *testing.F) {
	provider := providerKey(f, "secret")
	f.Add([]byte{})
	f.Add(append([]byte{1}, make([]byte, 100)...))
	f.Add(append([]byte{1}, bytes.Repeat([]byte{9}, 100)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, _, err := provider.OpenIdentity(readypush.NewChallenge(), address, data); err == nil {
			t.Fatalf("made up: %+v", s)
		}
	})
}

// What was parsed can be encoded, and gives the same again.
func FuzzParse(f *testing.F) {
	a := cowsay()
	a.Pod, a.UID = pod, uid
	text, err := a.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"function":"a.b","record":"r","pod":"p","uid":"u","env":{"a":"\ud800"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := assignment.Parse(data)
		if err != nil {
			return
		}
		text, err := a.Encode()
		if errors.Is(err, assignment.ErrTooLarge) {
			return // escapes that were spared before
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := assignment.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		second, err := again.Encode()
		if err != nil || !bytes.Equal(text, second) {
			t.Fatalf("%s\n%s\n%v", text, second, err)
		}
	})
}

func FuzzParseCall(f *testing.F) {
	f.Add([]byte(`{"pod":"a"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := assignment.ParseCall(data); err == nil {
			if again, err := assignment.ParseCall(c.Encode()); err != nil || again != c {
				t.Fatalf("%+v, %+v, %v", c, again, err)
			}
		}
	})
}

func BenchmarkSealOpen(b *testing.B) {
	provider := providerKey(b, "secret")
	spare, k := registered(b, provider)
	for b.Loop() {
		sealed, err := provider.Seal(spare, cowsay())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := k.Open(bytes.NewReader(sealed), pod, uid); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
}

// The watchdog, which lives in every container, imports this package.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		if !strings.HasPrefix(path, "github.com/dragonchain/dc-provider/pkg/function/") {
			t.Errorf("imports %s", path)
		}
	}
}
