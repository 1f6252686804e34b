package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
)

// makeCgroups makes the node's control group in every hierarchy: the kubelet wants to find it, and makes only what is below.
func makeCgroups(n layout.Node) error {
	const mountpoint = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(mountpoint, "cgroup.controllers")); err == nil {
		return makeCgroup(mountpoint, n)
	}
	hierarchies, err := os.ReadDir(mountpoint)
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		if !h.IsDir() { // cpu and cpuacct may be links to one and the same
			continue
		}
		if err := makeCgroup(filepath.Join(mountpoint, h.Name()), n); err != nil {
			return err
		}
	}
	return nil
}

func makeCgroup(hierarchy string, n layout.Node) error {
	path := hierarchy
	for _, name := range []string{n.Cgroup(), n.Short()} {
		parent := path
		path = filepath.Join(path, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		// A new cpuset of version 1 is empty, and nothing may run in it or below.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := copyIfThere(filepath.Join(parent, file), filepath.Join(path, file)); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyIfThere(from, to string) error {
	value, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(to, value, 0o644)
}
