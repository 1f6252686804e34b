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
			time.Sleep(time.Microsecond) // leaves the processor, if there is but one, to whoever reads
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

// Who was late to read gets what was written before the pipe was given up, and no more, though one that escaped writes on and on.
func TestTeePipe_GivenUp(t *testing.T) {
	checkLeaks(t)
	ours, childs, err := outPipe()
	if err != nil {
		t.Fatal(err)
	}
	theirs := nonblocking(childs)
	defer theirs.Close()
	defer ours.Close()
	fill := func() int {
		n, err := theirs.Write(make([]byte, 1<<20)) // as much as fits
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		return n
	}
	theirs.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	held := fill()
	copied := newLogBuffer()
	p := newTeePipe(ours, copied)
	giveUpAfter(ours, 0)
	if n, err := p.Read(nil); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	read := 0
	for buf := make([]byte, 5000); ; {
		n, err := p.Read(buf)
		read += n
		if err == io.EOF {
			break
		}
		if err != nil || read > held {
			t.Fatalf("%d bytes of %d, %v", read, held, err)
		}
		theirs.SetWriteDeadline(time.Now().Add(time.Millisecond))
		fill()
	}
	if read != held || len(copied.String()) != held {
		t.Errorf("%d bytes read, %d copied, of %d", read, len(copied.String()), held)
	}
}

func TestTeePipe_GivenUpEmpty(t *testing.T) {
	ours, childs, err := outPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer closeFD(childs)
	defer ours.Close()
	giveUpAfter(ours, 0)
	if n, err := newTeePipe(ours, io.Discard).Read(make([]byte, 8)); n != 0 || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
}
