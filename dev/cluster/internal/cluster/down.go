package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/cgroup"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/network"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/proc"
)

const (
	// downTimeout is how long everything may take to be gone. It takes a second or two.
	downTimeout = time.Minute
	// collectLimit is how long the machine may take to collect one dead process.
	collectLimit = 5 * time.Second
)

// Down removes the cluster and all that it made, whether or not it runs or was ever complete.
func Down(ctx context.Context, c layout.Cluster, say func(string)) error {
	unlock, err := lockUpDown(ctx, c, say)
	if err != nil {
		return err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	if err := c.SetWanted(false); err != nil {
		return err
	}
	killed, err := killAll(ctx, c)
	if err != nil {
		return err
	}
	if err := removeTraces(ctx, c); err != nil {
		return err
	}
	if err := removeState(c); err != nil {
		return err
	}
	// Dead children of a dead parent are for the machine's first process to collect, and some take seconds to look. Down
	// waits for that, so that nothing shows afterwards; a first process that never looks is no failure of ours.
	for _, pid := range killed {
		if err := proc.WaitCollected(ctx, pid, collectLimit); err != nil {
			return err
		}
	}
	return nil
}

// killAll kills first those that would start others again, then the nodes, then whoever is left in a namespace: somebody's
// shell, or the nodes of a cluster whose state folder was lost.
func killAll(ctx context.Context, c layout.Cluster) (killed []int, err error) {
	locks := []string{guardRole.lock(c), superviseRole.lock(c), guardRole.lock(c)} // the supervisor may just have started a guard
	nodes, err := filepath.Glob(c.Path("node*.lock"))
	if err != nil {
		return nil, err
	}
	for _, lock := range append(locks, nodes...) {
		pid, err := proc.KillHolder(ctx, lock)
		if err != nil {
			return nil, err
		}
		if pid != 0 {
			killed = append(killed, pid)
		}
	}
	return killed, killInside(ctx, c)
}

// killInside kills whatever runs in one of the cluster's network namespaces.
func killInside(ctx context.Context, c layout.Cluster) error {
	return retry(ctx, func() error {
		pids, err := network.Processes(ctx, c)
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill %d: %w", pid, err)
			}
		}
		if len(pids) > 0 {
			return fmt.Errorf("processes %v are still there", pids)
		}
		return nil
	})
}

// removeTraces removes what a cluster without processes still shows outside its state folder.
func removeTraces(ctx context.Context, c layout.Cluster) error {
	if err := network.Remove(ctx, c); err != nil {
		return err
	}
	// A group that has just lost its last process may stay busy for a moment.
	if err := retry(ctx, func() error { return cgroup.Remove(c.Cgroup()) }); err != nil {
		return fmt.Errorf("control groups: %w", err)
	}
	return nil
}

// removeState deletes the state folder, but never through a mount: that would delete what is mounted.
func removeState(c layout.Cluster) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4]+"/", c.Dir+"/") {
			return fmt.Errorf("%s is mounted: unmount it first", fields[4])
		}
	}
	return os.RemoveAll(c.Dir)
}
