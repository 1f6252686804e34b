package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

// built is dc-watchdog as it is shipped.
func built(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "dc-watchdog")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return path
}

// BenchmarkSpare_Memory is what a spare takes that has registered and was probed for a while: its memory in all, and what of it is not
// the program, which all spares of a node share.
func BenchmarkSpare_Memory(b *testing.B) {
	program := built(b)
	for b.Loop() {
		p, c := newPod(b), newCloud(b)
		cmd := exec.Command(program, "spare")
		cmd.Env = append(slices.Clone(p.environ), "DC_SPARE_URL="+c.URL+assignment.CallPath)
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		within(b, "the spare does not call", func() bool { return c.calls.Load() > 0 })
		w := &running{t: b, url: "http://127.0.0.1:" + p.port}
		p.ask(w)
		for range 100 {
			p.get(w, "/_/health")
			p.get(w, "/_/ready")
		}
		resident, private := memoryOf(b, cmd.Process.Pid)
		b.ReportMetric(float64(resident)/1e6, "MB-resident")
		b.ReportMetric(float64(private)/1e6, "MB-private")
		if err := cmd.Process.Kill(); err != nil {
			b.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
	}
}

func memoryOf(b *testing.B, pid int) (resident, private int) {
	b.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		kB, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, err := strconv.Atoi(kB)
		switch {
		case name == "VmRSS" && err == nil:
			resident = n << 10
		case name == "RssAnon" && err == nil:
			private = n << 10
		}
	}
	return resident, private
}

// BenchmarkSpare_End is how long a spare takes from SIGTERM to its end, which a claim waits for.
func BenchmarkSpare_End(b *testing.B) {
	program := built(b)
	var took time.Duration
	for b.Loop() {
		p := newPod(b)
		cmd := exec.Command(program, "spare")
		cmd.Env = p.environ
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		w := &running{t: b, url: "http://127.0.0.1:" + p.port}
		within(b, "the spare does not serve", func() bool {
			res, err := http.Get(w.url + "/_/health")
			if err == nil {
				res.Body.Close()
			}
			return err == nil
		})
		started := time.Now()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			b.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		took += time.Since(started)
	}
	b.ReportMetric(float64(took.Microseconds())/1000/float64(b.N), "ms/end")
}

// BenchmarkClaim_Ready is the time from the start of the container's process, with its assignment in place, to its ready push, and to
// the answer of the first call. What the kubelet and the runtime do before is theirs.
func BenchmarkClaim_Ready(b *testing.B) {
	program := built(b)
	ready := make(chan time.Time, 1)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ready <- time.Now()
		w.WriteHeader(http.StatusNoContent)
	}))
	defer provider.Close()
	var push, answer time.Duration
	for b.Loop() {
		p := newPod(b)
		assignInto(b, p, hello("fprocess=cat", "DC_READY_URL="+provider.URL+"/dc/ready", "DC_READY_TOKEN="+readyToken.Hex()))
		if err := os.Remove(p.own); err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command(program, "spare")
		cmd.Env = append(slices.Clone(p.environ), "PATH="+os.Getenv("PATH"), "TMPDIR="+b.TempDir())
		started := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		push += (<-ready).Sub(started)
		res, err := http.Post("http://127.0.0.1:"+p.port, "", strings.NewReader("x"))
		if err != nil || res.StatusCode != http.StatusOK {
			b.Fatal(res, err)
		}
		res.Body.Close()
		answer += time.Since(started)
		if err := cmd.Process.Kill(); err != nil {
			b.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
	}
	b.ReportMetric(float64(push.Microseconds())/1000/float64(b.N), "ms/push")
	b.ReportMetric(float64(answer.Microseconds())/1000/float64(b.N), "ms/answer")
}

// assignInto has a spare of this process's program keep an assignment, and ends it.
func assignInto(b *testing.B, p *pod, a assignment.Assignment) {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe, "be-dc-watchdog", "spare")
	cmd.Env = p.environ
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	url := "http://127.0.0.1:" + p.port + assignment.Path
	challenge := readypush.NewChallenge()
	var sealed bytes.Buffer
	within(b, "the spare does not serve", func() bool {
		req, err := http.NewRequest("GET", url, nil)
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set(readypush.ChallengeHeader, challenge)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		_, err = sealed.ReadFrom(res.Body)
		return err == nil
	})
	s, _, err := p.key.OpenIdentity(challenge, netip.MustParseAddr("127.0.0.1"), sealed.Bytes())
	if err != nil {
		b.Fatal(err)
	}
	res, err := http.Post(url, "", bytes.NewReader(p.seal(s, a)))
	if err != nil || res.StatusCode != http.StatusNoContent {
		b.Fatal(res, err)
	}
	res.Body.Close()
	if err := cmd.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}
