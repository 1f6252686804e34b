package heapstoretest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

const (
	// victimFolder names, in the environment of a process that is to be killed, the folder of its store.
	victimFolder = "HEAPSTORETEST_VICTIM_FOLDER"
	killRounds   = 10
	// killWriters commit at once, so that a kill meets shared transactions.
	killWriters = 8
	// killKeys is how many keys each commit writes with the same value: two different values are a torn commit.
	killKeys = 4
)

// testKill lets a process commit, kills it at a random moment, and looks at what is there: of every writer the last
// commit that was acknowledged or the one after it, and that whole.
func testKill(t *testing.T, d Driver) {
	folder, h := t.TempDir(), victimHeap()
	// A store that needs more than its folder gets it here, where it outlives the victims.
	first, err := d.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	acknowledged := make([]int, killWriters)
	for round := range killRounds {
		runUntilKilled(t, victimFolder, folder, rand.IntN(400), acknowledged)
		if err := d.Check(folder); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		s, err := d.Open(folder)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for w, want := range acknowledged {
			got := readVictim(t, s, h, w)
			if got != want && got != want+1 {
				t.Errorf("round %d: writer %d is at %d, acknowledged was %d", round, w, got, want)
			}
			acknowledged[w] = got // by us: the next victim goes on from there
			// Its call id is recorded with it, and no other.
			for n := max(got-1, 1); n <= got+1; n++ {
				if _, found, err := s.Recorded(t.Context(), h, victimCall(w, n)); !errors.Is(err, heapstore.ErrNoHeap) && (err != nil || found != (n <= got)) {
					t.Errorf("round %d: writer %d is at %d, and call %d is recorded: %t, %v", round, w, got, n, found, err)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// runUntilKilled starts this test's binary, tells it by the variable which folder's store is its own, and kills it when it has said so
// many lines of two numbers. It notes the greatest second number that came with each first: what was acknowledged, of each writer.
func runUntilKilled(t *testing.T, variable, folder string, lines int, acknowledged []int) {
	t.Helper()
	test, _, _ := strings.Cut(t.Name(), "/")
	victim := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$")
	victim.Env = append(os.Environ(), variable+"="+folder)
	victim.Stderr = os.Stderr
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	for seen := 0; said.Scan(); seen++ {
		var writer, n int
		if _, err := fmt.Sscanf(said.Text(), "%d %d", &writer, &n); err != nil {
			t.Errorf("the victim says %q", said.Text())
			continue
		}
		acknowledged[writer] = max(acknowledged[writer], n)
		if seen == lines {
			// What it said before it died is still in the pipe and is read to its end.
			if err := victim.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	_, _ = io.Copy(io.Discard, out) // to its end, so that it can say no more
	if err := victim.Wait(); err == nil || victim.ProcessState.ExitCode() != -1 {
		t.Fatalf("the victim was not killed, but ended: %v", err)
	}
}

// runVictim commits until it is killed. Each writer goes on where the store says that it was, and says what it committed.
func runVictim(t *testing.T, d Driver, folder string) {
	s, err := d.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	h := victimHeap()
	create(t, s, h)
	failed := make(chan error)
	for w := range killWriters {
		from := readVictim(t, s, h, w)
		go func() { failed <- commitForEver(t.Context(), s, h, w, from) }()
	}
	t.Fatal(<-failed)
}

func commitForEver(ctx context.Context, s heapstore.Store, h function.Heap, writer, from int) error {
	for n := from + 1; ; n++ {
		var w []function.HeapWrite
		for key := range killKeys {
			// The values vary in length, so that pages split and are given back.
			value := fmt.Sprintf("%d %s", n, strings.Repeat("x", n*37%3000))
			w = append(w, function.HeapWrite{Key: victimKey(writer, key), Value: []byte(value)})
		}
		if err := s.Commit(ctx, h, function.Commit{Writes: w, CallID: victimCall(writer, n)}); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(os.Stdout, "%d %d\n", writer, n); err != nil {
			return err
		}
	}
}

// readVictim returns a writer's last commit, 0 if there is none, and fails if its keys disagree.
func readVictim(t *testing.T, s heapstore.Store, h function.Heap, writer int) int {
	t.Helper()
	commits := make([]int, killKeys)
	for key := range killKeys {
		value, err := s.Get(t.Context(), h, victimKey(writer, key))
		switch number, _, _ := strings.Cut(string(value.Value), " "); {
		case errors.Is(err, heapstore.ErrNoKey), errors.Is(err, heapstore.ErrNoHeap):
			// Killed before the first commit, or a torn one, which shows below.
		case err != nil:
			t.Fatal(err)
		default:
			if commits[key], err = strconv.Atoi(number); err != nil {
				t.Fatalf("writer %d: key %d holds %.40q", writer, key, value.Value)
			}
		}
		if commits[key] != commits[0] {
			t.Fatalf("writer %d: torn commit: %d and %d", writer, commits[0], commits[key])
		}
	}
	return commits[0]
}

func victimCall(writer, n int) string { return fmt.Sprintf("%d/%d", writer, n) }

func victimKey(writer, key int) string { return fmt.Sprintf("%d-%d", writer, key) }

func victimHeap() function.Heap { return heap("victim", "1") }
