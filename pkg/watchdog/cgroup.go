package watchdog

import (
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Cgroup is the control group of this container, of version 1 or 2. The zero value knows nothing.
type Cgroup struct {
	root fs.FS
	// paths are this process's places in the hierarchies, by controller; version 2's is under the empty name. They are as the
	// kernel tells them: where the container has no cgroup namespace, as in version 1, from the node's root, under which the
	// container cannot look.
	paths map[string]string
}

// OwnCgroup is the control group that this process is in.
func OwnCgroup() Cgroup {
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		membership = nil // without /proc: what is mounted is taken for our own
	}
	return OpenCgroup(os.DirFS("/sys/fs/cgroup"), membership)
}

// OpenCgroup is a control group under root, which is what /sys/fs/cgroup is to a process whose /proc/self/cgroup is membership.
func OpenCgroup(root fs.FS, membership []byte) Cgroup {
	c := Cgroup{root: root, paths: map[string]string{}}
	for line := range strings.Lines(string(membership)) {
		// ID:CONTROLLER,CONTROLLER:PATH
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		dir := strings.TrimPrefix(parts[2], "/")
		if !fs.ValidPath(dir) {
			continue // the top, or a place above the namespace's, which begins with ".."
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			c.paths[controller] = dir
		}
	}
	return c
}

// cpuTime is the processor time that the container has used since its start, by all processors together.
func (c Cgroup) cpuTime() (time.Duration, bool) {
	if dir, ok := c.unified(); ok {
		if us, ok := c.entry(path.Join(dir, "cpu.stat"), "usage_usec"); ok {
			return time.Duration(us) * time.Microsecond, true
		}
	}
	for _, mounted := range []string{"cpuacct", "cpu,cpuacct", "cpuacct,cpu"} {
		if dir, ok := c.hierarchy(mounted, "cpuacct"); ok {
			if ns, ok := c.number(path.Join(dir, "cpuacct.usage")); ok {
				return time.Duration(ns), true
			}
		}
	}
	return 0, false
}

// workingSet is the container's memory in bytes without the file pages that have not been used lately, which the kernel would
// take back first: what the kubelet calls the working set, and evicts by.
func (c Cgroup) workingSet() (int64, bool) {
	if dir, ok := c.unified(); ok {
		if bytes, ok := c.without(path.Join(dir, "memory.current"), path.Join(dir, "memory.stat"), "inactive_file"); ok {
			return bytes, true
		}
	}
	if dir, ok := c.hierarchy("memory", "memory"); ok {
		// The totals are those of the groups below as well, which the usage counts too.
		return c.without(path.Join(dir, "memory.usage_in_bytes"), path.Join(dir, "memory.stat"), "total_inactive_file")
	}
	return 0, false
}

func (c Cgroup) without(usage, stat, inactive string) (int64, bool) {
	used, ok := c.number(usage)
	if !ok {
		return 0, false
	}
	less, ok := c.entry(stat, inactive)
	if !ok {
		return 0, false
	}
	return max(used-less, 0), true // they are read one after the other
}

// unified is the folder of version 2.
func (c Cgroup) unified() (dir string, ok bool) {
	// Only the group at the very top, which is the whole machine's, has no type.
	return c.find(".", "", func(dir string) bool { return c.exists(path.Join(dir, "cgroup.type")) })
}

// hierarchy is the folder of a controller of version 1, which is mounted at a folder of root.
func (c Cgroup) hierarchy(mounted, controller string) (dir string, ok bool) {
	// Only the group at the very top, which is the whole machine's, has a release_agent.
	return c.find(mounted, controller, func(dir string) bool {
		return c.exists(dir) && !c.exists(path.Join(dir, "release_agent"))
	})
}

// find looks at our own place in the hierarchy, and then at its top: in a container that is as a rule our own place already.
func (c Cgroup) find(mounted, controller string, fits func(dir string) bool) (string, bool) {
	if c.root == nil {
		return "", false
	}
	for _, dir := range slices.Compact([]string{path.Join(mounted, c.paths[controller]), mounted}) {
		if fits(dir) {
			return dir, true
		}
	}
	return "", false
}

func (c Cgroup) exists(name string) bool {
	_, err := fs.Stat(c.root, name)
	return err == nil
}

// number reads a file that is a number. One that is not there, or is none, is unknown.
func (c Cgroup) number(name string) (int64, bool) {
	text, err := fs.ReadFile(c.root, name)
	if err != nil {
		return 0, false
	}
	return parseCount(string(bytes.TrimSpace(text)))
}

// entry reads the number behind key in a file of lines of a key and a number.
func (c Cgroup) entry(name, key string) (int64, bool) {
	text, err := fs.ReadFile(c.root, name)
	if err != nil {
		return 0, false
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), key+" "); found {
			return parseCount(value)
		}
	}
	return 0, false
}

// maxCount is above what any machine has counted, and can be thousandfold.
const maxCount = 1 << 53

func parseCount(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > maxCount {
		return 0, false
	}
	return n, true
}
