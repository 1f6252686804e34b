package watchdog

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLineLog(t *testing.T) {
	for _, r := range []struct {
		name, in string
		prefixed bool
		want     string
	}{
		{"lines", "a\nb\n", false, "a\nb\n"},
		{"empty lines", "\n\na\n", false, "\n\na\n"},
		{"no end", "a\nb", false, "a\nb\n"},
		{"nothing", "", false, ""},
		{"as long as the buffer", strings.Repeat("x", 15) + "\ny", false, strings.Repeat("x", 15) + "\ny\n"},
		{"longer than the buffer", strings.Repeat("x", 40) + "\ny", false,
			strings.Repeat("x", 16) + "\n" + strings.Repeat("x", 16) + "\n" + strings.Repeat("x", 8) + "\ny\n"},
		{"any bytes", "\x00\xff\r\n", false, "\x00\xff\r\n"},
		{"prefixed", "a\nb", true, "TIME stderr: a\nTIME stderr: b\n"},
	} {
		t.Run(r.name, func(t *testing.T) {
			var out bytes.Buffer
			sink := NewSink(&out)
			newLineLog(sink, "stderr", r.prefixed, 16).copy(strings.NewReader(r.in))
			sink.Close()
			got := regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d`).ReplaceAllString(out.String(), "TIME")
			if got != r.want {
				t.Errorf("%q, want %q", got, r.want)
			}
		})
	}
}

// gate is a log that takes nothing until it is opened.
type gate struct {
	open chan struct{}
	mu   sync.Mutex
	text bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.Write(p)
}

func TestSink_StuckLogHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		s := NewSink(g)
		line := []byte(strings.Repeat("x", 1023) + "\n")
		begun := time.Now()
		for range 3 * sinkBytes / len(line) {
			s.Write(line)
		}
		if took := time.Since(begun); took > sinkPatience {
			t.Errorf("writers were held up for %v", took)
		}
		close(g.open)
		synctest.Wait()
		s.Write([]byte("last\n"))
		s.Close()

		kept := strings.Count(g.text.String(), string(line))
		lost := 0
		if _, err := fmt.Sscanf(g.text.String()[strings.Index(g.text.String(), "keep up: "):], "keep up: %d writes", &lost); err != nil {
			t.Fatal(err)
		}
		if kept < sinkBytes/len(line)-1 || kept+lost != 3*sinkBytes/len(line) {
			t.Errorf("%d lines kept, %d reported lost", kept, lost)
		}
		if !strings.HasSuffix(g.text.String(), "last\n") {
			t.Error("nothing is logged after the log moved again")
		}
	})
}

func TestSink_SlowLogLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, write := io.Pipe()
		s := NewSink(write)
		var got int
		reader := make(chan struct{})
		go func() {
			defer close(reader)
			for buf := make([]byte, 64<<10); ; {
				time.Sleep(10 * time.Millisecond) // of the bubble's own clock
				n, err := read.Read(buf)
				got += n
				if err != nil {
					return
				}
			}
		}()
		line := make([]byte, 1000)
		for range 10_000 {
			s.Write(line)
		}
		s.Close()
		<-s.done // Close gives up on a log this slow, its goroutine does not
		write.Close()
		<-reader
		if got != 10_000*len(line) {
			t.Errorf("%d of %d bytes", got, 10_000*len(line))
		}
	})
}

func TestSink_CloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		s := NewSink(g)
		s.Write([]byte("x"))
		begun := time.Now()
		s.Close()
		if took := time.Since(begun); took != sinkPatience {
			t.Errorf("closed after %v", took)
		}
		close(g.open)
	})
}

func TestSink_BrokenLog(t *testing.T) {
	read, write := io.Pipe()
	read.Close()
	s := NewSink(write)
	for range 100 {
		if n, err := s.Write([]byte("hello")); n != 5 || err != nil {
			t.Fatal(n, err)
		}
	}
	s.Close()
}

// countingLog counts the writes to it.
type countingLog struct {
	bytes.Buffer
	writes int
}

func (l *countingLog) Write(p []byte) (int, error) {
	l.writes++
	return l.Buffer.Write(p)
}

// Lines that follow each other closely share a write, none waits for long, and the end waits for nothing.
func TestSink_GathersLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &countingLog{}
		s := NewSink(log)
		s.Write([]byte("first\n"))
		synctest.Wait()
		if log.String() != "first\n" {
			t.Errorf("%q, though there was nothing to wait for", log.String())
		}
		const lines = 100
		for range lines {
			time.Sleep(sinkPause / 10)
			s.Write([]byte("next\n"))
		}
		time.Sleep(sinkPause)
		synctest.Wait()
		if got := strings.Count(log.String(), "next\n"); got != lines || log.writes > lines/10+2 {
			t.Errorf("%d lines in %d writes", got, log.writes)
		}
		s.Write([]byte("last\n"))
		begun := time.Now()
		s.Close()
		if !strings.HasSuffix(log.String(), "last\n") || time.Since(begun) > 0 {
			t.Errorf("%q after %v", log.String(), time.Since(begun))
		}
	})
}
