package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/cgroup"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/config"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/proc"
	"golang.org/x/sys/unix"
)

// logLimitBytes is the size at which a component's log is cut to nothing.
const logLimitBytes = 64 << 20

// Run is the node's first process. It returns only if the node cannot run, or with ctx; its end ends the node. If the node
// runs already the error is proc.ErrHeld.
func Run(ctx context.Context, n layout.Node, log *slog.Logger) error {
	pid, err := hostPID()
	if err != nil {
		return err
	}
	lock, err := proc.TryLock(n.Lock(), pid)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name(), err)
	}
	defer lock.Release() // held to the end of the process in any case
	if err := prepare(n); err != nil {
		return err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reaper := proc.NewReaper()
	services := config.Services(n)
	var parts sync.WaitGroup
	run := func(part func() error) {
		parts.Go(func() { cancel(part()) })
	}
	run(func() error { return reaper.Run(ctx) })
	run(func() error { return trimLogs(ctx, services) })
	for _, s := range services {
		run(func() error { return s.Run(ctx, log, reaper) })
	}
	parts.Wait()
	return context.Cause(ctx)
}

func prepare(n layout.Node) error {
	if err := os.MkdirAll(n.Dir(), 0o755); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(n.Name())); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := mounts(n); err != nil {
		return err
	}
	// What an earlier life of the node left is empty: its processes ended with it.
	if err := cgroup.Remove(n.Cgroup()); err != nil {
		return fmt.Errorf("control groups: %w", err)
	}
	if err := cgroup.Make(n.Cgroup()); err != nil {
		return fmt.Errorf("control groups: %w", err)
	}
	for name, value := range map[string]string{
		"ip_forward":     "1",
		"icmp_ratelimit": "0", // a pod that tries to get out is to learn each time, and at once, that there is no way
	} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// trimLogs keeps the components' logs from filling the disk. They are opened for appending, so cutting one is safe while
// it is being written.
func trimLogs(ctx context.Context, services []proc.Service) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		for _, s := range services {
			if info, err := os.Stat(s.Log); err == nil && info.Size() > logLimitBytes {
				if err := os.Truncate(s.Log, 0); err != nil {
					return err
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
