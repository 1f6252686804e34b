package rootfs

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// maxLinks is how many symbolic links one name may lead through, as in the kernel (path_resolution(7)).
const maxLinks = 40

// ErrOutside says that a name, or a symbolic link on its way, leads out of the tree.
var ErrOutside = errors.New("leads out of the root")

// Tree is a file system under construction. Make one with New.
type Tree struct {
	// entries by clean name without a leading slash; the root is "". An entry under two names is a hard link.
	entries map[string]*entry
}

type kind byte

const (
	kindDir kind = iota
	kindFile
	kindSymlink
)

type entry struct {
	kind     kind
	mode     int64 // permission bits with setuid, setgid and sticky, as in a tar header
	uid, gid int
	data     []byte // of a file
	target   string // of a symbolic link
}

// New returns a tree that holds only the root directory.
func New() *Tree {
	return &Tree{entries: map[string]*entry{"": {kind: kindDir, mode: 0o755}}}
}

// Dir makes a directory with this mode and owner, and its missing parents with mode 0755, owned by root. If it exists, or is
// a symbolic link to a directory, the directory keeps its contents and takes the mode and the owner.
func (t *Tree) Dir(name string, mode int64, uid, gid int) error {
	return t.add(name, &entry{kind: kindDir, mode: mode, uid: uid, gid: gid})
}

// File makes a regular file owned by root. The tree keeps data; the caller must not change it afterwards.
func (t *Tree) File(name string, mode int64, data []byte) error {
	return t.add(name, &entry{kind: kindFile, mode: mode, data: data})
}

// Symlink makes a symbolic link. The target is kept as it is and need not exist.
func (t *Tree) Symlink(name, target string) error {
	return t.add(name, &entry{kind: kindSymlink, mode: 0o777, target: target})
}

// ReadFile returns the contents of a regular file, following symbolic links. The caller must not change them.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	real, err := t.resolve(name, followLast)
	if err != nil {
		return nil, err
	}
	e := t.entries[real]
	if e == nil || e.kind != kindFile {
		return nil, fmt.Errorf("%s: no such file in the tree", name)
	}
	return e.data, nil
}

// Names returns the name of every entry but the root, sorted.
func (t *Tree) Names() []string {
	return slices.Sorted(maps.Keys(t.entries))[1:]
}

// RemoveFunc drops each entry whose name drop accepts, together with what is under it.
func (t *Tree) RemoveFunc(drop func(name string) bool) {
	// Sorted names put a directory before what is in it, so a missing parent is a dropped one.
	for _, name := range t.Names() {
		if drop(name) || t.entries[parentOf(name)] == nil {
			delete(t.entries, name)
		}
	}
}

// parentOf returns the name of the directory that name is in.
func parentOf(name string) string {
	return strings.TrimPrefix(path.Dir("/"+name), "/")
}

// add puts e under name, in the directory that name's parents lead to.
func (t *Tree) add(name string, e *entry) error {
	real, err := t.resolve(name, keepLast)
	if err != nil {
		return err
	}
	if e.kind == kindDir {
		return t.addDir(name, e)
	}
	if old := t.entries[real]; old != nil {
		return fmt.Errorf("%s: exists already", name)
	}
	if err := t.makeParents(real); err != nil {
		return err
	}
	t.entries[real] = e
	return nil
}

// addDir is add for a directory, which may exist already, also behind a link: packages share directories.
func (t *Tree) addDir(name string, e *entry) error {
	real, err := t.resolve(name, followLast)
	if err != nil {
		return err
	}
	if old := t.entries[real]; old != nil {
		if old.kind != kindDir {
			return fmt.Errorf("%s: exists already and is no directory", name)
		}
		old.mode, old.uid, old.gid = e.mode, e.uid, e.gid
		return nil
	}
	if err := t.makeParents(real); err != nil {
		return err
	}
	t.entries[real] = e
	return nil
}

// makeParents makes the missing directories above real, a name without symbolic links.
func (t *Tree) makeParents(real string) error {
	for i := range real {
		if real[i] != '/' {
			continue
		}
		parent := real[:i]
		if t.entries[parent] == nil {
			t.entries[parent] = &entry{kind: kindDir, mode: 0o755}
		}
		if t.entries[parent].kind != kindDir {
			return fmt.Errorf("%s: %s is no directory", real, parent)
		}
	}
	return nil
}

type lastStep bool

const (
	keepLast   lastStep = false // the last step of a name is taken as it is
	followLast lastStep = true  // the last step is followed if it is a symbolic link
)

// resolve returns the name under which the tree holds, or would hold, what name leads to. It refuses ".." in name itself, which
// no honest package has; in the target of a symbolic link it is usual and is followed as far as the root.
func (t *Tree) resolve(name string, last lastStep) (string, error) {
	steps := strings.Split(name, "/")
	if slices.Contains(steps, "..") {
		return "", fmt.Errorf("%q: %w", name, ErrOutside)
	}
	real, links := "", 0
	for len(steps) > 0 {
		step := steps[0]
		steps = steps[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			if real == "" {
				return "", fmt.Errorf("%q: %w", name, ErrOutside)
			}
			real = parentOf(real)
			continue
		}
		next := path.Join(real, step)
		e := t.entries[next]
		if e == nil || e.kind != kindSymlink || last == keepLast && onlyDots(steps) {
			real = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%q: more than %d symbolic links", name, maxLinks)
		}
		if strings.HasPrefix(e.target, "/") {
			real = ""
		}
		steps = append(strings.Split(e.target, "/"), steps...)
	}
	return real, nil
}

// onlyDots says that no step is left that would lead further.
func onlyDots(steps []string) bool {
	return !slices.ContainsFunc(steps, func(s string) bool { return s != "" && s != "." })
}
