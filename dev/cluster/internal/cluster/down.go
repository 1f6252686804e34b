package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/network"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/proc"
)

// downTimeout is how long everything may take to be gone. It takes a second or two.
const downTimeout = time.Minute

// Down removes the cluster and all that it made, whether or not it runs or was ever complete.
func Down(ctx context.Context, c layout.Cluster, log *slog.Logger) error {
	unlock, err := lockUpDown(ctx, c, log)
	if err != nil {
		return err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	if err := c.SetWanted(false); err != nil {
		return err
	}
	if err := killAll(ctx, c); err != nil {
		return err
	}
	if err := network.Remove(ctx, c); err != nil {
		return err
	}
	if err := removeCgroups(ctx, c); err != nil {
		return err
	}
	return removeState(c)
}

// killAll kills first those that would start others again, then the nodes, then whoever is left in a namespace: somebody's
// shell, or the nodes of a cluster whose state folder was lost.
func killAll(ctx context.Context, c layout.Cluster) error {
	locks := []string{guardRole.lock(c), superviseRole.lock(c), guardRole.lock(c)} // the supervisor may just have started a guard
	nodes, err := filepath.Glob(c.Path("node*.lock"))
	if err != nil {
		return err
	}
	for _, lock := range append(locks, nodes...) {
		if err := proc.KillHolder(ctx, lock); err != nil {
			return err
		}
	}
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

// removeCgroups removes the containers' control groups from every hierarchy, the innermost first. A group that has just lost
// its last process may stay busy for a moment.
func removeCgroups(ctx context.Context, c layout.Cluster) error {
	roots, err := cgroups(c)
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := retry(ctx, func() error { return removeTree(root) }); err != nil {
			return fmt.Errorf("control group %s: %w", root, err)
		}
	}
	return nil
}

// cgroups finds the cluster's group in every hierarchy (version 1), or in the only one (version 2).
func cgroups(c layout.Cluster) ([]string, error) {
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup" + c.Cgroup(), "/sys/fs/cgroup/*" + c.Cgroup()} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		found = append(found, matches...)
	}
	return found, nil
}

func removeTree(root string) error {
	var dirs []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		// The files in a control group are no entries of their own: only rmdir removes it.
		if err := syscall.Rmdir(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
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
