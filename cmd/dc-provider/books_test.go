package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
	"github.com/dragonchain/dc-provider/pkg/handlers"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
	"github.com/dragonchain/dc-provider/pkg/invoke"
	"github.com/dragonchain/dc-provider/pkg/proxy"
	"github.com/dragonchain/dc-provider/test/freeport"
)

const (
	// booksTransfers and booksKills say, in the environment, how many transfers there are, and how many kills while they are made.
	booksTransfers, booksKills = "BOOKS_TRANSFERS", "BOOKS_KILLS"
	// booksHTTP, if it is not empty, has one Python serve all transfers (testdata/books.py) in place of one for each.
	booksHTTP = "BOOKS_HTTP"
	// booksProvider makes a process of this test the provider of the function that it describes.
	booksProvider = "BOOKS_PROVIDER"

	// bookAccounts is few enough that transfers meet on them, of which so many are made at once. bookSenders send at once.
	bookAccounts, booksAtOnce, bookSenders = 20, "4", 8
	// bookOpening is more than all transfers together can take.
	bookOpening = 100_000_000
)

var (
	bookKey = []byte("books, a key of 16 bytes or more")
	bookRef = function.Ref{Name: "balance", Namespace: "openfaas-fn"}
)

// TestBooks has money moved by asynchronous calls of examples/balance, many at once, while processes are killed at random: the
// provider's, and those of the contract. After each kill, when all is made that was accepted, every account holds what it would if
// each transfer had been made once: with a serial contract, and with one whose calls run beside each other and compare and set. The
// provider's parts are joined without a cluster; the contract's Python runs behind the watchdog, one for each transfer and started ahead, or
// one for all.
func TestBooks(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("the example needs python3")
	}
	watchdog := filepath.Join(t.TempDir(), "dc-watchdog")
	build := exec.Command("go", "build", "-o", watchdog, "../dc-watchdog")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the watchdog: %v\n%s", err, out)
	}
	transfers, kills := fromEnvironment(t, booksTransfers, 60), fromEnvironment(t, booksKills, 2)
	for name, order := range map[string]string{"serial": "serial", "compare-and-set": "parallel"} {
		t.Run(name, func(t *testing.T) {
			b := newBooks(t, order, watchdog, python)
			b.open(t)
			begun, accepted := time.Now(), 0
			for round := range kills + 1 { // in the first one nobody is killed
				some := transfers*(round+1)/(kills+1) - accepted
				b.round(t, some, round)
				accepted += some
			}
			took := time.Since(begun)
			t.Logf("%d transfers, %d kills, balanced %d times: %.1f s, %.1f transfers a second", accepted, kills, kills+1, took.Seconds(), float64(accepted)/took.Seconds())
		})
	}
}

func fromEnvironment(t *testing.T, variable string, fallback int) int {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		return fallback
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: give a number from 1 up", variable, v)
	}
	return n
}

// bookSpec is the contract as examples/stack.yml has it, but that it is tried again sooner and more often, for it is killed often.
func bookSpec(order string) function.Spec {
	return function.Spec{
		Ref: bookRef, Image: "example",
		Labels: map[string]string{"com.openfaas.max_inflight": booksAtOnce},
		Annotations: map[string]string{
			"com.dragonchain.mode": "fork", "com.dragonchain.heap": "true", "com.dragonchain.execution-order": order,
			"com.openfaas.retry.codes": "408,409,429,500,502,503,504", "com.openfaas.retry.attempts": "1000",
			"com.openfaas.retry.min_wait": "50ms", "com.openfaas.retry.max_wait": "1s",
		},
	}
}

// setup is what the process of the provider is told.
type setup struct {
	Order, Store, Watchdog string
	HeapPort               int
}

// books are a balance sheet that is kept by real processes, and what should be on it.
type books struct {
	setup setup
	// watchdog is the process that serves now: one that has ended, as it does when its function's has, is followed by another.
	watchdog atomic.Pointer[os.Process]
	random   *rand.Rand
	client   *http.Client

	provider *exec.Cmd
	// at is where the provider answers clients.
	at atomic.Pointer[string]

	want map[string]int
	// sent counts transfers, of which each is a call with an id of its own.
	sent int
	// lately is how long the last round took.
	lately time.Duration
}

