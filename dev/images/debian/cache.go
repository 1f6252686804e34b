package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// tools are the programs that this package runs, and the Debian package that each comes from.
var tools = []struct{ program, from string }{
	{"apt-get", "apt"},
	{"dpkg-deb", "dpkg"},
}

// Cache downloads packages once and keeps them:
//
//	state/, indexes/            apt's own state, which knows nothing of the machine's
//	closures/<hash of names>/   the packages of one closure
//	closures/<...>/record.json  what they are; written last, so a closure without it is fetched again
//	lock                        held by the process that fetches; the others wait
type Cache struct {
	dir string
}

// Package is a downloaded package.
type Package struct {
	// File is the path of the .deb.
	File string
	// SHA256 of the file, in hexadecimal.
	SHA256 string
}

// Name is the package's name, the first part of the file's.
func (p Package) Name() string {
	name, _, _ := strings.Cut(filepath.Base(p.File), "_")
	return name
}

// NewCache returns a cache in dir, which is made when first used.
func NewCache(dir string) *Cache {
	return &Cache{dir: dir}
}

// MissingTools lists what this machine lacks to fetch packages; empty on Debian.
func MissingTools() []string {
	var missing []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			missing = append(missing, fmt.Sprintf("%s (Debian package %s)", t.program, t.from))
		}
	}
	return missing
}

// Closure returns the packages called names and all that they depend on, without what they only recommend, sorted by file
// name. It asks Debian only if the cache does not hold the closure.
func (c *Cache) Closure(ctx context.Context, names []string) ([]Package, error) {
	dir := c.closureDir(names)
	closure, err := recorded(dir)
	if errors.Is(err, fs.ErrNotExist) {
		closure, err = c.fetch(ctx, dir, names)
	}
	if err != nil {
		return nil, fmt.Errorf("packages %s: %w", strings.Join(names, ", "), err)
	}
	return closure, nil
}

func (c *Cache) closureDir(names []string) string {
	sum := sha256.Sum256([]byte(strings.Join(names, " ")))
	return filepath.Join(c.dir, "closures", hex.EncodeToString(sum[:8]))
}

const recordName = "record.json"

// recorded returns the closure in dir. The error is fs.ErrNotExist if there is none, or a file of it is gone.
func recorded(dir string) ([]Package, error) {
	data, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return nil, err
	}
	var closure []Package
	if err := json.Unmarshal(data, &closure); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, recordName), err)
	}
	for i := range closure {
		// The record holds base names: the cache may have moved.
		closure[i].File = filepath.Join(dir, closure[i].File)
		if _, err := os.Stat(closure[i].File); err != nil {
			return nil, err
		}
	}
	return closure, nil
}

// fetch resolves the closure of names and downloads it into dir.
func (c *Cache) fetch(ctx context.Context, dir string, names []string) ([]Package, error) {
	if missing := MissingTools(); len(missing) > 0 {
		return nil, fmt.Errorf("this machine lacks %s", strings.Join(missing, ", "))
	}
	unlock, err := c.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if closure, err := recorded(dir); err == nil {
		return closure, nil // another process fetched it meanwhile
	}
	if err := c.prepare(dir); err != nil {
		return nil, err
	}
	download := append([]string{"install", "--download-only"}, names...)
	if c.apt(ctx, dir, download...) != nil {
		// The lists in the cache are missing, or older than Debian's pool; if it is something else, it shows again below.
		if err := c.apt(ctx, dir, "update"); err != nil {
			return nil, err
		}
		if err := c.apt(ctx, dir, download...); err != nil {
			return nil, err
		}
	}
	if err := record(dir); err != nil {
		return nil, err
	}
	return recorded(dir)
}

// lock waits until no other process fetches, and returns what ends its own turn.
func (c *Cache) lock() (unlock func(), err error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return func() { file.Close() }, nil // closing gives the lock back
}

// prepare makes apt's directories, and the empty list of installed packages that makes apt resolve the whole closure.
func (c *Cache) prepare(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for _, d := range []string{filepath.Join(c.dir, "state/lists/partial"), filepath.Join(c.dir, "indexes"), filepath.Join(dir, "partial")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(c.dir, "state/status"), nil, 0o644)
}

// record writes down which packages are in dir.
func record(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("apt-get downloaded nothing; are its sources remote?")
	}
	slices.Sort(files)
	var closure []Package
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		closure = append(closure, Package{File: filepath.Base(file), SHA256: hex.EncodeToString(sum[:])})
	}
	data, err := json.MarshalIndent(closure, "", "  ")
	if err != nil {
		return err
	}
	// Renamed into place: half a record would be taken for a broken cache.
	tmp := filepath.Join(dir, recordName+".tmp")
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, recordName))
}

// apt runs apt-get on the cache's own state, with archives as the place for packages.
func (c *Cache) apt(ctx context.Context, archives string, args ...string) error {
	dir, err := filepath.Abs(c.dir)
	if err != nil {
		return err
	}
	if archives, err = filepath.Abs(archives); err != nil {
		return err
	}
	options := []string{
		"-qq", "--yes", "--no-install-recommends",
		"-o", "Dir::State=" + filepath.Join(dir, "state"),
		"-o", "Dir::State::lists=" + filepath.Join(dir, "state/lists"),
		"-o", "Dir::State::status=" + filepath.Join(dir, "state/status"),
		"-o", "Dir::Cache=" + filepath.Join(dir, "indexes"),
		"-o", "Dir::Cache::archives=" + archives,
		"-o", "APT::Sandbox::User=root", // its usual user may not be able to enter the cache
	}
	cmd := exec.CommandContext(ctx, "apt-get", append(options, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
