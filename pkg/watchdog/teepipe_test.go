package watchdog

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// TestTeePipe looks for a moment at which a pipe says that all is copied while it is not.
func TestTeePipe(t *testing.T) {
	checkLeaks(t)
	ours, childs, err := outPipe()
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(childs), "child's")
	copied := newLogBuffer()
	p := newTeePipe(ours, copied)
	read := make(chan string, 1)
	go func() {
		text, err := io.ReadAll(p)
		if err != nil {
			t.Error(err)
		}
		read <- string(text)
	}()
	var written bytes.Buffer
	for i := range 2000 {
		line := strings.Repeat("x", i%97) + "\n"
		written.WriteString(line)
		if _, err := io.WriteString(theirs, line); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(patience); !p.drained(); {
			if time.Now().After(deadline) {
				t.Fatal("nobody reads")
			}
		}
		if got := copied.String(); got != written.String() {
			t.Fatalf("%d of %d bytes were copied when all was said to be", len(got), written.Len())
		}
	}
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != written.String() {
		t.Errorf("read %d bytes of %d", len(got), written.Len())
	}
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	if !p.drained() {
		t.Error("a closed pipe has something to come")
	}
}

func TestTeePipe_GivenUp(t *testing.T) {
	checkLeaks(t)
	ours, childs, err := outPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer closeFD(childs)
	defer ours.Close()
	p := newTeePipe(ours, io.Discard)
	giveUpAfter(ours, 0)
	if n, err := p.Read(make([]byte, 8)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := p.Read(nil); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}
