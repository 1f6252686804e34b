package dc1_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/dc1"
)

const (
	chain   = "294sjLHcCc8dMqMUdFzAnqLmiaCMWmoMTspuuYpSeBMvM"
	keyID   = "ABCDEF123456"
	keyText = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
	// stamp is what the vectors were signed for.
	stamp = "2019-12-04T21:49:49.990Z"
	list  = "t+y+TJljLW05z7g54KJ6UQ3xGIIJbgA2YOZHxfkTC8M="
)

var signed = time.Date(2019, 12, 4, 21, 49, 49, 990e6, time.UTC)

func verifier(t testing.TB) *dc1.Verifier {
	t.Helper()
	v, err := dc1.New(dc1.Config{Chain: chain, Key: func(id string) (string, bool) {
		switch id {
		case keyID, "other:id":
			return keyText, true
		case "empty":
			return "", true
		}
		return "", false
	}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// request is one with these headers; empty ones are left out.
func request(method, target, authorization string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	for name, value := range map[string]string{"dragonchain": chain, "timestamp": stamp, "Authorization": authorization} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	return r
}

// TestVectors are requests that were signed by Dragonchain's own code.
func TestVectors(t *testing.T) {
	const body = `{"version":"3","txn_type":"abc","image":"alpine:3","cmd":"cat","execution_order":"serial"}`
	const logs = "/v1/contract/11111111-2222-3333-4444-555555555555/logs?tail=5&since=2019-09-16T23%3A10%3A04.000Z"
	for _, c := range []struct{ method, target, body, hash, mac string }{
		{"GET", "/v1/contract", "", "SHA256", list},
		{"GET", "/v1/contract?", "", "SHA256", list},
		{"GET", logs, "", "SHA256", "lh0dRHUzTw/CkTDmGhZ+dr6WeR7OPUG0dCkQCj6c3zU="},
		{"POST", "/v1/contract", body, "SHA256", "YMDQN+d7bRNJo7tTGcAvRfaL/sF4nXWZmi+Kgp+IXjg="},
		{"POST", "/v1/contract", body, "SHA3-256", "AhfK3hamFESqnMOB/T24VobdPMQXjmTW3vjz87iJaWM="},
		{"POST", "/v1/contract", body, "BLAKE2b512",
			"FRbBkrkviDUPYaqTBmk6SCTRw0CPtBadT75X+gdDt8+utIgALp0GidYSnE/sFcBK7utPs9Hw+Tet1Oq23qr++Q=="},
	} {
		r := request(c.method, c.target, "DC1-HMAC-"+c.hash+" "+keyID+":"+c.mac)
		if c.body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		if err := verifier(t).Verify(r, []byte(c.body), signed); err != nil {
			t.Errorf("%s %s %s: %v", c.method, c.target, c.hash, err)
		}
		if err := verifier(t).Verify(r, []byte(c.body+" "), signed); !errors.Is(err, dc1.ErrRefused) {
			t.Errorf("%s %s %s with another body: %v", c.method, c.target, c.hash, err)
		}
	}
}

func TestSign_AsTheVectors(t *testing.T) {
	r := httptest.NewRequest("GET", "/v1/contract", nil)
	dc1.Sign(r, nil, chain, dc1.Key{ID: keyID, Text: keyText}, signed)
	if got, want := r.Header.Get("Authorization"), "DC1-HMAC-SHA256 "+keyID+":"+list; got != want {
		t.Errorf("signed %s, want %s", got, want)
	}
	if r.Header.Get("timestamp") != stamp || r.Header.Get("dragonchain") != chain || r.Header.Get("Content-Type") != "" {
		t.Errorf("headers %v", r.Header)
	}
}

// TestVerify_PathInBothForms: SDKs differ in whether they sign escapes.
func TestVerify_PathInBothForms(t *testing.T) {
	v := verifier(t)
	for _, path := range []string{"/v1/get/a/b%20c%C3%BC", "/v1/get/a/b%2Fc", "/v1/get/a//b?x=%20"} {
		sent := httptest.NewRequest("GET", path, nil)
		dc1.Sign(sent, nil, chain, dc1.Key{ID: keyID, Text: keyText}, signed)
		if err := v.Verify(sent, nil, signed); err != nil {
			t.Errorf("%s as it was sent: %v", path, err)
		}
		plain := httptest.NewRequest("GET", path, nil)
		plain.URL.RawPath = ""
		plain.URL.Opaque = plain.URL.Path // what RequestURI then gives has no escapes
		dc1.Sign(plain, nil, chain, dc1.Key{ID: keyID, Text: keyText}, signed.Add(time.Second))
		again := httptest.NewRequest("GET", path, nil)
		again.Header = plain.Header
		if err := v.Verify(again, nil, signed); err != nil {
			t.Errorf("%s without escapes: %v", path, err)
		}
	}
}

func TestVerify_Refused(t *testing.T) {
	const good = "DC1-HMAC-SHA256 " + keyID + ":" + list
	change := func(f func(http.Header)) func(http.Header) { return f }
	set := func(name, value string) func(http.Header) { return change(func(h http.Header) { h.Set(name, value) }) }
	for _, c := range []struct {
		name   string
		change func(http.Header)
		want   string
	}{
		{"no chain", set("dragonchain", ""), "Missing Dragonchain ID in request header"},
		{"no timestamp", set("timestamp", ""), "Missing timestamp in request header"},
		{"another chain", set("dragonchain", chain+"x"), "Incorrect Dragonchain ID"},
		{"no authorization", set("Authorization", ""), "Malformed Authorization Header"},
		{"basic", set("Authorization", "Basic YTpi"), "Malformed Authorization Header"},
		{"no blank", set("Authorization", "DC1-HMAC-SHA256"), "Malformed Authorization Header"},
		{"no hash", set("Authorization", "DC1-HMAC "+keyID+":"+list), "Malformed Authorization Header"},
		{"version", set("Authorization", strings.Replace(good, "DC1", "DC2", 1)), "Unsupported DC Authorization Version"},
		{"hash", set("Authorization", strings.Replace(good, "SHA256", "MD5", 1)), "Unsupported HMAC Hash Type"},
		{"no colon", set("Authorization", "DC1-HMAC-SHA256 "+keyID), "Malformed Authorization Header"},
		{"no key id", set("Authorization", "DC1-HMAC-SHA256 :"+list), "Malformed Authorization Header"},
		{"slash in the key id", set("Authorization", "DC1-HMAC-SHA256 a/b:"+list), "Malformed Authorization Header"},
		{"no base64", set("Authorization", "DC1-HMAC-SHA256 "+keyID+":!"), "Malformed Authorization Header"},
		{"a line end within", set("Authorization", "DC1-HMAC-SHA256 "+keyID+":"+list[:8]+"\r"+list[8:]), "Malformed Authorization Header"},
		{"bits that are too many", set("Authorization", "DC1-HMAC-SHA256 "+keyID+":"+list[:len(list)-2]+"N="), "Malformed Authorization Header"},
		{"no mac", set("Authorization", "DC1-HMAC-SHA256 "+keyID+":"), "Malformed Authorization Header"},
		{"unknown key", set("Authorization", "DC1-HMAC-SHA256 OTHER:"+list), "Invalid HMAC Authentication"},
		{"part of the mac", set("Authorization", "DC1-HMAC-SHA256 "+keyID+":"+list[:4]), "Invalid HMAC Authentication"},
		{"key without a text", set("Authorization", "DC1-HMAC-SHA256 empty:"+list), "Invalid HMAC Authentication"},
		{"content type", set("Content-Type", "text/plain"), "Invalid HMAC Authentication"},
		{"later timestamp", set("timestamp", "2019-12-04T21:49:50.990Z"), "Invalid HMAC Authentication"},
		{"other form of the timestamp", set("timestamp", "2019-12-04T21:49:49.99Z"), "Invalid HMAC Authentication"},
		{"seven digits", set("timestamp", "2019-12-04T21:49:49.9900000Z"), "Malformed Authorization Header"},
		{"offset", set("timestamp", "2019-12-04T21:49:49+00:00"), "Malformed Authorization Header"},
		{"comma", set("timestamp", "2019-12-04T21:49:49,99Z"), "Malformed Authorization Header"},
		{"no day", set("timestamp", "2019-02-30T21:49:49Z"), "Malformed Authorization Header"},
		{"words", set("timestamp", "now"), "Malformed Authorization Header"},
		{"old", set("timestamp", "2019-12-04T21:39:49.989Z"), "Timestamp of request too skewed"},
		{"far ahead", set("timestamp", "9999-12-31T23:59:59Z"), "Timestamp of request too skewed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := verifier(t)
			r := request("GET", "/v1/contract", good)
			c.change(r.Header)
			err := v.Verify(r, nil, signed)
			if !errors.Is(err, dc1.ErrRefused) || err.Error() != c.want {
				t.Errorf("refused with %v, want %s", err, c.want)
			}
			// What was refused is not taken for seen.
			if err := v.Verify(request("GET", "/v1/contract", good), nil, signed); err != nil {
				t.Errorf("the good one afterwards: %v", err)
			}
		})
	}
	for _, c := range []struct{ method, target string }{{"POST", "/v1/contract"}, {"GET", "/v1/contracts"}, {"GET", "/v1/contract?a=b"}} {
		if err := verifier(t).Verify(request(c.method, c.target, good), nil, signed); err == nil || err.Error() != "Invalid HMAC Authentication" {
			t.Errorf("%s %s: %v", c.method, c.target, err)
		}
	}
}

// sign signs a request of its own for a moment.
func sign(key string, n int, at time.Time) *http.Request {
	r := httptest.NewRequest("GET", fmt.Sprintf("/v1/contract?n=%d", n), nil)
	dc1.Sign(r, nil, chain, dc1.Key{ID: key, Text: keyText}, at)
	return r
}

func TestVerify_OnceForAsLongAsItsTimestampIsGood(t *testing.T) {
	start := signed
	for _, after := range []time.Duration{0, time.Second, dc1.Skew, 2*dc1.Skew - time.Millisecond, 2 * dc1.Skew} {
		v := verifier(t)
		// Another one begins a generation some time before.
		if err := v.Verify(sign(keyID, 1, start.Add(-after/2)), nil, start.Add(-after/2)); err != nil {
			t.Fatal(err)
		}
		r := sign(keyID, 2, start.Add(dc1.Skew)) // as early as it is good
		if err := v.Verify(r, nil, start); err != nil {
			t.Fatalf("first: %v", err)
		}
		if err := v.Verify(r, nil, start.Add(after)); err == nil || err.Error() != "Previous matching request found (no replays allowed)" {
			t.Errorf("%v later: %v", after, err)
		}
		if err := v.Verify(sign("other:id", 2, start.Add(dc1.Skew)), nil, start.Add(after)); err != nil {
			t.Errorf("another key's: %v", err)
		}
	}
	v := verifier(t)
	r := sign(keyID, 1, start)
	for _, at := range []time.Time{start.Add(dc1.Skew + time.Millisecond), start.Add(-dc1.Skew - time.Millisecond)} {
		if err := v.Verify(r, nil, at); err == nil || err.Error() != "Timestamp of request too skewed" {
			t.Errorf("at %v: %v", at, err)
		}
	}
}

func TestVerify_OnceOfManyAtOnce(t *testing.T) {
	v, r := verifier(t), sign(keyID, 1, signed)
	var let atomic.Int64
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if v.Verify(r, nil, signed) == nil {
				let.Add(1)
			}
		})
	}
	if all.Wait(); let.Load() != 1 {
		t.Errorf("let in %d times", let.Load())
	}
}

