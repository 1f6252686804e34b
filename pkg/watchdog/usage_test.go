package watchdog

import (
	"context"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

// load is a count of processor time that goes on at a rate.
type load struct {
	mu      sync.Mutex
	since   time.Time
	used    time.Duration
	percent int
	unknown bool
	looks   int
}

func (l *load) count() (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looks++
	l.advanceLocked()
	return l.used, !l.unknown
}

func (l *load) advanceLocked() {
	l.used += time.Since(l.since) * time.Duration(l.percent) / 100
	l.since = time.Now()
}

func (l *load) set(change func(*load)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advanceLocked()
	change(l)
}

func TestCPUMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &load{since: time.Now(), used: time.Hour, percent: 150}
		m := newCPUMeter(l.count)
		is := func(what string, want float64, took time.Duration) {
			t.Helper()
			began := time.Now()
			got, known := m.milliCPU(t.Context())
			if !known {
				got = -1
			}
			if math.Abs(got-want) > 0.01 || time.Since(began) != took {
				t.Errorf("%s: %v after %v, want %v after %v", what, got, time.Since(began), want, took)
			}
		}
		is("the first time", 1500, usageLook)
		l.set(func(l *load) { l.percent = 50 })
		is("again at once", 1500, 0)
		time.Sleep(5 * time.Second)
		is("since the last time", 500, 0)
		time.Sleep(time.Hour)
		l.set(func(l *load) { l.percent = 10 })
		is("after long", 100, usageLook)
		time.Sleep(2 * time.Second)
		l.set(func(l *load) { l.used = 0 })
		is("in a group that was made anew", -1, 0)
		time.Sleep(2 * time.Second)
		is("which goes on", 100, 0)
		time.Sleep(2 * time.Second)
		l.set(func(l *load) { l.unknown = true })
		is("without a count", -1, 0)
		l.set(func(l *load) { l.unknown = false })
		is("with one again", 100, usageLook)

		l.set(func(l *load) { l.looks = 0 })
		time.Sleep(time.Minute)
		if l.looks != 0 {
			t.Errorf("%d looks while nobody asked", l.looks)
		}
		var many sync.WaitGroup
		for range 100 {
			many.Go(func() { is("many at once", 100, usageLook) })
		}
		many.Wait()
		if l.looks != 2 {
			t.Errorf("%d looks for a hundred that ask at once", l.looks)
		}

		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), usageLook/2)
		defer cancel()
		if _, known := m.milliCPU(ctx); known {
			t.Error("a rate was told to one who had left")
		}
		is("who has left half-way holds nobody up", 100, usageLook/2)
	})
}

// ask asks a watchdog for its usage as the provider does.
func (f *fixture) ask() (readypush.Usage, error) {
	f.t.Helper()
	challenge := readypush.NewChallenge()
	a := f.do("GET", readypush.UsagePath, "", readypush.ChallengeHeader+": "+challenge)
	if a.status != 200 || a.header.Get("Content-Type") != "application/octet-stream" {
		f.t.Fatalf("usage: %+v", a)
	}
	return pushToken.OpenUsage(challenge, netip.MustParseAddr("127.0.0.1"), []byte(a.body))
}

func TestUsage(t *testing.T) {
	for _, r := range []struct {
		name   string
		cgroup Cgroup
		memory int64
	}{
		{"known", OpenCgroup(files(t, "v2", nil, nil), nil), v2WorkingSet},
		{"unknown", OpenCgroup(fstest.MapFS{}, nil), -1},
	} {
		t.Run(r.name, func(t *testing.T) {
			checkLeaks(t)
			f := prepare(t, "DC_READY_TOKEN="+pushToken.Hex(), "fprocess=cat")
			f.cfg.Cgroup = r.cgroup
			f.cpu = newCPUMeter(r.cgroup.cpuTime)
			f.start()
			if u, err := f.ask(); err != nil || u.Served != 0 || u.InFlight != 0 {
				t.Errorf("before any invocation: %+v, %v", u, err)
			}
			for range 3 {
				f.do("POST", "/", "moo")
			}
			u, err := f.ask()
			if err != nil || u.Served != 3 || u.InFlight != 0 {
				t.Errorf("after three invocations: %+v, %v", u, err)
			}
			if known := r.memory >= 0; (u.MemoryBytes != nil) != known || known && *u.MemoryBytes != r.memory {
				t.Errorf("memory %v, want %d", u.MemoryBytes, r.memory)
			}
			// What is recorded stands still.
			if known := r.memory >= 0; (u.MilliCPU != nil) != known || known && *u.MilliCPU != 0 {
				t.Errorf("processor %v", u.MilliCPU)
			}
		})
	}
}

func TestUsage_InFlight(t *testing.T) {
	f := serve(t, "DC_READY_TOKEN="+pushToken.Hex(), sh("sleep 1000"))
	ctx, leave := context.WithCancel(context.Background())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		f.doCtx(ctx, "POST", "/", nil) // it has no answer
	}()
	wait := func(what string, is func(readypush.Usage) bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; {
			u, err := f.ask()
			if err != nil {
				t.Fatal(err)
			}
			if is(u) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, u)
			}
		}
	}
	wait("in flight", func(u readypush.Usage) bool { return u.InFlight == 1 && u.Served == 0 })
	leave()
	<-gone
	wait("left", func(u readypush.Usage) bool { return u.InFlight == 0 && u.Served == 1 })
}

// Whoever may call the function may ask, and learns nothing. Nothing of it reaches the function.
func TestUsage_ForTheProviderAlone(t *testing.T) {
	f := serve(t, "DC_READY_TOKEN="+pushToken.Hex(), sh("echo the function has it"))
	challenge := readypush.NewChallenge()
	for _, r := range []struct {
		name, method, header string
		status               int
	}{
		{"no challenge", "GET", "X-A: b", 401},
		{"a challenge of another form", "GET", readypush.ChallengeHeader + ": proof", 400},
		{"another method", "POST", readypush.ChallengeHeader + ": " + challenge, 405},
		{"a challenge", "GET", readypush.ChallengeHeader + ": " + challenge, 200},
	} {
		a := f.do(r.method, readypush.UsagePath, "", r.header)
		if a.status != r.status || strings.Contains(a.body, "the function") || strings.Contains(a.body, "served") || strings.Contains(a.body, "{") && r.status != 200 {
			t.Errorf("%s: %+v", r.name, a)
		}
		if a.header.Get(readypush.ProofHeader) != "" {
			t.Errorf("%s: a proof of readiness came with it", r.name)
		}
	}
	if u, err := f.ask(); err != nil || u.Served != 0 {
		t.Errorf("%+v, %v: asking counts as an invocation", u, err)
	}
}

func TestUsage_WithoutAProvider(t *testing.T) {
	f := serve(t, "fprocess=cat")
	if a := f.do("GET", readypush.UsagePath, "", readypush.ChallengeHeader+": "+readypush.NewChallenge()); a.status != 404 {
		t.Errorf("%+v", a)
	}
}
