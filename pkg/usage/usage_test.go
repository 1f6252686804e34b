package usage_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
	"github.com/dragonchain/dc-provider/pkg/usage"
	"github.com/dragonchain/dc-provider/pkg/watchdog"
	"github.com/dragonchain/dc-provider/test/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

const patience = 20 * time.Second

var (
	key = []byte("key of the provider")
	ref = function.Ref{Name: "hello", Namespace: "fn"}
)

func newFunction(t testing.TB, id string) *function.Function {
	t.Helper()
	f, err := function.New(function.Spec{Ref: ref, Image: "hello", Process: "cat"})
	if err != nil {
		t.Fatal(err)
	}
	f.ID = id
	return f
}

// replica answers as a watchdog whose container uses u.
func replica(t testing.TB, u readypush.Usage, asked *atomic.Int32) function.Endpoint {
	return endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		ip := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr).AddrPort().Addr()
		sealed, err := readypush.DeriveToken(key, ref.String(), "1").SealUsage(r.Header.Get(readypush.ChallengeHeader), ip, u)
		if err != nil || r.URL.Path != readypush.UsagePath {
			t.Errorf("asked %s: %v", r.URL, err)
		}
		if _, err := w.Write(sealed); err != nil {
			t.Error(err)
		}
	})
}

func endpoint(t testing.TB, serve http.HandlerFunc) function.Endpoint {
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	return function.Endpoint{Address: strings.TrimPrefix(server.URL, "http://"), Replica: "hello-" + server.URL}
}

