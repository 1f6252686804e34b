package proc

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestNextBackoff(t *testing.T) {
	for _, test := range []struct {
		name            string
		last, ran, want time.Duration
	}{
		{"the first end", 0, time.Second, firstBackoff},
		{"again at once doubles", firstBackoff, 0, 2 * firstBackoff},
		{"doubling has a limit", maxBackoff, 0, maxBackoff},
		{"a steady run forgives", maxBackoff, steady, firstBackoff},
	} {
		if got := nextBackoff(test.last, test.ran); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// startReaper runs a Reaper for the test. Services run under it do not outlive the test.
func startReaper(t *testing.T) *Reaper {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reaper, ended := NewReaper(), make(chan error, 1)
	go func() { ended <- reaper.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("reaper: %v", err)
		}
	})
	return reaper
}

func script(t *testing.T, body string) Service {
	return Service{
		Name: "script", Args: []string{"/bin/sh", "-c", body}, Env: []string{"PATH=/usr/bin:/bin"},
		Log: filepath.Join(t.TempDir(), "log"),
	}
}

func TestService_OnceSaysHowItEnded(t *testing.T) {
	reaper := startReaper(t)
	for _, test := range []struct{ body, want string }{
		{"exit 3", "exit status 3"},
		{"exit 0", "exit status 0"}, // it was to run for ever
		{"kill -9 $$", "killed by killed"},
	} {
		err := script(t, test.body).once(within(t, 10*time.Second), reaper, func(int) {})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.body, err, test.want)
		}
	}
}

func TestService_PreparesFirstAndOnlyThenStarts(t *testing.T) {
	reaper := startReaper(t)
	s := script(t, "echo started >&2; exit 1")
	s.Prepare = [][]string{{"/bin/sh", "-c", "echo prepared"}}
	s.once(within(t, 10*time.Second), reaper, func(int) {}) // its exit status is the script's
	if got := readLog(t, s); got != "prepared\nstarted\n" {
		t.Errorf("log %q", got)
	}

	s = script(t, "echo started")
	s.Prepare = [][]string{{"/bin/sh", "-c", "exit 7"}}
	if err := s.once(within(t, 10*time.Second), reaper, func(int) { t.Error("started") }); err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("%v, want the preparation's exit status", err)
	}
}

func TestService_StartsAgainUntilCancelled(t *testing.T) {
	reaper := startReaper(t)
	s := script(t, "echo run; exit 1")
	ctx, cancel := context.WithCancel(within(t, 30*time.Second))
	starts := 0
	log := slog.New(slog.NewTextHandler(writerFunc(func(line []byte) {
		if strings.Contains(string(line), "msg=started") {
			if starts++; starts == 3 {
				cancel()
			}
		}
	}), nil))
	if err := s.Run(ctx, log, reaper); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if starts != 3 {
		t.Errorf("%d starts, want 3", starts)
	}
}

// A service must not start before the address that it waits for is served.
func TestService_WaitsForItsAddress(t *testing.T) {
	reaper := startReaper(t)
	socket := filepath.Join(t.TempDir(), "socket")
	s := script(t, "exit 1")
	s.WaitFor = []string{"unix:" + socket}
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.once(within(t, 10*time.Second), reaper, func(int) { close(started) }) }()
	select {
	case <-started:
		t.Fatal("started before anybody listened")
	case <-time.After(2 * pollEvery): // long enough for a service that does not wait
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	<-ended
	select {
	case <-started:
	default:
		t.Error("never started")
	}
}

func TestWaitAddr_RefusesWhatItDoesNotKnow(t *testing.T) {
	for _, addr := range []string{"", "tcp:", "udp:127.0.0.1:53", "127.0.0.1:80"} {
		if err := WaitAddr(within(t, time.Second), addr); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%q: %v, want it refused", addr, err)
		}
	}
}

// Orphans come to the reaper as they do to the first process of a PID namespace; here by making this process a subreaper.
func TestReaper_CollectsOrphans(t *testing.T) {
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		t.Fatal(errno)
	}
	defer syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 0, 0)
	reaper := startReaper(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	s := script(t, "sleep 0.1 & echo $! > "+pidFile)
	s.once(within(t, 10*time.Second), reaper, func(int) {}) // leaves the sleep behind
	pid := strings.TrimSpace(readFile(t, pidFile))
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %s is still there: %s", pid, readFile(t, "/proc/"+pid+"/stat"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func readLog(t *testing.T, s Service) string { return readFile(t, s.Log) }

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