func newBooks(t *testing.T, order, watchdog, python string) *books {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	script, err := filepath.Abs("../../examples/balance/balance.py")
	if err != nil {
		t.Fatal(err)
	}
	port, heapPort := freeport.Reserve(t), freeport.Reserve(t)
	b := &books{
		setup:  setup{Order: order, Store: filepath.Join(t.TempDir(), "heap.db"), Watchdog: fmt.Sprintf("127.0.0.1:%d", port), HeapPort: heapPort},
		random: rand.New(rand.NewPCG(seed, 0)), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: bookSenders}, Timeout: 30 * time.Second},
		want: map[string]int{},
	}
	t.Cleanup(b.client.CloseIdleConnections)
	environ := []string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), fmt.Sprint("port=", port), fmt.Sprint("DC_HEAP_PORT=", heapPort),
		"exec_timeout=20s", "DC_READY_TOKEN=" + readypush.DeriveToken(bookKey, bookRef.String(), bookRef.Name).Hex(),
	}
	if os.Getenv(booksHTTP) == "" {
		environ = append(environ, "fprocess="+python+" -B -I -S "+script, "DC_PREFORK=1")
	} else {
		server, err := filepath.Abs("testdata/books.py")
		if err != nil {
			t.Fatal(err)
		}
		upstream := freeport.Reserve(t)
		environ = append(environ, "mode=http", fmt.Sprintf("upstream_url=http://127.0.0.1:%d", upstream),
			fmt.Sprintf("fprocess=%s -B -I -S %s %s %d", python, server, filepath.Dir(script), upstream))
	}
	b.runWatchdog(t, watchdog, environ)
	b.start(t)
	t.Cleanup(func() { b.kill(t) })
	return b
}

// runWatchdog has a watchdog run until the test ends, as a pod's container does.
func (b *books) runWatchdog(t *testing.T, program string, environ []string) {
	t.Helper()
	log, ctx, started := &tail{}, t.Context(), make(chan error)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for first := true; ctx.Err() == nil; first = false {
			watchdog := exec.CommandContext(ctx, program)
			watchdog.Env, watchdog.Stderr, watchdog.Stdout = environ, log, log
			watchdog.Cancel = func() error {
				// What the watchdog has started goes first: nobody else would end it.
				for _, pid := range b.contractProcesses(t) {
					_ = syscall.Kill(pid, syscall.SIGKILL) // unless it has ended
				}
				return watchdog.Process.Kill()
			}
			err := watchdog.Start()
			b.watchdog.Store(watchdog.Process)
			if first {
				started <- err
			}
			if err == nil {
				_ = watchdog.Wait() // why it has ended is in its log
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		<-ended
		if t.Failed() {
			t.Logf("the watchdog's last words:\n%s", log)
		}
	})
}

// tail is the end of what a process writes.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	l.text = l.text[max(0, len(l.text)-4096):]
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// start starts the provider and returns when it answers.
func (b *books) start(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(b.setup)
	if err != nil {
		t.Fatal(err)
	}
	b.provider = exec.Command(os.Args[0], "-test.run=^TestBooksProvider$", "-test.timeout=0")
	b.provider.Env = append(os.Environ(), booksProvider+"="+string(text))
	b.provider.Stderr = os.Stderr
	out, err := b.provider.StdoutPipe()
	if err == nil {
		err = b.provider.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if at, found := strings.CutPrefix(lines.Text(), "serving "); found {
			b.at.Store(&at)
			return
		}
	}
	t.Fatalf("the provider does not serve: %v", lines.Err())
}

// kill ends the provider without a word.
func (b *books) kill(t *testing.T) {
	t.Helper()
	if err := b.provider.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = b.provider.Wait() // it was killed
}

