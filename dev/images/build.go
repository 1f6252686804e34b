package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dragonchain/dc-provider/dev/images/debian"
	"github.com/dragonchain/dc-provider/dev/images/oci"
	"github.com/dragonchain/dc-provider/dev/images/rootfs"
)

// builder makes images out of recipes.
type builder struct {
	repository string // the root of the source tree
	out        string // where archives go
	packages   *debian.Cache
	// program is the hash of this program: a changed builder builds everything anew.
	program string
}

// shortName is the last part of an image's name without the tag.
func shortName(image string) string {
	name := image[strings.LastIndexByte(image, '/')+1:]
	name, _, _ = strings.Cut(name, ":")
	return name
}

// inputs is all that goes into an image, read from disk.
type inputs struct {
	closure  []debian.Package
	files    map[string][]byte // by path in the image
	binaries map[string][]byte
}

// build makes the archive of r, unless the one that is there was made from the same inputs.
func (b builder) build(ctx context.Context, r recipe) (result, error) {
	res, err := b.tryBuild(ctx, r)
	if err != nil {
		return result{}, fmt.Errorf("image %s: %w", r.name, err)
	}
	return res, nil
}

func (b builder) tryBuild(ctx context.Context, r recipe) (result, error) {
	in, err := b.gather(ctx, r)
	if err != nil {
		return result{}, err
	}
	res := result{
		Name:    r.name,
		Inputs:  b.hash(r, in),
		archive: filepath.Join(b.out, shortName(r.name)+".tar"),
	}
	if old, ok := readResult(res.archive); ok && old.Inputs == res.Inputs {
		old.archive, old.unchanged = res.archive, true
		return old, nil
	}
	root, err := assemble(ctx, r, in)
	if err != nil {
		return result{}, err
	}
	if err := b.write(&res, r, root); err != nil {
		return result{}, err
	}
	return res, nil
}

// gather reads what goes into the image.
func (b builder) gather(ctx context.Context, r recipe) (inputs, error) {
	in := inputs{files: map[string][]byte{}, binaries: map[string][]byte{}}
	for _, f := range r.files {
		data, err := os.ReadFile(b.inRepository(f.from))
		if errors.Is(err, fs.ErrNotExist) && f.hint != "" {
			return in, fmt.Errorf("%s is missing: run %q first", f.from, f.hint)
		}
		if err != nil {
			return in, err
		}
		in.files[f.path] = data
	}
	for path, pkg := range r.binaries {
		data, err := b.compile(ctx, pkg)
		if err != nil {
			return in, err
		}
		in.binaries[path] = data
	}
	if len(r.packages) == 0 {
		return in, nil
	}
	closure, err := b.packages.Closure(ctx, r.packages)
	if err != nil {
		return in, err
	}
	in.closure = slices.DeleteFunc(closure, func(p debian.Package) bool { return slices.Contains(r.leaveOut, p.Name()) })
	return in, nil
}

func (b builder) inRepository(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(b.repository, file)
}

// compile builds a static Go program that is the same whatever machine it is built on.
func (b builder) compile(ctx context.Context, pkg string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "compile-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "program")
	folder := b.repository
	if _, err := os.Stat(filepath.Join(b.repository, pkg, "go.mod")); err == nil {
		folder, pkg = filepath.Join(b.repository, pkg), "."
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", binary, pkg)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build %s: %w: %s", pkg, err, strings.TrimSpace(string(out)))
	}
	return os.ReadFile(binary)
}

// hash sums up everything that the archive depends on.
func (b builder) hash(r recipe, in inputs) string {
	h := sha256.New()
	add := func(parts ...string) {
		for _, p := range parts {
			fmt.Fprintf(h, "%d:%s", len(p), p)
		}
	}
	add(b.program, r.name) // the rest of the recipe is part of the program
	for _, p := range in.closure {
		add(filepath.Base(p.File), p.SHA256)
	}
	for _, contents := range []map[string][]byte{in.files, in.binaries} {
		for _, path := range slices.Sorted(maps.Keys(contents)) {
			add(path, string(contents[path]))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// write writes archive and result. Both appear whole or not at all, so an interrupted build is done again, not used.
func (b builder) write(res *result, r recipe, root *rootfs.Tree) error {
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(b.out, "building-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // after the rename there is nothing left to remove
	defer tmp.Close()           // the close that counts is below
	digest, err := oci.Write(tmp, oci.Image{Name: r.name, Root: root, Config: r.config, History: "dev/images " + shortName(r.name)})
	if err != nil {
		return err
	}
	info, err := tmp.Stat()
	if err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Chmod(tmp.Name(), 0o644); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), res.archive); err != nil {
		return err
	}
	res.Digest, res.Bytes = digest.String(), info.Size()
	return writeResult(*res)
}
