package rootfs

import (
	"fmt"
	"os"
)

// Unpack writes the tree into dir, which must exist and be empty, with modes but without owners, so that it needs no privilege.
// Nothing is written outside dir, whatever the tree's links say.
func (t *Tree) Unpack(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() // nothing is buffered in a directory handle
	for _, name := range t.Names() {
		if err := unpackOne(root, name, t.entries[name]); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
	}
	return nil
}

func unpackOne(root *os.Root, name string, e *entry) error {
	switch e.kind {
	case kindDir:
		// Always writable by us: what is below comes later.
		return root.Mkdir(name, 0o755)
	case kindSymlink:
		return root.Symlink(e.target, name)
	default:
		if err := root.WriteFile(name, e.data, os.FileMode(e.mode&0o777)); err != nil {
			return err
		}
		return root.Chtimes(name, Epoch, Epoch)
	}
}