// killContract ends the processes of the contract that are there: those that make a transfer, and the one that waits for the next.
func (b *books) killContract(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		killed := 0
		for _, pid := range b.contractProcesses(t) {
			switch err := syscall.Kill(pid, syscall.SIGKILL); err {
			case nil:
				killed++
			case syscall.ESRCH: // it has ended by itself
			default:
				t.Fatalf("kill process %d: %v", pid, err)
			}
		}
		switch {
		case killed > 0:
			return
		case time.Now().After(deadline):
			t.Fatal("the contract has had no process for a minute")
		}
		<-time.After(time.Millisecond)
	}
}

func (b *books) contractProcesses(t *testing.T) (pids []int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", b.watchdog.Load().Pid))
	if err != nil {
		t.Error(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func accountName(n int) string { return fmt.Sprintf("a%d", n) }

func bookTransaction(t *testing.T, id string, payload map[string]any) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"version": "2", "header": map[string]string{"txn_id": id}, "payload": payload})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// open opens the accounts.
func (b *books) open(t *testing.T) {
	t.Helper()
	for n := range bookAccounts {
		b.want[accountName(n)] = bookOpening
		id := fmt.Sprint("open-", n)
		b.send(t, id, bookTransaction(t, id, map[string]any{"method": "deposit", "to": accountName(n), "amount": bookOpening}))
	}
	b.await(t)
}

// round has some transfers made, and a process killed meanwhile unless it is round 0.
func (b *books) round(t *testing.T, transfers, round int) {
	t.Helper()
	begun := time.Now()
	bodies := map[string]string{}
	for range transfers {
		from := b.random.IntN(bookAccounts)
		to := (from + 1 + b.random.IntN(bookAccounts-1)) % bookAccounts
		amount := 1 + b.random.IntN(500)
		b.want[accountName(from)] -= amount
		b.want[accountName(to)] += amount
		b.sent++
		id := fmt.Sprint("transfer-", b.sent)
		bodies[id] = bookTransaction(t, id, map[string]any{"method": "transfer", "from": accountName(from), "to": accountName(to), "amount": amount})
	}
	work := make(chan [2]string)
	var sending sync.WaitGroup
	for range bookSenders {
		sending.Go(func() {
			for call := range work {
				b.send(t, call[0], call[1])
			}
		})
	}
	var feeding sync.WaitGroup
	feeding.Go(func() {
		defer close(work)
		for id, body := range bodies {
			work <- [2]string{id, body}
		}
	})
	if round > 0 {
		<-time.After(time.Duration(b.random.Int64N(int64(b.lately) + 1))) // the moment is what is random
		if round%2 == 1 {
			b.kill(t)
			b.start(t)
		} else {
			b.killContract(t)
		}
	}
	feeding.Wait()
	sending.Wait()
	b.await(t)
	b.lately = time.Since(begun)
}

// send sends a call until it is accepted: always the same one.
func (b *books) send(t *testing.T, id, body string) {
	for deadline := time.Now().Add(2 * time.Minute); ; {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, *b.at.Load()+"/async-function/"+bookRef.Name, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("X-Call-Id", id)
		answer, err := b.client.Do(r)
		if err == nil {
			_ = answer.Body.Close() // what it says does not matter
			if answer.StatusCode == http.StatusAccepted {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Errorf("%s is not accepted: %v, %v", id, answer, err)
			return
		}
		<-time.After(10 * time.Millisecond)
	}
}

// get asks the provider, which may be starting, and reports what is at a path of its API.
func (b *books) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, *b.at.Load()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("admin", "admin")
	answer, err := b.client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(text)
}

// await waits until nothing is queued any more: then the accounts must hold what they should, and no transfer be given up.
func (b *books) await(t *testing.T) {
	t.Helper()
	left := ""
	for deadline := time.Now().Add(10 * time.Minute); ; {
		if _, left = b.get(t, "/left"); left == "0" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("queued still: %s", left)
		}
		<-time.After(20 * time.Millisecond)
	}
	if status, letters := b.get(t, "/system/dead-letters/"+bookRef.Name); status != http.StatusOK || letters != `{"deadLetters":[]}` {
		t.Fatalf("dead letters: %d %s", status, letters)
	}
	for name, want := range b.want {
		if status, held := b.get(t, "/heap/"+bookRef.Name+"/account-"+name); status != http.StatusOK || held != fmt.Sprint(want) {
			t.Errorf("account %s: %d %s, want %d", name, status, held, want)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// TestBooksProvider is the provider of TestBooks, in a process of its own, until it is killed.
func TestBooksProvider(t *testing.T) {
	text := os.Getenv(booksProvider)
	if text == "" {
		t.Skip("a process of TestBooks")
	}
	var s setup
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	t.Fatal(s.serve(t.Context())) // which never ends by itself
}

// serve joins the parts as build does, but those that need a cluster.
func (s setup) serve(ctx context.Context) error {
	store, err := bolt.Open(s.Store, bolt.Options{})
	if err != nil {
		return err
	}
	f, err := function.New(bookSpec(s.Order))
	if err != nil {
		return err
	}
	f.ID, f.Replicas = bookRef.Name, 1
	if err := store.Create(ctx, f.Heap()); err != nil {
		return err
	}
	listeners := [2]net.Listener{}
	for i := range listeners {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	provider := netip.MustParseAddrPort(listeners[1].Addr().String())
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	one := only{f: f}
	var contracts *invoke.Invoker
	data, err := proxy.New(proxy.Config{
		Lookup: one.Lookup,
		Endpoints: func(function.Ref) []function.Endpoint {
			return []function.Endpoint{{Address: s.Watchdog, Replica: "one"}}
		},
		Contract: func(w http.ResponseWriter, r *http.Request, f *function.Function, idGiven bool) {
			contracts.ServeContract(w, r, f, idGiven)
		},
		Async: func(w http.ResponseWriter, r *http.Request, f *function.Function, name string) {
			contracts.ServeAsync(w, r, f, name)
		},
		Error: handlers.ErrorWriter(log), Status: handlers.Status, Log: log,
	})
	if err != nil {
		return err
	}
	if contracts, err = invoke.New(invoke.Config{
		Store: store, Queue: store, Call: data.RoundTrip, Error: handlers.ErrorWriter(log), Status: handlers.Status, Lookup: one.Lookup, Log: log,
		HeapURL: func(f *function.Function, id string) string {
			return fmt.Sprintf("http://127.0.0.1:%d/%s", s.HeapPort, readypush.DeriveToken(bookKey, f.Ref.String(), f.ID).SealHeapCall(id, provider))
		},
	}); err != nil {
		return err
	}
	heap, err := handlers.NewContractHeap(bookKey, contracts.View)
	if err != nil {
		return err
	}
	api, err := handlers.New(handlers.Config{
		Functions: one, Secrets: struct{ handlers.Secrets }{}, Namespaces: one, Logs: struct{ noLogs }{}, Heaps: store, DeadLetters: store,
		Invoke: data, Async: http.HandlerFunc(data.ServeAsync), ContractHeap: heap, Credentials: func() (string, string) { return "admin", "admin" }, Log: log,
	})
	if err != nil {
		return err
	}
	gateway := api.Gateway()
	failed := make(chan error, 3)
	go func() { failed <- contracts.Run(ctx, ctx) }()
	go func() { failed <- http.Serve(listeners[1], api.Provider()) }()
	go func() {
		failed <- http.Serve(listeners[0], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/left" {
				gateway.ServeHTTP(w, r)
				return
			}
			depths, err := store.Depths(r.Context())
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			fmt.Fprint(w, depths[f.Heap()].Waiting)
		}))
	}()
	fmt.Printf("serving http://%s\n", listeners[0].Addr())
	return <-failed
}

// only is a cluster of one function, of which nothing else is asked.
type only struct {
	f *function.Function
	handlers.Functions
	noNamespaces
}

type (
	noNamespaces = handlers.Namespaces
	noLogs       = handlers.Logs
)

func (o only) Lookup(ref function.Ref) (*function.Function, bool) { return o.f, ref == bookRef }
func (o only) Managed(name string) bool                           { return name == bookRef.Namespace }
