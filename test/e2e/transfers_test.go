package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// transfersVariable and killsVariable say how many transfers of each kind there are, and how many processes are killed meanwhile.
	transfersVariable, killsVariable = "E2E_TRANSFERS", "E2E_KILLS"
	// transferAccounts is few enough that transfers meet on them, of which so many are made at once.
	transferAccounts = 20
	transfersAtOnce  = "4"
	// transferSenders is how many send at once.
	transferSenders = 8
)

// TestKill_Transfers has money moved by asynchronous calls of the balance sheet, many at once, while processes are killed at random:
// the provider's and the contract's. At the end each account holds what it would if every transfer had been made once, with a serial
// contract and with one whose calls run beside each other and compare and set. It runs alone: nobody is served meanwhile.
func TestKill_Transfers(t *testing.T) {
	transfers, kills := fromEnvironment(t, transfersVariable, 80), fromEnvironment(t, killsVariable, 2)
	serial := annotate(balanceSheet(), "com.dragonchain.execution-order", "serial")
	for name, d := range map[string]deployment{"serial": serial, "compare-and-set": balanceSheet()} {
		t.Run(name, func(t *testing.T) {
			// What a kill interrupts is soon tried again, however often it is hit.
			d = annotate(annotate(d, "com.openfaas.retry.min_wait", "1s"), "com.openfaas.retry.max_wait", "5s")
			d = annotate(d, "com.openfaas.retry.attempts", "100")
			d = label(label(d, labelMaxInFlight, transfersAtOnce), labelMax, "1")
			newBank(t, deploy(t, d)).run(t, transfers, kills)
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

// bank is a balance sheet, and what should be on it.
type bank struct {
	f function
	// bodies are the transactions, in the order in which they are sent.
	bodies []string
	want   map[string]int
	// sent is how many were accepted.
	sent   atomic.Int64
	random *rand.Rand
}

func account(n int) string { return fmt.Sprintf("a%d", n) }

// newBank opens the accounts, with more than can ever be taken.
func newBank(t *testing.T, f function) *bank {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	b := &bank{f: f, want: map[string]int{}, random: rand.New(rand.NewPCG(seed, 0))}
	for n := range transferAccounts {
		b.want[account(n)] = 10_000_000
		f.call(t, transaction(t, map[string]any{"method": "deposit", "to": account(n), "amount": b.want[account(n)]})).is(t, "deposit", http.StatusOK)
	}
	return b
}

func (b *bank) run(t *testing.T, transfers, kills int) {
	for range transfers {
		from := b.random.IntN(transferAccounts)
		to := (from + 1 + b.random.IntN(transferAccounts-1)) % transferAccounts
		amount := 1 + b.random.IntN(500)
		b.want[account(from)] -= amount
		b.want[account(to)] += amount
		b.bodies = append(b.bodies, transaction(t, map[string]any{"method": "transfer", "from": account(from), "to": account(to), "amount": amount}))
	}
	// A second for each is far more than they take, on any machine.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute+time.Duration(transfers)*time.Second)
	defer cancel()
	begun := time.Now()
	var sending sync.WaitGroup
	var next atomic.Int64
	for range transferSenders {
		sending.Go(func() {
			for n := int(next.Add(1)) - 1; n < transfers && b.send(ctx, t, n); n = int(next.Add(1)) - 1 {
			}
		})
	}
	b.kill(ctx, t, transfers, kills)
	sending.Wait()
	accepted := time.Since(begun)
	b.await(ctx, t)
	// It stays so: nothing is left that could be made once more.
	b.awaitEmpty(ctx, t)
	if held := b.held(ctx, t); held != fmt.Sprint(b.want) {
		t.Errorf("when nothing is queued any more the accounts hold %s, want %v", held, b.want)
	}
	b.f.awaitDead(t, 0)
	t.Logf("%d transfers, %d kills: all accepted after %.1f s, all made after %.1f s", transfers, kills, accepted.Seconds(), time.Since(begun).Seconds())
}

// send sends a transfer until it is accepted, always as the same call. It returns false when there is no more time.
func (b *bank) send(ctx context.Context, t *testing.T, n int) bool {
	q := request{
		method: "POST", path: "/async-function/" + b.f.String(), body: b.bodies[n], auth: nobody,
		header: http.Header{"X-Call-Id": {fmt.Sprintf("transfer-%d", n)}},
	}
	for {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		a, err := gateway.send(attempt, q)
		cancel()
		switch {
		case err == nil && a.status == http.StatusAccepted:
			b.sent.Add(1)
			return true
		case err == nil && a.status != http.StatusTooManyRequests && a.status < 500:
			t.Errorf("transfer %d: %d %q", n, a.status, a.body)
			return false
		}
		select {
		case <-ctx.Done():
			t.Errorf("transfer %d was not accepted: %v, %v", n, a, err)
			return false
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// kill kills the provider and the contract's process in turn, each when some more of the transfers have been accepted or made.
func (b *bank) kill(ctx context.Context, t *testing.T, transfers, kills int) {
	for n := range kills {
		// The first half while they are sent, the second while they are made.
		mark := int64(1 + b.random.IntN(max(1, 2*transfers*(n+1)/kills-1)))
		for b.sent.Load() < min(mark, int64(transfers)) && ctx.Err() == nil {
			b.pause(ctx, 5*time.Millisecond)
		}
		b.pause(ctx, time.Duration(b.random.IntN(2000))*time.Millisecond)
		if n%2 == 0 {
			b.killProvider(ctx, t)
		} else {
			b.killContract(ctx, t)
		}
	}
}

func (b *bank) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// killProvider ends the provider with SIGKILL and has another pod take its place: Kubernetes would start the container of the same
// one later each time.
func (b *bank) killProvider(ctx context.Context, t *testing.T) {
	t.Helper()
	process, ok := providerProcess(t)
	if !ok {
		t.Fatal("the provider's process is not on this machine: run the tests by make test-e2e")
	}
	pods, err := cluster.CoreV1().Pods(providerNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=dc-provider"})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(process, syscall.SIGKILL); err != nil {
		t.Fatalf("kill the provider, process %d: %v", process, err)
	}
	now := int64(0)
	for _, pod := range pods.Items {
		if err := cluster.CoreV1().Pods(providerNamespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Fatal(err)
		}
	}
	awaitProvider(t, process)
}

// killContract ends the contract's processes that are there at this moment: those that make a transfer, and the one that waits for
// the next.
func (b *bank) killContract(ctx context.Context, t *testing.T) {
	t.Helper()
	for killed := 0; killed == 0; b.pause(ctx, 5*time.Millisecond) {
		for _, process := range b.processes(ctx, t) {
			switch err := syscall.Kill(process, syscall.SIGKILL); err {
			case nil:
				killed++
			case syscall.ESRCH: // it has ended by itself
			default:
				t.Fatalf("kill the contract, process %d: %v", process, err)
			}
		}
		if ctx.Err() != nil {
			t.Fatal("no process of the contract was there")
		}
	}
}

// processes are those of the contract's program, in the control groups of its pods.
func (b *bank) processes(ctx context.Context, t *testing.T) (found []int) {
	t.Helper()
	pods, err := cluster.CoreV1().Pods(functionNamespace).List(ctx, metav1.ListOptions{LabelSelector: "faas_function=" + b.f.name})
	if err != nil {
		t.Fatal(err)
	}
	var containers []string
	for _, pod := range pods.Items {
		for _, c := range pod.Status.ContainerStatuses {
			if _, id, ok := strings.Cut(c.ContainerID, "://"); ok {
				containers = append(containers, id)
			}
		}
	}
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range groups {
		group, err := os.ReadFile(path)
		if err != nil || !containsAny(string(group), containers) {
			continue // gone meanwhile, or another's
		}
		command, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err != nil || !strings.Contains(string(command), "balance.py") {
			continue
		}
		process, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, process)
	}
	return found
}

// held is what the accounts hold, spelled as b.want prints, or why that is not known.
func (b *bank) held(ctx context.Context, t *testing.T) string {
	t.Helper()
	held := map[string]int{}
	for name := range b.want {
		a, err := gateway.insist(ctx, request{method: "GET", path: b.f.heapPath("account-" + name)})
		if err != nil || a.status != http.StatusOK {
			return fmt.Sprintf("account %s: %v, %v", name, a, err)
		}
		var amount int
		if err := json.Unmarshal([]byte(a.body), &amount); err != nil {
			t.Fatalf("account %s: %q: %v", name, a.body, err)
		}
		held[name] = amount
	}
	return fmt.Sprint(held)
}

// await waits until the accounts hold what they should.
func (b *bank) await(ctx context.Context, t *testing.T) {
	t.Helper()
	held := b.held(ctx, t)
	for ; held != fmt.Sprint(b.want); held = b.held(ctx, t) {
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the books are not balanced; last seen %s, want %v", held, b.want)
		}
	}
}

// awaitEmpty waits until nothing of the contract's is queued. A number is of a second ago, and of the provider that there is: so what
// is read is read again.
func (b *bank) awaitEmpty(ctx context.Context, t *testing.T) {
	t.Helper()
	name := `function_name="` + b.f.name + "." + functionNamespace + `"`
	queued := 1.0
	for empty := 0; empty < 3; {
		if queued = series(t, scrape(t), "dc_invoke_queued", name); queued <= 0 {
			empty++
		} else {
			empty = 0
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			t.Fatalf("%v calls are queued still", queued)
		}
	}
}
