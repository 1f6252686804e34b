package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const mountpoint = "/sys/fs/cgroup"

// Make makes the group called name, an absolute path of any depth, in every hierarchy. It may exist.
func Make(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := makeIn(root, name); err != nil {
			return err
		}
	}
	return nil
}

// Remove removes the group and all below it from every hierarchy. It fails while a process is in one of them.
func Remove(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := removeTree(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	return nil
}

// hierarchies lists where groups can be made.
func hierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(mountpoint, "cgroup.controllers")); err == nil {
		return []string{mountpoint}, nil
	}
	entries, err := os.ReadDir(mountpoint)
	if err != nil {
		return nil, err
	}
	var roots []string
	for _, e := range entries {
		if e.IsDir() { // cpu and cpuacct may be links to one and the same
			roots = append(roots, filepath.Join(mountpoint, e.Name()))
		}
	}
	return roots, nil
}

func makeIn(root, name string) error {
	path := root
	for element := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		parent := path
		path = filepath.Join(path, element)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		// A new cpuset of version 1 is empty, and nothing may run in it or below.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inherit(filepath.Join(parent, file), filepath.Join(path, file)); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit copies a setting that the parent has.
func inherit(parent, child string) error {
	value, err := os.ReadFile(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(child, value, 0o644)
}

// removeTree removes the innermost first. The files in a control group are no entries of their own: only rmdir removes it.
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
		if err := syscall.Rmdir(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &fs.PathError{Op: "rmdir", Path: dirs[i], Err: err}
		}
	}
	return nil
}
