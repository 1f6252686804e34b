package http1

import (
	"bytes"
	"testing"
)

// Every character at every place of values shorter and longer than a word, alone and beside another.
func TestIsContent_IsTheTable(t *testing.T) {
	for length := 1; length <= 17; length++ {
		for place := range length {
			for c := range 256 {
				for _, beside := range []byte{'a', ' ', '\t', '~', 0x80, 0xff, 0x7f, 0x1f, 0} {
					b := bytes.Repeat([]byte{'x'}, length)
					b[(place+1)%length] = beside
					b[place] = byte(c)
					if got, want := isContent(b), all(b, &content); got != want {
						t.Fatalf("%q: %v, want %v", b, got, want)
					}
				}
			}
		}
	}
}

func BenchmarkIsContent(b *testing.B) {
	value := bytes.Repeat([]byte("Mozilla/5.0 (X11; Linux)"), 4)
	b.SetBytes(int64(len(value)))
	for b.Loop() {
		if !isContent(value) {
			b.Fatal("refused")
		}
	}
}
