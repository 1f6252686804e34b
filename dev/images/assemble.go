package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dragonchain/dc-provider/dev/images/debian"
	"github.com/dragonchain/dc-provider/dev/images/rootfs"
)

// assemble puts the root file system together.
func assemble(ctx context.Context, r recipe, in inputs) (*rootfs.Tree, error) {
	t := rootfs.New()
	if len(in.closure) > 0 {
		if err := mergePackages(ctx, t, in.closure); err != nil {
			return nil, err
		}
	}
	for _, f := range r.files {
		if err := t.File(f.path, f.mode, in.files[f.path]); err != nil {
			return nil, err
		}
	}
	for path, data := range in.binaries {
		if err := t.File(path, 0o755, data); err != nil {
			return nil, err
		}
	}
	if err := addDirs(t, r); err != nil {
		return nil, err
	}
	if r.finish == nil {
		return t, nil
	}
	return t, r.finish(ctx, t)
}

// mergePackages lays out the root as Debian has it since release 12, where /bin, /lib and so on are links into /usr, and
// puts the packages in, without what only a person reads.
func mergePackages(ctx context.Context, t *rootfs.Tree, closure []debian.Package) error {
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := t.Dir("usr/"+dir, 0o755, 0, 0); err != nil {
			return err
		}
		if err := t.Symlink(dir, "usr/"+dir); err != nil {
			return err
		}
	}
	for _, p := range closure {
		contents, err := p.Contents(ctx)
		if err != nil {
			return err
		}
		if err := t.Merge(contents); err != nil {
			return fmt.Errorf("package %s: %w", p.Name(), err)
		}
	}
	t.RemoveFunc(onlyForPeople)
	return nil
}

// onlyForPeople says that no program needs the file. Licences stay: they must go with the programs.
func onlyForPeople(name string) bool {
	for _, dir := range []string{"usr/share/man/", "usr/share/info/", "usr/share/locale/", "usr/share/lintian/", "usr/share/bug/"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	doc, isDoc := strings.CutPrefix(name, "usr/share/doc/")
	return isDoc && strings.Contains(doc, "/") && filepath.Base(doc) != "copyright"
}

// addDirs makes the directories that the image's user may write to.
func addDirs(t *rootfs.Tree, r recipe) error {
	uid, gid, err := owner(r.config.User)
	if err != nil {
		return err
	}
	for _, dir := range r.dirs {
		if err := t.Dir(dir, 0o755, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

func owner(user string) (uid, gid int, err error) {
	u, g, _ := strings.Cut(user, ":")
	if uid, err = strconv.Atoi(u); err != nil {
		return 0, 0, fmt.Errorf("user %q: %w", user, err)
	}
	if gid, err = strconv.Atoi(g); err != nil {
		return 0, 0, fmt.Errorf("user %q: %w", user, err)
	}
	return uid, gid, nil
}
