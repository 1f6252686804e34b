package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/dragonchain/dc-provider/dev/images/debian"
	"github.com/dragonchain/dc-provider/dev/images/rootfs"
)

func testBuilder(t *testing.T) builder {
	t.Helper()
	dir := t.TempDir()
	return builder{
		repository: dir,
		out:        filepath.Join(dir, "out"),
		packages:   debian.NewCache(filepath.Join(dir, "cache")),
		program:    "test",
	}
}

func cow() recipe {
	return recipe{
		name:   "dragonchain/cow:dev",
		files:  []file{{path: "/cow", from: "bin/cow", mode: 0o755, hint: "make cow"}},
		dirs:   []string{"/tmp"},
		config: v1.Config{Entrypoint: []string{"/cow"}, User: "7:8"},
	}
}

func (b builder) put(t *testing.T, file, text string) {
	t.Helper()
	file = filepath.Join(b.repository, file)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBuild_OnlyWhatChanged(t *testing.T) {
	b := testBuilder(t)
	b.put(t, "bin/cow", "moo")
	first := mustBuild(t, b)
	if first.unchanged || first.Digest == "" || first.Bytes == 0 {
		t.Fatalf("first build: got %+v", first)
	}
	if again := mustBuild(t, b); !again.unchanged || again.Digest != first.Digest {
		t.Errorf("same inputs: got %+v", again)
	}
	b.put(t, "bin/cow", "MOO")
	if changed := mustBuild(t, b); changed.unchanged || changed.Digest == first.Digest {
		t.Errorf("changed file: got %+v", changed)
	}
	b.put(t, "bin/cow", "moo")
	if back := mustBuild(t, b); back.unchanged || back.Digest != first.Digest {
		t.Errorf("the first file again: got %+v, want digest %s", back, first.Digest)
	}
	b.program = "newer"
	if newer := mustBuild(t, b); newer.unchanged {
		t.Error("a changed builder took the old archive")
	}
}

func TestBuild_BrokenArchiveIsMadeAnew(t *testing.T) {
	b := testBuilder(t)
	b.put(t, "bin/cow", "moo")
	first := mustBuild(t, b)
	for name, damage := range map[string]func() error{
		"archive cut short": func() error { return os.Truncate(first.archive, 100) },
		"archive gone":      func() error { return os.Remove(first.archive) },
		"record not JSON":   func() error { return os.WriteFile(resultFile(first.archive), []byte("{"), 0o644) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if res := mustBuild(t, b); res.unchanged || res.Digest != first.Digest {
			t.Errorf("%s: got %+v", name, res)
		}
	}
	left, err := filepath.Glob(filepath.Join(b.out, "building-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func mustBuild(t *testing.T, b builder) result {
	t.Helper()
	res, err := b.build(t.Context(), cow())
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestBuild_MissingBinarySaysHowToMakeIt(t *testing.T) {
	_, err := testBuilder(t).build(t.Context(), cow())
	if err == nil || !strings.Contains(err.Error(), `bin/cow is missing: run "make cow" first`) {
		t.Errorf("got %v", err)
	}
}

func TestAssemble_DirectoriesBelongToTheUser(t *testing.T) {
	root, err := assemble(t.Context(), cow(), inputs{files: map[string][]byte{"/cow": []byte("moo")}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := root.Names(), []string{"cow", "tmp"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	bad := cow()
	bad.config.User = "nobody"
	if _, err := assemble(t.Context(), bad, inputs{files: map[string][]byte{}}); err == nil {
		t.Error("a user that is no number was accepted")
	}
}

func TestOnlyForPeople(t *testing.T) {
	for name, want := range map[string]bool{
		"usr/share/man/man1/cowsay.1.gz":    true,
		"usr/share/doc/cowsay/README":       true,
		"usr/share/doc/cowsay":              false,
		"usr/share/doc/cowsay/copyright":    false,
		"usr/share/cowsay/cows/default.cow": false,
		"usr/lib/locale/C.utf8/LC_CTYPE":    false,
	} {
		if got := onlyForPeople(name); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestChoose(t *testing.T) {
	all := recipes()
	if got, err := choose(all, nil); err != nil || len(got) != len(all) {
		t.Errorf("no name: got %d recipes, %v", len(got), err)
	}
	got, err := choose(all, []string{"example-cowsay", "dragonchain/dc-provider:dev"})
	if err != nil || len(got) != 2 || shortName(got[0].name) != "example-cowsay" || shortName(got[1].name) != "dc-provider" {
		t.Errorf("two names: got %v, %v", got, err)
	}
	if _, err := choose(all, []string{"cow"}); err == nil || !strings.Contains(err.Error(), "there are dc-provider, example-hello") {
		t.Errorf("unknown name: got %v", err)
	}
}

func TestAddNew_OnlyWhatWasNotUnpacked(t *testing.T) {
	tree := rootfs.New()
	if err := tree.File("usr/lib/a.py", 0o644, []byte("a")); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := tree.Unpack(dir); err != nil {
		t.Fatal(err)
	}
	before := tree.Names()
	cache := filepath.Join(dir, "usr/lib/__pycache__")
	if err := os.Mkdir(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cache, "a.pyc"), []byte("code"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := addNew(tree, dir, before); err != nil {
		t.Fatal(err)
	}
	if data, err := tree.ReadFile("usr/lib/__pycache__/a.pyc"); err != nil || string(data) != "code" {
		t.Errorf("got %q, %v", data, err)
	}
}
