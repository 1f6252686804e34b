package watchdog

import (
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLastPID(t *testing.T) {
	before := lastPID()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	after := lastPID()
	switch pid := cmd.Process.Pid; {
	case before == 0 || after == 0:
		t.Error("the kernel does not tell")
	case after < before || pid < before: // once in some ten thousand runs
		t.Skipf("before %d, the process %d, after %d: the numbers have come round", before, pid, after)
	}
	if !(&processes{}).manyNumbers() {
		t.Error("kernel.pid_max is said to be small")
	}
}

// Both ways to look for what is left of a session find the same.
func TestProcess_LookForMembers(t *testing.T) {
	ps := &processes{}
	prog, err := findProgram([]string{"sh", "-mc", "sleep 98764.1 & sleep 98764.1 & wait"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := ps.start(prog, nil, 0, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer p.end()
	deadline := time.Now().Add(patience)
	for len(sessionMembers(p.pid)) < 2 {
		if time.Now().After(deadline) {
			t.Fatal("the session has no two members")
		}
	}
	p.looked.at = time.Now().Add(time.Hour) // so that it is quick
	near := p.lookForMembers()
	p.looked.at = time.Time{}
	far := p.lookForMembers()
	slices.Sort(far)
	if len(near) != 2 || !slices.Equal(near, far) {
		t.Errorf("by their numbers %v, in /proc %v", near, far)
	}
	p.looked.at = time.Now().Add(time.Hour)
	p.signal(syscall.SIGKILL)
	p.end()
	waitGone(t, "98764.1")
}

// A look ahead knows who was there, and who has come since is found by his number.
func TestProcess_LookAhead(t *testing.T) {
	ps := &processes{}
	prog, err := findProgram([]string{"sh", "-mc", "sleep 98764.4 & read go; sleep 98764.4 & sleep 98764.4 & wait"})
	if err != nil {
		t.Fatal(err)
	}
	stdin, childs, err := inPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	p, err := ps.start(prog, nil, childs, 1, 2)
	closeFD(childs)
	if err != nil {
		t.Fatal(err)
	}
	defer p.end()
	await := func(members int) {
		t.Helper()
		for deadline := time.Now().Add(patience); len(sessionMembers(p.pid)) < members; {
			if time.Now().After(deadline) {
				t.Fatalf("the session has not %d members", members)
			}
		}
	}
	await(1)
	p.lookAhead()
	before := sessionMembers(p.pid)
	if !slices.Equal(p.looked.seen, before) {
		t.Errorf("looked %+v, members %v", p.looked, before)
	}
	if _, err := stdin.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	await(3)
	p.looked.at = time.Now().Add(time.Hour) // so that it is quick
	near, far := p.lookForMembers(), sessionMembers(p.pid)
	slices.Sort(near)
	slices.Sort(far)
	if len(near) != 3 || !slices.Equal(near, far) {
		t.Errorf("by what is known %v, in /proc %v", near, far)
	}
	p.end()
	waitGone(t, "98764.4")
}

// What a quick process leaves behind in its session, in whatever group, ends with it.
func TestForkMode_QuickSessionEnds(t *testing.T) {
	f := serve(t, argv("sh", "-mc", "sleep 98764.2 >/dev/null 2>&1 & echo done"))
	for range 30 {
		if got := f.do("POST", "/", "x"); got.status != 200 || got.body != "done\n" {
			t.Fatalf("%+v", got)
		}
	}
	waitGone(t, "98764.2")
}

// A process is served the same whether it is quick or not, whether its output fits into a pipe or not, and whoever closes stdout last.
func TestForkMode_QuickAndSlow(t *testing.T) {
	for _, pause := range []string{"", "sleep 0.003; ", "sleep 0.1; "} {
		for name, r := range map[string]struct {
			script, body, want, stderr string
		}{
			"nothing":                {"true", "", "", ""},
			"both streams":           {"echo err >&2; cat; echo end", "in", "inend\n", "err\n"},
			"more than a pipe":       {"head -c 300000 /dev/zero | tr '\\0' x", "in", strings.Repeat("x", 300000), ""},
			"more than a page in":    {"wc -c", strings.Repeat("x", 5000), "5000\n", ""},
			"a page in":              {"wc -c", strings.Repeat("x", 4096), "4096\n", ""},
			"much stderr":            {"head -c 200000 /dev/zero | tr '\\0' '\\n' >&2; echo out", "", "out\n", strings.Repeat("\n", 200000)},
			"written early":          {"echo early; sleep 0.05; echo late", "", "early\nlate\n", ""},
			"stdout closed early":    {"echo out; exec >&-; sleep 0.05; echo err >&2", "", "out\n", "err\n"},
			"held by another":        {"(sleep 0.05; echo late; echo err >&2) & echo early", "", "early\nlate\n", "err\n"},
			"stderr held by another": {"sleep 98764.3 >/dev/null & echo out", "", "out\n", ""},
		} {
			t.Run(pause+name, func(t *testing.T) {
				f := serve(t, sh(pause+r.script))
				if got := f.do("POST", "/", r.body); got.status != 200 || strings.TrimLeft(got.body, " ") != r.want {
					t.Errorf("%d, %d bytes: %.80s, want %d bytes", got.status, len(got.body), got.body, len(r.want))
				}
				if r.stderr != "" {
					f.stderr.waitFor(t, r.stderr)
				}
			})
		}
	}
	waitGone(t, "98764.3")
}
