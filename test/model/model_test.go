package model

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/heapstore/postgres/postgrestest"
)

var (
	boltRounds     = flag.Int("bolt", 5, "how many providers are killed that have a bbolt file; see the Makefile's test-soak")
	postgresRounds = flag.Int("postgres", 2, "how many that have a database")
)

// provider is the real program, compiled.
var provider string

func TestMain(m *testing.M) {
	if os.Getenv(contractsVariable) != "" {
		fmt.Fprintln(os.Stderr, "contracts:", runContracts())
		os.Exit(1)
	}
	if provider = os.Getenv(networkVariable); provider == "" {
		os.Exit(run(m))
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "a network of our own: %v: %s\n", err, out)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// networkVariable is set, to the provider's program, in the process that has a network of its own.
const networkVariable = "MODEL_NETWORK"

// run compiles the provider, and runs the tests in a network where nobody else has taken the ports that pods have, as far as one may
// make one.
func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "model")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	provider = filepath.Join(folder, "dc-provider")
	// As `make build` compiles it, so that each has the other's packages from the cache.
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", provider, "./cmd/dc-provider")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the provider: %v: %s\n", err, out)
		return 1
	}
	if os.Getuid() != 0 {
		return m.Run()
	}
	inside := exec.Command(os.Args[0], os.Args[1:]...)
	inside.Env = append(os.Environ(), networkVariable+"="+provider)
	inside.Stdin, inside.Stdout, inside.Stderr = os.Stdin, os.Stdout, os.Stderr
	runtime.LockOSThread() // its end would be taken for ours
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err = inside.Run()
	if inside.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "a network of our own:", err)
		return 1
	}
	return inside.ProcessState.ExitCode()
}

func TestModel_Bolt(t *testing.T) {
	t.Parallel()
	testModel(t, "", 1, 4, *boltRounds)
}

func TestModel_Postgres(t *testing.T) { testPostgres(t, 1) }

// TestModel_TwoProviders has one of two providers killed while both are called.
func TestModel_TwoProviders(t *testing.T) { testPostgres(t, 2) }

func testPostgres(t *testing.T, providers int) {
	t.Parallel()
	server, err := postgrestest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	// What a dead provider had begun stays its own for the time of a lease. With so many contracts each rests meanwhile.
	testModel(t, "postgres://postgres@/postgres?host="+filepath.Dir(server.Socket()), providers, 16, *postgresRounds)
}

const clients = 8

func testModel(t *testing.T, store string, providers, pairs, rounds int) {
	var contracts []string
	for n := range pairs {
		contracts = append(contracts, fmt.Sprint("s", n), fmt.Sprint("p", n))
	}
	w, h := newWorld(t, store, providers, contracts), newHistory(t)
	defer w.showLog()
	running := map[string]func(){}
	w.provideAll(running)
	w.awaitHeaps()
	for round := range rounds {
		w.round(h, running, contracts[round%pairs*2], contracts[round%pairs*2+1])
	}
	w.provideAll(running)
	defer func() {
		for _, kill := range running {
			kill()
		}
	}()
	w.settle(h)
	final := w.heaps()
	w.check(h, final)
	synced, queued, open := 0, 0, 0
	for _, c := range h.calls {
		switch {
		case c.done == 0:
			open++
		case c.async:
			queued++
		default:
			synced++
		}
	}
	t.Logf("%d providers killed in %v: %d calls answered, %d accepted, %d not known to their callers, %d repeats, %d reads, %d transactions; other statuses: %v",
		rounds, h.now().Round(time.Second), synced, queued, open, h.repeats, len(h.reads), len(w.chain.got), h.refused)
	// A provider that has just started knows all functions, or has its callers wait.
	if h.refused[http.StatusNotFound] > 0 {
		t.Errorf("%d calls were told that there is no such function", h.refused[http.StatusNotFound])
	}
	if rounds > 0 && (synced < rounds || queued < rounds/2) {
		t.Errorf("%d calls answered and %d accepted in %d rounds: too few to tell anything", synced, queued, rounds)
	}
}

// provideAll starts the providers that are not running.
func (w *world) provideAll(running map[string]func()) {
	for _, host := range w.hosts {
		if running[host] == nil {
			running[host] = w.provide(host)
			w.t.Cleanup(running[host])
		}
	}
}

// round has clients call two contracts, and kills a provider at a random moment. If there is another it goes on.
func (w *world) round(h *history, running map[string]func(), serial, parallel string) {
	ctx, end := context.WithCancel(w.t.Context())
	defer end()
	w.provideAll(running)
	victim := w.hosts[rand.IntN(len(w.hosts))]
	var all sync.WaitGroup
	for range clients {
		all.Go(func() { w.behave(ctx, h, serial, parallel) })
	}
	life := time.Duration(rand.IntN(300)) * time.Millisecond
	if rand.IntN(5) > 0 {
		starting, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := w.awaitProvider(starting, victim); err != nil {
			w.t.Fatal(err)
		}
		life += 50 * time.Millisecond
		life += time.Duration(rand.IntN(500)) * time.Millisecond
	}
	pause(ctx, life)
	running[victim]()
	delete(running, victim)
	if len(w.hosts) > 1 {
		pause(ctx, 200*time.Millisecond) // of those who asked the dead one, and ask the other
	}
	end()
	all.Wait()
}
