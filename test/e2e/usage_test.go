package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/openfaas/faas-provider/types"
)

// python is a function that runs whatever program it is called with.
func python() deployment {
	return deployment{Image: "dragonchain/example-balance:dev", EnvProcess: "python3 -"}
}

// usage is what faas-cli describe asks for and shows; nil if there is none.
func (f function) usage(t *testing.T) *types.FunctionUsage {
	t.Helper()
	a := gateway.do(t, http.MethodGet, "/system/function/"+f.name+"?usage=1&namespace="+f.namespace, "").is(t, "status", http.StatusOK)
	return decode[types.FunctionStatus](t, a).Usage
}

// TestUsage_AsTheKernelCounts has a function hold memory and keep a processor busy until its caller hangs up.
func TestUsage_AsTheKernelCounts(t *testing.T) {
	t.Parallel()
	const held, near = 96 << 20, 32 << 20
	f := deploy(t, python())
	// The control group of this container, of whichever version.
	kernel := func() (memory float64) {
		a := f.call(t, `
import os
def number(name): return int(open("/sys/fs/cgroup/" + name).read())
def entry(name, key): return [int(l.split()[1]) for l in open("/sys/fs/cgroup/" + name) if l.split()[0] == key][0]
if os.path.exists("/sys/fs/cgroup/memory.current"):
    print(number("memory.current") - entry("memory.stat", "inactive_file"))
else:
    print(number("memory/memory.usage_in_bytes") - entry("memory/memory.stat", "total_inactive_file"))
`).is(t, "look at the control group", http.StatusOK)
		if _, err := fmt.Sscan(a.body, &memory); err != nil {
			t.Fatalf("%q: %v", a.body, err)
		}
		return memory
	}
	idle := kernel()

	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	hung := make(chan error, 1)
	go func() {
		_, err := gateway.send(ctx, request{
			method: "POST", path: f.path(""), body: fmt.Sprintf("held = b'x' * %d\nwhile True: pass", held), auth: nobody,
		})
		hung <- err
	}()
	eventually(t, "the usage is the kernel's", func() (bool, string) {
		u, counted := f.usage(t), kernel()
		if u == nil {
			return false, "no usage"
		}
		off := u.TotalMemoryBytes - counted
		return u.CPU > 50 && u.TotalMemoryBytes > held && -near < off && off < near,
			fmt.Sprintf("%.0f mCPU and %.0f bytes, the kernel counts %.0f", u.CPU, u.TotalMemoryBytes, counted)
	})
	hangUp()
	<-hung
	eventually(t, "and falls with it", func() (bool, string) {
		u := f.usage(t)
		if u == nil {
			return false, "no usage"
		}
		return u.CPU < 50 && u.TotalMemoryBytes < idle+near, fmt.Sprintf("%.0f mCPU and %.0f bytes, %.0f before", u.CPU, u.TotalMemoryBytes, idle)
	})
}

// TestUsage_OnlyWhereItIsKnownAndAskedFor has images without a watchdog, and whoever may call a function look for its usage.
func TestUsage_OnlyWhereItIsKnownAndAskedFor(t *testing.T) {
	t.Parallel()
	plain := deploy(t, probe(t))
	plain.get(t, "/").is(t, "warm up", http.StatusOK)
	if u := plain.usage(t); u != nil {
		t.Errorf("an image without a watchdog uses %+v", u)
	}

	f := deploy(t, parrot())
	f.call(t, "moo").is(t, "warm up", http.StatusOK)
	if s, _ := f.status(t); s.Usage != nil {
		t.Errorf("nobody has asked, and the status has %+v", s.Usage)
	}
	f.get(t, "/_/usage").is(t, "usage without a challenge", http.StatusUnauthorized)
	sealed := gateway.ask(t, request{
		method: "GET", path: f.path("/_/usage"), auth: nobody, header: http.Header{"X-Dc-Challenge": {strings.Repeat("0f", 16)}},
	}).is(t, "usage with a challenge", http.StatusOK)
	if strings.Contains(sealed.body, "memory") || strings.Contains(sealed.body, "served") {
		t.Errorf("a caller of the function can read %q", sealed.body)
	}

	f.scale(t, 0)
	f.awaitReplicas(t, 0)
	if u := f.usage(t); u != nil {
		t.Errorf("at zero it uses %+v", u)
	}
	f.awaitReplicas(t, 0)
}
