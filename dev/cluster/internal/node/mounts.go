package node

import (
	"fmt"
	"os"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"golang.org/x/sys/unix"
)

type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

// mounts gives the node its view of the file system. The order matters: /run hides what was mounted below it.
func mounts(n layout.Node) error {
	// First cut off from the host, then shared among the node's own: the kubelet's mounts must reach its containers.
	for _, propagation := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|propagation, ""); err != nil {
			return fmt.Errorf("mount propagation: %w", err)
		}
	}
	for _, m := range []mount{
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{n.Dir(), layout.NodeDir, "", unix.MS_BIND | unix.MS_REC, ""},
		{"tmpfs", "/var/log", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{n.Path("resolv.conf"), "/etc/resolv.conf", "", unix.MS_BIND, ""},
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	} {
		if m.target == layout.NodeDir {
			if err := os.MkdirAll(m.target, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}
