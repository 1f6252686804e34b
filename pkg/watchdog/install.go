package watchdog

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Program is the file name of the installed watchdog.
const Program = "dc-watchdog"

// Install copies the running program to dir/dc-watchdog, so that an init container with nothing in it but this binary can hand
// it to any image. The file appears whole or not at all.
func Install(dir string) (path string, err error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("install: %w", err)
	}
	defer self.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("install: %w", err)
	}
	temp, err := os.CreateTemp(dir, "."+Program+"-*")
	if err != nil {
		return "", fmt.Errorf("install: %w", err)
	}
	path = filepath.Join(dir, Program)
	if err := fill(temp, self, path); err != nil {
		// What cannot be removed is an odd name that nobody runs.
		_ = os.Remove(temp.Name())
		return "", fmt.Errorf("install %s: %w", path, err)
	}
	return path, nil
}

// fill copies from into temp, makes that executable for everybody, and gives it its name.
func fill(temp *os.File, from io.Reader, name string) error {
	_, err := io.Copy(temp, from)
	if err == nil {
		err = temp.Chmod(0o755)
	}
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(temp.Name(), name)
	}
	return err
}
