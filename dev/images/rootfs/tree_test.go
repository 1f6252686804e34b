package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// archive makes a tar stream; the body of a file is its name.
func archive(t *testing.T, headers ...tar.Header) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		body := ""
		if h.Typeflag == tar.TypeReg {
			body = h.Name
			h.Size = int64(len(body))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755} }
func reg(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644} }
func sym(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}
}
func hard(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}
}

func TestMerge(t *testing.T) {
	tests := []struct {
		name    string
		entries []tar.Header
		want    []string
	}{
		{
			name:    "a linked directory takes what a package puts under its old name",
			entries: []tar.Header{dir("./usr/lib/"), sym("./lib", "usr/lib"), dir("./lib/"), dir("./lib/x/"), reg("./lib/x/ld.so")},
			want:    []string{"lib", "usr", "usr/lib", "usr/lib/x", "usr/lib/x/ld.so"},
		},
		{
			name:    "an absolute link starts at the root of the tree",
			entries: []tar.Header{dir("var/run/"), sym("run", "/var/run"), reg("run/pid")},
			want:    []string{"run", "var", "var/run", "var/run/pid"},
		},
		{
			name:    "a link may climb inside the tree",
			entries: []tar.Header{dir("a/b/"), dir("c/"), sym("a/b/up", "../../c"), reg("a/b/up/f")},
			want:    []string{"a", "a/b", "a/b/up", "c", "c/f"},
		},
		{
			name:    "missing parents are made",
			entries: []tar.Header{reg("/x/y/z")},
			want:    []string{"x", "x/y", "x/y/z"},
		},
		{
			name:    "packages share directories",
			entries: []tar.Header{dir("etc/"), reg("etc/a"), dir("etc/"), reg("etc/b")},
			want:    []string{"etc", "etc/a", "etc/b"},
		},
		{
			name:    "a dangling link is kept",
			entries: []tar.Header{sym("sh", "/bin/busybox")},
			want:    []string{"sh"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := New()
			if err := tree.Merge(archive(t, tt.entries...)); err != nil {
				t.Fatal(err)
			}
			if got := tree.Names(); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMerge_Refuses(t *testing.T) {
	tests := []struct {
		name    string
		entries []tar.Header
		outside bool
		text    string
	}{
		{"a name that climbs out", []tar.Header{reg("../evil")}, true, ""},
		{"a name that climbs out from inside", []tar.Header{reg("usr/../../evil")}, true, ""},
		{"a name that climbs and comes back", []tar.Header{reg("usr/../evil")}, true, ""},
		{"a link that leads out", []tar.Header{sym("up", "../.."), reg("up/evil")}, true, ""},
		{"an absolute link that climbs out", []tar.Header{sym("up", "/../x"), reg("up/evil")}, true, ""},
		{"a hard link to outside", []tar.Header{hard("evil", "../shadow")}, true, ""},
		{"links in a circle", []tar.Header{sym("a", "b"), sym("b", "a"), reg("a/f")}, false, "symbolic links"},
		{"a second file of the same name", []tar.Header{reg("f"), reg("f")}, false, "exists already"},
		{"a second file behind a link", []tar.Header{dir("usr/"), sym("u", "usr"), reg("usr/f"), reg("u/f")}, false, "exists already"},
		{"a directory over a file", []tar.Header{reg("f"), dir("f/")}, false, "no directory"},
		{"a file below a file", []tar.Header{reg("f"), reg("f/g")}, false, "no directory"},
		{"a hard link to nothing", []tar.Header{hard("a", "b")}, false, "no file"},
		{"a device", []tar.Header{{Typeflag: tar.TypeBlock, Name: "sda"}}, false, "tar type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := New().Merge(archive(t, tt.entries...))
			if err == nil || errors.Is(err, ErrOutside) != tt.outside || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got error %v, want one with %q, outside: %v", err, tt.text, tt.outside)
			}
		})
	}
}

func TestMerge_TruncatedArchive(t *testing.T) {
	whole, err := io.ReadAll(archive(t, reg("file")))
	if err != nil {
		t.Fatal(err)
	}
	if err := New().Merge(bytes.NewReader(whole[:514])); err == nil {
		t.Error("a file cut short was accepted")
	}
}

// layer builds a tree from steps and returns its bytes.
func layer(t *testing.T, steps ...func(*Tree) error) []byte {
	t.Helper()
	tree := New()
	for _, step := range steps {
		if err := step(tree); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if _, err := tree.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWriteTo_SameTreeSameBytes(t *testing.T) {
	tmp := func(t *Tree) error { return t.Dir("/tmp", 0o1777, 7, 8) }
	file := func(t *Tree) error { return t.File("/a/b", 0o600, []byte("x")) }
	link := func(t *Tree) error { return t.Symlink("/c", "a/b") }
	if !bytes.Equal(layer(t, tmp, file, link), layer(t, link, file, tmp)) {
		t.Error("the order of building shows in the layer")
	}
}

func TestWriteTo_Entries(t *testing.T) {
	merge := func(tree *Tree) error {
		return tree.Merge(archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "su", Mode: 0o4755, Uid: 3, Gid: 4}, hard("su2", "su")))
	}
	tmp := func(tree *Tree) error { return tree.Dir("tmp", 0o1777, 1000, 1000) }
	in := tar.NewReader(bytes.NewReader(layer(t, merge, tmp)))

	want := []tar.Header{
		{Typeflag: tar.TypeReg, Name: "su", Mode: 0o4755, Uid: 3, Gid: 4, Size: 2},
		{Typeflag: tar.TypeLink, Name: "su2", Linkname: "su", Mode: 0o4755, Uid: 3, Gid: 4},
		{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777, Uid: 1000, Gid: 1000},
	}
	for _, w := range want {
		h, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != w.Typeflag || h.Name != w.Name || h.Linkname != w.Linkname || h.Mode != w.Mode ||
			h.Uid != w.Uid || h.Gid != w.Gid || h.Size != w.Size || !h.ModTime.Equal(Epoch) {
			t.Errorf("got %+v, want %+v", h, w)
		}
	}
	if _, err := in.Next(); err != io.EOF {
		t.Errorf("more entries than wanted: %v", err)
	}
}

func TestRemoveFunc_TakesWhatIsBelow(t *testing.T) {
	tree := New()
	for _, name := range []string{"doc/a/b", "doc-keep/c", "d"} {
		if err := tree.File(name, 0o644, nil); err != nil {
			t.Fatal(err)
		}
	}
	tree.RemoveFunc(func(name string) bool { return name == "doc" })
	if got, want := tree.Names(), []string{"d", "doc-keep", "doc-keep/c"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUnpack(t *testing.T) {
	tree := New()
	err := tree.Merge(archive(t, dir("usr/bin/"), sym("bin", "usr/bin"), reg("bin/sh"), sym("passwd", "/etc/passwd")))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := tree.Unpack(root); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(root, "bin/sh")); err != nil || string(data) != "bin/sh" {
		t.Errorf("bin/sh: got %q, %v", data, err)
	}
	if target, err := os.Readlink(filepath.Join(root, "passwd")); target != "/etc/passwd" {
		t.Errorf("passwd: got link to %q, %v", target, err)
	}
}

func TestReadFile_FollowsLinks(t *testing.T) {
	tree := New()
	if err := tree.Merge(archive(t, sym("python3", "python3.11"), reg("python3.11"))); err != nil {
		t.Fatal(err)
	}
	if data, err := tree.ReadFile("/python3"); err != nil || string(data) != "python3.11" {
		t.Errorf("got %q, %v", data, err)
	}
	if _, err := tree.ReadFile("perl"); err == nil {
		t.Error("a file that is not there was read")
	}
}