func newPuller(t testing.TB, cfg usage.Config, endpoints ...function.Endpoint) *usage.Puller {
	t.Helper()
	cfg.Key, cfg.Timeout = key, cmp.Or(cfg.Timeout, patience)
	cfg.Endpoints = func(got function.Ref) []function.Endpoint {
		if got != ref {
			t.Errorf("endpoints of %v", got)
		}
		return endpoints
	}
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, err := usage.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// is checks what is known; -1 stands for what is not.
func is(t *testing.T, p *usage.Puller, f *function.Function, replicas int, milliCPU float64, memoryBytes int64) {
	t.Helper()
	u, known := p.Usage(t.Context(), f)
	gotCPU, gotMemory := -1.0, int64(-1)
	if u.MilliCPU != nil {
		gotCPU = *u.MilliCPU
	}
	if u.MemoryBytes != nil {
		gotMemory = *u.MemoryBytes
	}
	if known != (replicas > 0) || u.Replicas != replicas || gotCPU != milliCPU || gotMemory != memoryBytes {
		t.Errorf("known %v of %d replicas: %v mCPU, %d bytes, want %d: %v and %d", known, u.Replicas, gotCPU, gotMemory, replicas, milliCPU, memoryBytes)
	}
}

func of(milliCPU float64, memoryBytes int64) readypush.Usage {
	return readypush.Usage{MilliCPU: &milliCPU, MemoryBytes: &memoryBytes, InFlight: 1, Served: 10}
}

func TestUsage_SumOverReplicas(t *testing.T) {
	var asked atomic.Int32
	memory := int64(5)
	p := newPuller(t, usage.Config{Life: time.Hour},
		replica(t, of(100, 1000), &asked), replica(t, of(20.5, 200), &asked), replica(t, readypush.Usage{MemoryBytes: &memory}, &asked))
	f := newFunction(t, "1")
	for range 3 {
		is(t, p, f, 3, 120.5, 1205)
	}
	if u, _ := p.Usage(t.Context(), f); u.InFlight != 2 || u.Served != 20 {
		t.Errorf("%d in flight, %d served", u.InFlight, u.Served)
	}
	if asked.Load() != 3 {
		t.Errorf("%d questions to three replicas within one life", asked.Load())
	}
}

func TestUsage_AskedAgainAfterItsLife(t *testing.T) {
	var asked atomic.Int32
	p := newPuller(t, usage.Config{Life: time.Nanosecond}, replica(t, of(1, 1), &asked))
	for range 3 {
		is(t, p, newFunction(t, "1"), 1, 1, 1)
	}
	if asked.Load() != 3 {
		t.Errorf("%d questions", asked.Load())
	}
}

func TestUsage_Unknown(t *testing.T) {
	var asked atomic.Int32
	plain, err := function.New(function.Spec{Ref: ref, Image: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	is(t, newPuller(t, usage.Config{}, replica(t, of(1, 1), &asked)), plain, 0, -1, -1)
	is(t, newPuller(t, usage.Config{}), newFunction(t, "1"), 0, -1, -1)
	if asked.Load() != 0 {
		t.Error("a replica without a watchdog was asked")
	}
	// A function of another record has another token: this replica is of the one before.
	is(t, newPuller(t, usage.Config{}, replica(t, of(1, 1), &asked)), newFunction(t, "2"), 0, -1, -1)
}

// A replica that cannot be asked, or lies, is left out, and holds up nobody for longer than the timeout.
func TestUsage_WithoutTheReplicasThatDoNotTell(t *testing.T) {
	var asked atomic.Int32
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	gone := endpoint(t, nil)
	for name, broken := range map[string]function.Endpoint{
		"of an older watchdog": endpoint(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "cat") }),
		"status":               endpoint(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) }),
		"redirect": endpoint(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+gone.Address, http.StatusTemporaryRedirect)
		}),
		"endless": endpoint(t, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}),
		"silent": endpoint(t, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		}),
		"plain": endpoint(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"milliCPU":1,"memoryBytes":1}`) }),
		"replayed": endpoint(t, func(w http.ResponseWriter, r *http.Request) {
			sealed, err := readypush.DeriveToken(key, ref.String(), "1").SealUsage(readypush.NewChallenge(), netip.MustParseAddr("127.0.0.1"), of(1, 1))
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write(sealed) // the asker has left if he has
		}),
		"nowhere":    {Address: "127.0.0.1:1", Replica: "hello-gone"},
		"no address": {Address: "somewhere", Replica: "hello-odd"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPuller(t, usage.Config{Timeout: 3 * time.Second}, broken, replica(t, of(7, 70), &asked))
			began := time.Now()
			is(t, p, newFunction(t, "1"), 1, 7, 70)
			if took := time.Since(began); took > patience {
				t.Errorf("took %v", took)
			}
		})
	}
}

// However many ask, one look is under way, and it goes on when the one who began it leaves.
func TestUsage_OneLookForAll(t *testing.T) {
	var asked atomic.Int32
	arrived, goOn := make(chan struct{}, 100), make(chan struct{})
	u := of(3, 30)
	slow := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		arrived <- struct{}{}
		<-goOn
		sealed, err := readypush.DeriveToken(key, ref.String(), "1").SealUsage(r.Header.Get(readypush.ChallengeHeader), netip.MustParseAddr("127.0.0.1"), u)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(sealed)
	})
	p := newPuller(t, usage.Config{Life: time.Hour, Timeout: patience}, slow)
	f := newFunction(t, "1")
	first, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { p.Usage(first, f) })
	<-arrived
	impatient, end := context.WithCancel(t.Context())
	end()
	if _, known := p.Usage(impatient, f); known {
		t.Error("known to one who has left")
	}
	for range 50 {
		all.Go(func() { is(t, p, f, 1, 3, 30) })
	}
	leave()
	close(goOn)
	all.Wait()
	if asked.Load() != 1 {
		t.Errorf("%d questions", asked.Load())
	}
}

// TestUsage_AtOnce asks many replicas and counts how many are asked at a time.
func TestUsage_AtOnce(t *testing.T) {
	var asked, now, most atomic.Int32
	token := readypush.DeriveToken(key, ref.String(), "1")
	var endpoints []function.Endpoint
	for range 20 {
		endpoints = append(endpoints, endpoint(t, func(w http.ResponseWriter, r *http.Request) {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			sealed, err := token.SealUsage(r.Header.Get(readypush.ChallengeHeader), netip.MustParseAddr("127.0.0.1"), of(1, 1))
			if err != nil {
				t.Error(err)
			}
			asked.Add(1)
			now.Add(-1) // before the answer: the asker may go on as soon as he has it
			_, _ = w.Write(sealed)
		}))
	}
	is(t, newPuller(t, usage.Config{AtOnce: 3, Timeout: patience}, endpoints...), newFunction(t, "1"), 20, 20, 20)
	if most.Load() > 3 || asked.Load() != 20 {
		t.Errorf("%d at once, %d in all", most.Load(), asked.Load())
	}
}

func TestNew_Refuses(t *testing.T) {
	endpoints := func(function.Ref) []function.Endpoint { return nil }
	for name, cfg := range map[string]usage.Config{
		"no key":       {Endpoints: endpoints},
		"no endpoints": {Key: key},
		"timeout":      {Key: key, Endpoints: endpoints, Timeout: -1},
		"life":         {Key: key, Endpoints: endpoints, Life: -1},
		"at once":      {Key: key, Endpoints: endpoints, AtOnce: -1},
	} {
		if _, err := usage.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestUsage_OfAWatchdog asks a real one.
func TestUsage_OfAWatchdog(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sink := watchdog.NewSink(t.Output())
	defer sink.Close()
	w, err := watchdog.New(watchdog.Config{
		Mode: watchdog.ForkMode, Command: []string{"cat"}, Environ: []string{"PATH=/usr/bin:/bin"},
		Push: watchdog.PushConfig{Token: readypush.DeriveToken(key, ref.String(), "1")},
		Cgroup: watchdog.OpenCgroup(fstest.MapFS{
			"memory/memory.usage_in_bytes": {Data: []byte("5000\n")}, "memory/memory.stat": {Data: []byte("total_inactive_file 1000\n")},
			"cpuacct/cpuacct.usage": {Data: []byte("7\n")},
		}, nil),
	}, slog.New(slog.DiscardHandler), sink, sink)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Serve(ctx, ln) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	// What it is told stands still: no processor time is used.
	is(t, newPuller(t, usage.Config{Timeout: patience}, function.Endpoint{Address: ln.Addr().String()}), newFunction(t, "1"), 1, 0, 4000)
}
