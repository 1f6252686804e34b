package watchdog

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var soak = flag.Int("soak", 600, "how many invocations TestSoak makes")

// soakMarker is in the command line of what is never to end by itself, and of no other run's on this machine.
var soakMarker = fmt.Sprintf("98765.9%d", os.Getpid())

// soakScript is a function that behaves in every way that programs do.
var soakScript = `case $Http_Path in
/echo) cat;;
/deaf) echo yes;;
/fail) echo some; exit 3;;
/hang) echo some; sleep ` + soakMarker + `;;
/mute) exec >&- 2>&-; sleep ` + soakMarker + `;;
/brood) sleep ` + soakMarker + ` >/dev/null 2>&1 & set -m; (sleep ` + soakMarker + ` >/dev/null 2>&1 &); echo yes;;
/escape) setsid sleep 0.3 & echo yes;;
/big) head -c 1000000 /dev/zero;;
/chatter) head -c 100000 /dev/zero | tr '\0' x >&2; echo yes;;
esac`

// soakCall is one way to call it, and what must come of that.
type soakCall struct {
	path, body string
	limit      string        // X-Timeout
	leave      time.Duration // when the caller goes away; 0 is never
	readOnly   int64         // of the answer, before the caller goes away; 0 is all of it
	good       bool          // must be answered 200
}

var soakCalls = []soakCall{
	{path: "/echo", body: "hello", good: true},
	{path: "/echo", body: strings.Repeat("x", 300<<10), good: true},
	{path: "/deaf", body: strings.Repeat("x", 64<<10), good: true},
	{path: "/fail"},
	{path: "/hang", limit: "30ms"},
	{path: "/mute", body: strings.Repeat("x", 300<<10), limit: "30ms"},
	{path: "/brood", good: true},
	{path: "/hang", leave: 20 * time.Millisecond},
	{path: "/mute", body: strings.Repeat("x", 100<<10), leave: 20 * time.Millisecond},
	{path: "/echo", body: "gone at once", leave: time.Millisecond},
	{path: "/big", good: true},
	{path: "/big", readOnly: 1000},
	{path: "/chatter", good: true},
	{path: "/escape", good: true},
}

// TestSoak makes many invocations, good and bad, from callers that stay and callers that leave, and counts what is left of them.
func TestSoak(t *testing.T) {
	for _, mode := range []ModeName{ForkMode, StreamingMode, SerializingMode} {
		t.Run(string(mode), func(t *testing.T) {
			defer killMarked(t, soakMarker)
			adoptOrphans(t)
			f := prepare(t, sh(soakScript), "mode="+string(mode), "DC_DIALECT=native", "healthcheck_interval=0")
			f.Watchdog.cfg.Reap = true
			f.start()
			f.soak(t, 4*len(soakCalls)) // what is made once is
			before := f.rest(t)
			begun := time.Now()
			f.soak(t, *soak/3)
			took := time.Since(begun)
			after := f.rest(t)
			t.Logf("%d invocations in %v: descriptors %d -> %d, goroutines %d -> %d, heap and stacks %d KiB -> %d KiB", *soak/3,
				took.Round(time.Millisecond), before.descriptors, after.descriptors, before.goroutines, after.goroutines, before.bytes>>10, after.bytes>>10)
			if after.descriptors > before.descriptors || after.goroutines > before.goroutines {
				t.Errorf("%+v, before %+v", after, before)
			}
			if after.bytes > before.bytes+8<<20 {
				t.Errorf("%d KiB in use, before %d KiB", after.bytes>>10, before.bytes>>10)
			}
			if err := f.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// adoptOrphans makes this process what process 1 of a container is, until the test ends.
func adoptOrphans(t testing.TB) {
	const childSubreaper = 36 // PR_SET_CHILD_SUBREAPER
	set := func(on uintptr) {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, childSubreaper, on, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	set(1)
	t.Cleanup(func() { set(0) })
}

// soak makes n invocations, many at a time.
func (f *fixture) soak(t *testing.T, n int) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range 12 {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				call := soakCalls[i%len(soakCalls)]
				if err := f.soakOne(call); err != nil {
					t.Errorf("%s with %d bytes: %v", call.path, len(call.body), err)
				}
			}
		})
	}
	workers.Wait()
}

func (f *fixture) soakOne(call soakCall) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	if call.leave > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), call.leave)
	}
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", f.url+call.path, strings.NewReader(call.body))
	if err != nil {
		return err
	}
	if call.limit != "" {
		req.Header.Set("X-Timeout", call.limit)
	}
	res, err := client.Do(req)
	if err != nil {
		return call.verdict(err)
	}
	defer res.Body.Close()
	if call.readOnly > 0 {
		_, err = io.CopyN(io.Discard, res.Body, call.readOnly)
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	if err == nil && call.good && res.StatusCode != 200 {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return call.verdict(err)
}

// verdict lets callers leave and bad answers break off. One that overtakes its request may find the connection reset under it.
func (c soakCall) verdict(err error) error {
	reset := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	if c.good && !(reset && c.path == "/deaf") || errors.Is(err, context.DeadlineExceeded) && c.leave == 0 {
		return err
	}
	return nil
}

// resting is what a watchdog holds when it has nothing to do.
type resting struct {
	goroutines, descriptors int
	bytes                   uint64
}

// rest waits until nothing is left of the invocations: none in flight, no process, no zombie, and no connection. Goroutines and
// descriptors are those of the quietest moment.
func (f *fixture) rest(t *testing.T) resting {
	t.Helper()
	f.waitNothingInFlight()
	waitGone(t, soakMarker)
	for deadline := time.Now().Add(patience); countZombies(t) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d zombies", countZombies(t))
		}
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if busy, fresh, next, _ := f.conns.closeIdle(); busy+fresh == 0 && next == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("connections left")
		}
	}
	// What has done its last deed may not be gone yet: the least that was seen in a second.
	r := resting{goroutines: runtime.NumGoroutine(), descriptors: countDescriptors(t)}
	for range 100 {
		time.Sleep(10 * time.Millisecond)
		r.goroutines, r.descriptors = min(r.goroutines, runtime.NumGoroutine()), min(r.descriptors, countDescriptors(t))
	}
	for _, b := range []*logBuffer{f.log, f.stdout, f.stderr} { // the test's own
		b.mu.Lock()
		b.text = bytes.Buffer{}
		b.mu.Unlock()
	}
	runtime.GC()
	runtime.GC() // the pools give up what they hold at the second
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	r.bytes = mem.HeapInuse + mem.StackInuse
	return r
}
