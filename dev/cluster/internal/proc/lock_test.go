package proc

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A test binary that is started with lockFileEnv set holds that lock until it is killed: another process, for real.
const lockFileEnv = "TEST_LOCK_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(lockFileEnv); path != "" {
		if _, err := TryLock(path, os.Getpid()); err != nil {
			os.Exit(3)
		}
		os.Stdout.WriteString("locked\n")
		select {}
	}
	os.Exit(m.Run())
}

// startHolder starts a process that holds the lock.
func startHolder(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), lockFileEnv+"="+path)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		holder.Process.Kill() // it may be dead, which is the point of some tests
		holder.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "locked\n" {
		t.Fatalf("holder said %q, %v", line, err)
	}
	return holder
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestLock_NobodyHoldsWhatIsNotThere(t *testing.T) {
	if pid, held, err := Holder(filepath.Join(t.TempDir(), "lock")); pid != 0 || held || err != nil {
		t.Errorf("holder %d, %v, %v", pid, held, err)
	}
}

func TestLock_HeldByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	holder := startHolder(t, path)
	if _, err := TryLock(path, os.Getpid()); !errors.Is(err, ErrHeld) {
		t.Errorf("lock what is held: %v, want ErrHeld", err)
	}
	if pid, held, err := Holder(path); pid != holder.Process.Pid || !held || err != nil {
		t.Errorf("holder %d, %v, %v, want %d", pid, held, err, holder.Process.Pid)
	}
}

func TestLock_FreeAgainAfterRelease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := TryLock(path, 42)
	if err != nil {
		t.Fatal(err)
	}
	if pid, held, err := Holder(path); pid != 42 || !held || err != nil {
		t.Errorf("holder %d, %v, %v, want 42", pid, held, err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if _, held, err := Holder(path); held || err != nil {
		t.Errorf("held %v, %v after release", held, err)
	}
}

func TestKillHolder_KillsAndWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	holder := startHolder(t, path)
	if pid, err := KillHolder(within(t, 10*time.Second), path); pid != holder.Process.Pid || err != nil {
		t.Fatalf("killed %d, %v, want %d", pid, err, holder.Process.Pid)
	}
	// Dead, but this test is its parent and has not collected it yet.
	if err := WaitCollected(within(t, 10*time.Second), holder.Process.Pid, 50*time.Millisecond); err != nil {
		t.Error(err)
	}
	if err := holder.Wait(); err == nil {
		t.Error("the holder ended by itself")
	}
	if _, held, err := Holder(path); held || err != nil {
		t.Errorf("held %v, %v", held, err)
	}
	if pid, err := KillHolder(within(t, time.Second), path); pid != 0 || err != nil {
		t.Errorf("once more: killed %d, %v", pid, err)
	}
	if err := WaitCollected(within(t, 10*time.Second), holder.Process.Pid, time.Hour); err != nil {
		t.Errorf("after it was collected: %v", err)
	}
}

func TestWaitLock_WaitsForTheHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	holder := startHolder(t, path)
	told := 0
	lock, err := WaitLock(within(t, 10*time.Second), path, os.Getpid(), func(pid int) {
		told++
		if pid != holder.Process.Pid {
			t.Errorf("told to wait for %d, want %d", pid, holder.Process.Pid)
		}
		holder.Process.Kill() // its end is what is waited for
	})
	if err != nil || told != 1 {
		t.Fatalf("%v, told %d times", err, told)
	}
	lock.Release()
}

func TestWaitLock_GivesUpWithTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	startHolder(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := WaitLock(ctx, path, os.Getpid(), func(int) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}
