package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyFile(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "keys")
	for name, text := range map[string]string{
		"ABC": "text", "SC_ABC": "other\n", "empty": "", "..data/hidden": "x", ".dot": "x", "../outside": "x",
	} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys := keyFile(folder)
	for id, want := range map[string]string{"ABC": "text", "SC_ABC": "other\n"} {
		if text, known := keys(id); !known || text != want {
			t.Errorf("%s: %q, %t", id, text, known)
		}
	}
	for _, id := range []string{"abc", "empty", "none", ".", "..", ".dot", "..data", "..data/hidden", "../outside", "/etc/passwd", "a\x00", strings.Repeat("x", 5000)} {
		if text, known := keys(id); known {
			t.Errorf("%.20q: %q", id, text)
		}
	}
	// A rotated key takes effect at once.
	if err := os.WriteFile(filepath.Join(folder, "ABC"), []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, _ := keys("ABC"); text != "new" {
		t.Errorf("after the change: %q", text)
	}
}

func TestConfig_ChainKeysNeedTheChainsID(t *testing.T) {
	none := func(string) string { return "" }
	if _, err := parseConfig([]string{"--chain-keys-dir=/keys"}, none, os.Stderr); err == nil || !strings.Contains(err.Error(), "--chain-id") {
		t.Errorf("without an id: %v", err)
	}
	cfg, err := parseConfig([]string{"--chain-keys-dir=/keys", "--chain-id=c"}, none, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	// It is no chain to post to.
	if s, err := cfg.signatures(); err != nil || s == nil || cfg.chain.URL != "" || cfg.chain.ID != "" {
		t.Errorf("%v, %v, %+v", s, err, cfg.chain)
	}
	if cfg, err = parseConfig(nil, none, os.Stderr); err != nil {
		t.Fatal(err)
	}
	if s, err := cfg.signatures(); err != nil || s != nil {
		t.Errorf("without keys: %v, %v", s, err)
	}
}
