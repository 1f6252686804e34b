package contest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const controlGroups = "/sys/fs/cgroup"

// GroupOf finds the control group of a pod of this machine by the pod's UID, of which the group's name has a part. It returns "" if there
// is none, or none that tells processor time.
func GroupOf(uid string) (folder string, err error) {
	// What systemd makes of a name has underscores.
	names := []string{uid, strings.ReplaceAll(uid, "-", "_")}
	err = filepath.WalkDir(controlGroups, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it has gone as we looked
		case err != nil:
			return err
		case !d.IsDir() || !strings.Contains(d.Name(), names[0]) && !strings.Contains(d.Name(), names[1]):
			return nil
		}
		if _, ok := GroupCPU(path); !ok {
			return fs.SkipDir // one of another controller's
		}
		folder = path
		return fs.SkipAll
	})
	return folder, err
}

// GroupCPU is the processor time of a control group so far, of version 1 or 2. It is false for one that has gone or does not tell.
func GroupCPU(folder string) (time.Duration, bool) {
	if text, err := os.ReadFile(filepath.Join(folder, "cpuacct.usage")); err == nil {
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return time.Duration(n), err == nil
	}
	text, err := os.ReadFile(filepath.Join(folder, "cpu.stat"))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return time.Duration(n) * time.Microsecond, err == nil
		}
	}
	return 0, false
}
