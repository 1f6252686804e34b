package watchdog

import (
	"io/fs"
	"maps"
	"os"
	"testing"
	"testing/fstest"
	"time"
)

// The files under testdata/cgroup are those of one container each: version 1 as it was recorded, version 2 in the format of the
// kernel's Documentation/admin-guide/cgroup-v2.rst.
const (
	v1Time, v1WorkingSet = 113143996 * time.Nanosecond, 5861376 - 352256
	v2Time, v2WorkingSet = 7253418 * time.Microsecond, 41582592 - 12353536
)

// files are those of a recorded group, put under dirs, with changes: a text of its own for a file, or nothing for one that is
// not there.
func files(t *testing.T, version string, dirs map[string]string, changes map[string]string) fs.FS {
	t.Helper()
	m := fstest.MapFS{}
	recorded := os.DirFS("testdata/cgroup/" + version)
	err := fs.WalkDir(recorded, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(recorded, name)
		for from, to := range dirs {
			if rest, ok := cutDir(name, from); ok {
				m[to+"/"+rest] = &fstest.MapFile{Data: text}
				return err
			}
		}
		m[name] = &fstest.MapFile{Data: text}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range changes {
		if text == "" {
			delete(m, name)
			continue
		}
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func cutDir(name, dir string) (rest string, ok bool) {
	if dir == "." {
		return name, true
	}
	if len(name) > len(dir) && name[:len(dir)+1] == dir+"/" {
		return name[len(dir)+1:], true
	}
	return "", false
}

func TestCgroup(t *testing.T) {
	const unknown = -1
	// v1 without a namespace: the place is that on the node, and what is mounted is our own.
	const onNode = "4:memory:/kubepods/besteffort/pod1/2\n2:cpuacct:/kubepods/besteffort/pod1/2\n1:name=systemd:/\n0::/kubepods\n"
	tests := []struct {
		name       string
		version    string
		membership string
		dirs       map[string]string // where the files are instead
		changes    map[string]string
		time       time.Duration
		memory     int64
	}{
		{name: "v2 in a namespace", version: "v2", membership: "0::/\n", time: v2Time, memory: v2WorkingSet},
		{name: "v2 without /proc", version: "v2", time: v2Time, memory: v2WorkingSet},
		{
			name: "v2 of the node", version: "v2", membership: "0::/kubepods.slice/a.scope\n", dirs: map[string]string{".": "kubepods.slice/a.scope"},
			changes: map[string]string{"cpu.stat": "usage_usec 1\n"}, time: v2Time, memory: v2WorkingSet,
		},
		{name: "v2 outside of the namespace", version: "v2", membership: "0::/../../other\n", time: v2Time, memory: v2WorkingSet},
		{name: "v2 of the whole machine", version: "v2", membership: "0::/\n", changes: map[string]string{"cgroup.type": ""}, time: unknown, memory: unknown},
		{name: "v2 without a memory controller", version: "v2", changes: map[string]string{"memory.current": "", "memory.stat": ""}, time: v2Time, memory: unknown},
		{name: "v2 in another order", version: "v2", changes: map[string]string{"cpu.stat": "user_usec 1\nusage_usec 2"}, time: 2 * time.Microsecond, memory: v2WorkingSet},
		{name: "v2 just after a reclaim", version: "v2", changes: map[string]string{"memory.current": "4096\n"}, time: v2Time, memory: 0},
		{name: "v1", version: "v1", membership: onNode, time: v1Time, memory: v1WorkingSet},
		{name: "v1 outside of the namespace", version: "v1", membership: "2:cpuacct:/../memory\n4:memory:/..\n", time: v1Time, memory: v1WorkingSet},
		{name: "v1 without /proc", version: "v1", time: v1Time, memory: v1WorkingSet},
		{name: "v1 with processors and their time together", version: "v1", dirs: map[string]string{"cpuacct": "cpu,cpuacct"}, time: v1Time, memory: v1WorkingSet},
		{name: "v1 the other way round", version: "v1", dirs: map[string]string{"cpuacct": "cpuacct,cpu"}, time: v1Time, memory: v1WorkingSet},
		{
			name: "v1 of the node", version: "v1", membership: onNode,
			dirs:    map[string]string{"cpuacct": "cpuacct/kubepods/besteffort/pod1/2", "memory": "memory/kubepods/besteffort/pod1/2"},
			changes: map[string]string{"cpuacct/cpuacct.usage": "1\n", "cpuacct/release_agent": "\n"}, time: v1Time, memory: v1WorkingSet,
		},
		{
			name: "v1 of the whole machine", version: "v1", membership: "2:cpuacct,memory:/\n",
			changes: map[string]string{"cpuacct/release_agent": "\n", "memory/release_agent": "\n"}, time: unknown, memory: unknown,
		},
		{name: "v1 without memory.stat", version: "v1", changes: map[string]string{"memory/memory.stat": ""}, time: v1Time, memory: unknown},
		{name: "v1 with the memory of the group alone", version: "v1", changes: map[string]string{"memory/memory.stat": "inactive_file 3\n"}, time: v1Time, memory: unknown},
		{name: "nothing mounted", version: "none", membership: onNode, time: unknown, memory: unknown},
		{
			name: "no numbers", version: "v2", time: unknown, memory: unknown,
			changes: map[string]string{"cpu.stat": "usage_usec many\n", "memory.current": "max\n"},
		},
		{
			name: "odd numbers", version: "v2", time: unknown, memory: unknown,
			changes: map[string]string{"cpu.stat": "usage_usec -1\nusage_usec 1\n", "memory.stat": "inactive_file 99999999999999999999\n"},
		},
		{name: "more than 285 years", version: "v2", time: unknown, memory: v2WorkingSet, changes: map[string]string{"cpu.stat": "usage_usec 9007199254740993\n"}},
		{
			name: "odd lines", version: "v2", membership: "\n::\n0\n0:x\n0::no/slash\n", time: unknown, memory: unknown,
			changes: map[string]string{"cpu.stat": "\nusage_usec\nusage_usec_more 7\n usage_usec 7\n", "memory.current": "\n"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var root fs.FS = fstest.MapFS{}
			if tt.version != "none" {
				root = files(t, tt.version, maps.Clone(tt.dirs), tt.changes)
			}
			c := OpenCgroup(root, []byte(tt.membership))
			used, known := c.cpuTime()
			if !known {
				used = unknown
			}
			memory, known := c.workingSet()
			if !known {
				memory = unknown
			}
			if used != tt.time || memory != tt.memory {
				t.Errorf("%v and %d bytes, want %v and %d", used, memory, tt.time, tt.memory)
			}
		})
	}
	if _, known := (Cgroup{}).cpuTime(); known {
		t.Error("the zero value knows a time")
	}
	if _, known := (Cgroup{}).workingSet(); known {
		t.Error("the zero value knows a memory")
	}
}

// TestOwnCgroup reads whatever this machine has: it may be unknown, but what is known has to be of this process.
func TestOwnCgroup(t *testing.T) {
	c := OwnCgroup()
	used, known := c.cpuTime()
	t.Logf("time %v, known %v", used, known)
	if known && used <= 0 {
		t.Errorf("this process has used %v", used)
	}
	memory, known := c.workingSet()
	t.Logf("memory %d, known %v", memory, known)
	if known && memory <= 0 {
		t.Errorf("this process has %d bytes", memory)
	}
}

func FuzzOpenCgroup(f *testing.F) {
	f.Add([]byte("0::/\n"), []byte("usage_usec 1\n"))
	f.Add([]byte("4:cpu,cpuacct:/a/../b:c\n"), []byte("inactive_file 1\n"))
	f.Fuzz(func(t *testing.T, membership, text []byte) {
		root := fstest.MapFS{}
		for _, name := range []string{"cgroup.type", "cpu.stat", "memory.current", "memory.stat", "cpuacct/cpuacct.usage"} {
			root[name] = &fstest.MapFile{Data: text}
		}
		c := OpenCgroup(root, membership)
		if used, known := c.cpuTime(); used < 0 || !known && used != 0 {
			t.Errorf("%v, %v", used, known)
		}
		if bytes, known := c.workingSet(); bytes < 0 || !known && bytes != 0 {
			t.Errorf("%d, %v", bytes, known)
		}
	})
}