func TestVerify_MemoryIsBounded(t *testing.T) {
	v := verifier(t)
	v.Limit(3)
	at := signed
	for n := range 3 {
		if err := v.Verify(sign(keyID, n, at), nil, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Verify(sign(keyID, 4, at), nil, at); !errors.Is(err, dc1.ErrTooMany) {
		t.Errorf("past the bound: %v", err)
	}
	// None was forgotten for it, and there is room when they are too old to be good.
	if err := v.Verify(sign(keyID, 0, at), nil, at); !errors.Is(err, dc1.ErrRefused) {
		t.Errorf("the first again: %v", err)
	}
	at = at.Add(2 * dc1.Skew)
	if err := v.Verify(sign(keyID, 4, at), nil, at); err != nil {
		t.Errorf("later: %v", err)
	}
}

func TestNew_NamesWhatIsMissing(t *testing.T) {
	for _, cfg := range []dc1.Config{{}, {Chain: chain}, {Key: func(string) (string, bool) { return "", false }}} {
		if v, err := dc1.New(cfg); err == nil || v != nil {
			t.Errorf("%+v is taken", cfg.Chain)
		}
	}
}

// FuzzVerify: whatever is sent, nothing panics and nothing but what was signed gets in.
func FuzzVerify(f *testing.F) {
	f.Add(chain, stamp, "DC1-HMAC-SHA256 "+keyID+":"+list, "/v1/contract")
	f.Add(chain, stamp, "DC1-HMAC-BLAKE2b512 a:b:YQ==", "/v1/%zz")
	f.Add("", "2019-12-04T21:49:49Z", "DC-HMAC- :", "")
	f.Fuzz(func(t *testing.T, id, timestamp, authorization, path string) {
		r := httptest.NewRequest("GET", "/v1/contract", nil)
		r.URL.Path = path
		r.Header = http.Header{"Dragonchain": {id}, "Timestamp": {timestamp}, "Authorization": {authorization}}
		err := verifier(t).Verify(r, nil, signed)
		if err == nil && (!strings.HasSuffix(authorization, list) || path != "/v1/contract" || id != chain || timestamp != stamp) {
			t.Errorf("let in %q %q %q %q", id, timestamp, authorization, path)
		}
		if err != nil && !errors.Is(err, dc1.ErrRefused) {
			t.Errorf("%v", err)
		}
	})
}
