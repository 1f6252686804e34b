package function_test

import (
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
)

func TestParseDuration(t *testing.T) {
	const none = -1
	for in, want := range map[string]time.Duration{
		"0": 0, "15": 15 * time.Second, "4294967295": 4294967295 * time.Second,
		"15m": 15 * time.Minute, "1h30m": 90 * time.Minute, "1.5s": 1500 * time.Millisecond, "0s": 0,
		"": none, "-1": none, "-1s": none, "1.5": none, "4294967296": none, "15 m": none, "m": none, "9999999h": none, "1d": none,
	} {
		got, ok := function.ParseDuration(in)
		if ok != (want != none) || ok && got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", in, got, ok, want)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"15", "15m", "-1s", "1e9s", "9223372036854775807ns"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := function.ParseDuration(s)
		if !ok {
			return
		}
		if d < 0 {
			t.Fatalf("%q is negative: %v", s, d)
		}
		if back, ok := function.ParseDuration(d.String()); !ok || back != d {
			t.Fatalf("%q: %v became %v, %v", s, d, back, ok)
		}
	})
}

func TestParseBytes(t *testing.T) {
	const none = 0
	for in, want := range map[string]int64{
		"1": 1, "64Mi": 64 << 20, "2Ki": 2 << 10, "3Gi": 3 << 30, "9223372036854775807": 1<<63 - 1, "8589934591Gi": 8589934591 << 30,
		"": none, "0": none, "0Ki": none, "-1": none, "+1": none, "1.5Mi": none, "1M": none, "Mi": none, "1 Ki": none,
		"9223372036854775808": none, "8589934592Gi": none, "1KiKi": none,
	} {
		got, err := function.ParseBytes(in)
		if (err == nil) != (want != none) || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
}

func FuzzParseBytes(f *testing.F) {
	for _, seed := range []string{"1", "64Mi", "8589934592Gi", "-5Ki", "00000000000000000001"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := function.ParseBytes(s); (err == nil) != (n > 0) {
			t.Fatalf("ParseBytes(%q) = %d, %v", s, n, err)
		}
	})
}
