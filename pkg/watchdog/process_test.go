package watchdog

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody is a user without rights.
const nobody = 65534

// A process that gives itself another user cannot be killed by a watchdog that is not root. Its invocation is answered all the same, and
// the watchdog can end.
func TestProcess_MayNotBeKilled(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a program that becomes root")
	}
	marker := "marker-may-not-be-killed"
	program := setuidCopy(t)
	for _, mode := range []string{"fork", "streaming"} {
		checkLeaks(t)
		f := prepare(t, argv(program, "program=become-root", marker), "mode="+mode, "suppress_lock=true")
		t.Cleanup(func() { killMarked(t, marker) })
		becomeNobody(t)
		f.start()
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		var got answer
		// One that is killed before it has become root is no case of this.
		for limit := time.Second; limit < patience && len(marked(t, marker)) == 0; limit *= 2 {
			got = f.doCtx(ctx, "GET", "/", strings.NewReader(""), "X-Timeout: "+limit.String())
		}
		if got.status != 504 || len(marked(t, marker)) == 0 {
			t.Errorf("%s: %+v, %d processes left\n%s", mode, got, len(marked(t, marker)), f.stderr)
		}
		if err := f.stop(); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		becomeRoot(t)
		killMarked(t, marker)
		waitGone(t, marker)
	}
}

// setuidCopy makes a copy of this test binary that runs as root, whoever starts it.
func setuidCopy(t *testing.T) string {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	path := filepath.Join(dir, "setuid")
	to, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.Copy(to, self); err == nil {
		err = to.Close()
	}
	if err == nil {
		err = os.Chmod(path, 0o755|os.ModeSetuid)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// becomeNobody gives up root for all threads of this program, until becomeRoot or the test's end.
func becomeNobody(t *testing.T) {
	t.Cleanup(func() { becomeRoot(t) })
	if err := syscall.Setresuid(nobody, nobody, 0); err != nil {
		t.Fatal(err)
	}
}

func becomeRoot(t *testing.T) {
	if err := syscall.Setresuid(0, 0, 0); err != nil {
		t.Fatal(err)
	}
}

// becomeRootProgram is a program that drops the user who has started it, and runs on.
func becomeRootProgram([]string) {
	if err := syscall.Setuid(0); err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	time.Sleep(10 * patience)
}
