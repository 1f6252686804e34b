package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Epoch is the modification time of every entry. It is not zero: some programs take the year 1970 for "unset".
var Epoch = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// Merge adds the contents of a tar stream, for example that of a Debian package. On an error the tree is half merged and of
// no further use.
func (t *Tree) Merge(r io.Reader) error {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if err := t.mergeOne(h, in); err != nil {
			return err
		}
	}
}

func (t *Tree) mergeOne(h *tar.Header, body io.Reader) error {
	e := &entry{mode: h.Mode & 0o7777, uid: h.Uid, gid: h.Gid}
	switch h.Typeflag {
	case tar.TypeDir:
		e.kind = kindDir
	case tar.TypeSymlink:
		e.kind, e.mode, e.target = kindSymlink, 0o777, h.Linkname
	case tar.TypeReg:
		data, err := io.ReadAll(body)
		if err != nil {
			return fmt.Errorf("read archive: %s: %w", h.Name, err)
		}
		e.kind, e.data = kindFile, data
	case tar.TypeLink:
		return t.hardLink(h.Name, h.Linkname)
	default:
		return fmt.Errorf("%s: cannot hold an entry of tar type %q", h.Name, h.Typeflag)
	}
	return t.add(h.Name, e)
}

func (t *Tree) hardLink(name, target string) error {
	real, err := t.resolve(target, keepLast)
	if err != nil {
		return err
	}
	e := t.entries[real]
	if e == nil || e.kind != kindFile {
		return fmt.Errorf("%s: hard link to %s, which is no file", name, target)
	}
	return t.add(name, e)
}

// WriteTo writes the tree as a tar stream: a layer.
func (t *Tree) WriteTo(w io.Writer) (int64, error) {
	counted := &countingWriter{w: w}
	out := tar.NewWriter(counted)
	firstName := map[*entry]string{}
	for _, name := range t.Names() {
		e := t.entries[name]
		h := header(name, e)
		if first, again := firstName[e]; again {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		}
		if err := out.WriteHeader(h); err != nil {
			return counted.n, fmt.Errorf("write %s: %w", name, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := out.Write(e.data); err != nil {
				return counted.n, fmt.Errorf("write %s: %w", name, err)
			}
		}
		firstName[e] = name
	}
	return counted.n, out.Close()
}

func header(name string, e *entry) *tar.Header {
	h := &tar.Header{Name: name, Mode: e.mode, Uid: e.uid, Gid: e.gid, ModTime: Epoch}
	switch e.kind {
	case kindDir:
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(name, "/")+"/"
	case kindSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.target
	case kindFile:
		h.Typeflag, h.Size = tar.TypeReg, int64(len(e.data))
	}
	return h
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
