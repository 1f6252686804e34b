package lambda

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// log is the log tail in a reply.
func (a reply) log(t *testing.T) string {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(a.header.Get("X-Amz-Log-Result"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (f *fakeProcess) say(text string) {
	f.t.Helper()
	if _, err := io.WriteString(f.output, text); err != nil {
		f.t.Error(err)
	}
}

func wantLog(t *testing.T, got, want string) {
	t.Helper()
	if !regexp.MustCompile(`\A` + want + `\z`).MatchString(got) {
		t.Errorf("log\n%s\ndoes not match\n%s", got, want)
	}
}

const (
	startLine = `START RequestId: [-0-9a-f]{36} Version: \$LATEST\n`
	endLines  = `END RequestId: [-0-9a-f]{36}\nREPORT RequestId: [-0-9a-f]{36}\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\t` +
		`Max Memory Used: \d MB`
	initTime = `\tInit Duration: \d+\.\d\d ms`
)

func TestLog_Tail(t *testing.T) {
	var used atomic.Int64
	used.Store(3 << 20)
	w := start(t, Config{MemoryMB: 128, MemoryUsed: func() (int64, bool) { return used.Load(), true }})
	const tailed = "X-Amz-Log-Type: Tail"
	f := w.process()
	f.say("of the init\n")

	answer := w.invoke(invokePath, `1`, tailed)
	id, _ := f.next()
	f.say("hello\n")
	f.respond(id, `1`)
	polled := f.poll()
	a := get(t, answer)
	wantLog(t, a.log(t), startLine+"hello\n"+endLines+initTime+"\n")
	if !strings.Contains(a.log(t), "START RequestId: "+id) || a.header.Get("X-Amzn-Requestid") != id {
		t.Errorf("log %q of request %s", a.log(t), id)
	}

	// The next is not charged with the init, and not told of the one before.
	used.Store(2 << 20)
	fault := w.invoke(invokePath, `2`, tailed)
	id = get(t, polled).header.Get(headerRequestID)
	f.say(strings.Repeat("x", 8<<10))
	f.call("POST", invocations+id+"/error", strings.NewReader(`{}`))
	got := get(t, fault).log(t)
	if len(got) != tailBytes || strings.Contains(got, "START") || !strings.Contains(got, "Max Memory Used: 3 MB\tStatus: error\n") || strings.Contains(got, "Init") {
		t.Errorf("%d bytes, at the end %q", len(got), got[max(0, len(got)-300):])
	}

	plain := w.invoke(invokePath, `3`)
	id, _ = f.next()
	f.say("not asked for\n")
	f.respond(id, `1`)
	if a := get(t, plain); a.header["X-Amz-Log-Result"] != nil {
		t.Errorf("headers %v", a.header)
	}
	get(t, w.invoke(invokePath, `4`, "X-Amz-Log-Type: All")).is(t, 400,
		`{"Type":"User","message":"X-Amz-Log-Type \"All\" is not one of None, Tail"}`)
}

func TestLog_TailOfWhatEndsBadly(t *testing.T) {
	t.Run("out of time", func(t *testing.T) {
		w := start(t, Config{MemoryMB: 128, Timeout: limited(short)})
		f := w.process()
		answer := w.invoke(invokePath, `1`, "X-Amz-Log-Type: Tail")
		f.next()
		f.say("still there\n")
		a := get(t, answer)
		a.isFault(t, 200, "Sandbox.Timedout")
		if log := a.log(t); !strings.HasPrefix(log, "START") || !strings.HasSuffix(log, "\tStatus: timeout\n") {
			t.Errorf("log %q", log)
		}
	})
	t.Run("exit", func(t *testing.T) {
		w := start(t, Config{MemoryMB: 128})
		f := w.process()
		answer := w.invoke(invokePath, `1`, "X-Amz-Log-Type: Tail")
		f.next()
		f.say("the end\n")
		f.exit("exit status 1")
		a := get(t, answer)
		a.isFault(t, 200, "Runtime.ExitError")
		if log := a.log(t); !strings.Contains(log, "\nthe end\nEND") || !strings.HasSuffix(log, "\tStatus: error\tError Type: Runtime.ExitError\n") {
			t.Errorf("log %q", log)
		}
	})
	t.Run("never given", func(t *testing.T) {
		w := start(t, Config{})
		f := w.process()
		answer := w.invoke(invokePath, `1`, "X-Amz-Log-Type: Tail")
		w.waitFor("an invocation in the queue", func(p *Pool) bool { return len(p.queue) == 1 })
		f.exit("exit status 1")
		a := get(t, answer)
		a.isFault(t, 200, "Runtime.ExitError")
		if log := a.log(t); log != "" {
			t.Errorf("log %q", log)
		}
	})
}

func TestLog_TailOfAStream(t *testing.T) {
	w := start(t, Config{MemoryMB: 128})
	f := w.process()
	answer := w.invoke(invokePath, `1`, "X-Amz-Log-Type: Tail")
	id, _ := f.next()
	f.say("streaming\n")
	f.respond(id, `[1,2]`, "Lambda-Runtime-Function-Response-Mode: streaming")
	a := get(t, answer)
	a.is(t, 200, `[1,2]`)
	if log := a.log(t); !strings.Contains(log, "streaming\nEND RequestId: "+id) {
		t.Errorf("log %q", log)
	}
}

func TestLog_Reports(t *testing.T) {
	var log lines
	w := start(t, Config{Reports: &log, Timeout: limited(time.Hour)})
	f := w.process()
	for i := range 2 {
		answer := w.invoke("/", `1`)
		id, _ := f.next()
		f.respond(id, `1`)
		get(t, answer).is(t, 200, `1`)
		end := fmt.Sprintf("END RequestId: %s\nREPORT RequestId: %s\tDuration: ", id, id)
		got := log.String()
		if !strings.HasPrefix(got[strings.LastIndex(got, "START"):], "START RequestId: "+id+" Version: $LATEST\n"+end) || strings.Contains(got, "Max Memory") {
			t.Errorf("log %q", got)
		}
		if n := strings.Count(got, "Init Duration"); n != 1 || strings.Count(got, "START") != i+1 || strings.Count(got, "REPORT") != i+1 {
			t.Errorf("log %q after %d invocations", got, i+1)
		}
	}
}
