package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

// A folder stands in for a hierarchy: the files that the kernel would make are made by hand, and rmdir minds only folders.
func TestMakeIn_InheritsTheCPUsAllTheWay(t *testing.T) {
	root := t.TempDir()
	for name, value := range map[string]string{"cpuset.cpus": "0-1", "cpuset.mems": "0"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time it exists
		if err := makeIn(root, "/dev-dc/node0"); err != nil {
			t.Fatal(err)
		}
	}
	for _, group := range []string{"dev-dc", "dev-dc/node0"} {
		for name, want := range map[string]string{"cpuset.cpus": "0-1", "cpuset.mems": "0"} {
			got, err := os.ReadFile(filepath.Join(root, group, name))
			if err != nil || string(got) != want {
				t.Errorf("%s/%s: %q, %v, want %q", group, name, got, err, want)
			}
		}
	}
}

func TestMakeIn_AHierarchyWithoutCPUs(t *testing.T) {
	root := t.TempDir()
	if err := makeIn(root, "/dev-dc/node0"); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Join(root, "dev-dc/node0")); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v, want an empty group", entries, err)
	}
}

func TestRemoveTree(t *testing.T) {
	root := filepath.Join(t.TempDir(), "dev-dc")
	if err := os.MkdirAll(filepath.Join(root, "node0/kubepods/pod1/container"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "node0/kubepods/pod2"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing
		if err := removeTree(root); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
}
