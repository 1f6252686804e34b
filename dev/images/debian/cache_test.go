package debian

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// repository is an apt repository in a folder, with apt told to use nothing else.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) repository {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "apt.conf")
	write(t, filepath.Join(dir, "sources.list"), "deb [trusted=yes] copy:"+dir+" ./\n")
	write(t, config, fmt.Sprintf("Dir::Etc::SourceList %q;\nDir::Etc::SourceParts \"-\";\nDir::Etc::Parts \"-\";\n",
		filepath.Join(dir, "sources.list")))
	t.Setenv("APT_CONFIG", config)
	return repository{t: t, dir: dir}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// add builds a package that holds one file, /usr/share/NAME, and lists it.
func (r repository) add(name, version, relations string) {
	r.t.Helper()
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: nobody <nobody@example.org>\n%sDescription: test\n",
		name, version, debArch(), relations)
	source := filepath.Join(r.t.TempDir(), name)
	write(r.t, filepath.Join(source, "DEBIAN/control"), control)
	write(r.t, filepath.Join(source, "usr/share", name), name+" "+version)
	file := fmt.Sprintf("%s_%s_%s.deb", name, version, debArch())
	if out, err := exec.Command("dpkg-deb", "--build", source, filepath.Join(r.dir, file)).CombinedOutput(); err != nil {
		r.t.Fatalf("dpkg-deb: %v: %s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(r.dir, file))
	if err != nil {
		r.t.Fatal(err)
	}
	index, err := os.OpenFile(filepath.Join(r.dir, "Packages"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		r.t.Fatal(err)
	}
	defer index.Close()
	if _, err := fmt.Fprintf(index, "%sFilename: ./%s\nSize: %d\nSHA256: %x\n\n", control, file, len(data), sha256.Sum256(data)); err != nil {
		r.t.Fatal(err)
	}
}

// debArch is Debian's word for the architecture, where the tests run.
func debArch() string {
	if runtime.GOARCH == "arm" {
		return "armhf"
	}
	return runtime.GOARCH
}

func names(closure []Package) []string {
	var names []string
	for _, p := range closure {
		names = append(names, p.Name())
	}
	return names
}

// needTools ends a test where the machine is not Debian, having checked that a user is told so.
func needTools(t *testing.T) bool {
	t.Helper()
	if len(MissingTools()) == 0 {
		return true
	}
	_, err := NewCache(t.TempDir()).Closure(t.Context(), []string{"cow"})
	if err == nil || !strings.Contains(err.Error(), "this machine lacks") {
		t.Errorf("without apt: got %v", err)
	}
	return false
}

func TestClosure(t *testing.T) {
	if !needTools(t) {
		return
	}
	repo := newRepository(t)
	repo.add("cow", "1.0", "Depends: grass (>= 2)\nRecommends: farmer\n")
	repo.add("grass", "2.1", "")
	repo.add("farmer", "1", "")
	cache := NewCache(t.TempDir())

	closure, err := cache.Closure(t.Context(), []string{"cow"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(closure), []string{"cow", "grass"}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	contents, err := closure[0].Contents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, contents, "./usr/share/cow"); got != "cow 1.0" {
		t.Errorf("contents: got %q", got)
	}
}

func TestClosure_StaysUntilAFileIsLost(t *testing.T) {
	if !needTools(t) {
		return
	}
	repo := newRepository(t)
	repo.add("cow", "1.0", "")
	cache := NewCache(t.TempDir())
	first, err := cache.Closure(t.Context(), []string{"cow"})
	if err != nil {
		t.Fatal(err)
	}

	// Debian moves on, and drops the old version from its pool.
	if err := os.Remove(filepath.Join(repo.dir, "Packages")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(repo.dir, filepath.Base(first[0].File))); err != nil {
		t.Fatal(err)
	}
	repo.add("cow", "2.0", "")
	second, err := cache.Closure(t.Context(), []string{"cow"})
	if err != nil || !slices.Equal(first, second) {
		t.Fatalf("got %v, %v; want what there was: %v", second, err, first)
	}

	if err := os.Remove(first[0].File); err != nil {
		t.Fatal(err)
	}
	third, err := cache.Closure(t.Context(), []string{"cow"})
	if err != nil || len(third) != 1 || !strings.Contains(third[0].File, "cow_2.0_") {
		t.Errorf("with the file lost: got %v, %v; want version 2.0", third, err)
	}
}

func TestClosure_ManyAtOnce(t *testing.T) {
	if !needTools(t) {
		return
	}
	newRepository(t).add("cow", "1.0", "")
	dir := t.TempDir()
	failures := make(chan error)
	for range 3 {
		// A cache each, as processes have them.
		go func() {
			_, err := NewCache(dir).Closure(t.Context(), []string{"cow"})
			failures <- err
		}()
	}
	for range 3 {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
}

func TestClosure_NothingDownloaded(t *testing.T) {
	if !needTools(t) {
		return
	}
	repo := newRepository(t)
	repo.add("cow", "1.0", "")
	// apt uses packages of a file: source where they are, and puts none into its archive.
	write(t, filepath.Join(repo.dir, "sources.list"), "deb [trusted=yes] file:"+repo.dir+" ./\n")
	_, err := NewCache(t.TempDir()).Closure(t.Context(), []string{"cow"})
	if err == nil || !strings.Contains(err.Error(), "downloaded nothing") {
		t.Errorf("got %v", err)
	}
}

func TestClosure_UnknownPackage(t *testing.T) {
	if !needTools(t) {
		return
	}
	newRepository(t).add("cow", "1.0", "")
	_, err := NewCache(t.TempDir()).Closure(t.Context(), []string{"unicorn"})
	if err == nil || !strings.Contains(err.Error(), "packages unicorn: apt-get install") {
		t.Errorf("got %v", err)
	}
}

func TestContents_NotAPackage(t *testing.T) {
	if !needTools(t) {
		return
	}
	file := filepath.Join(t.TempDir(), "cow_1_all.deb")
	write(t, file, "moo")
	if _, err := (Package{File: file}).Contents(t.Context()); err == nil || !strings.Contains(err.Error(), "package cow: dpkg-deb") {
		t.Errorf("got %v", err)
	}
}

func readFile(t *testing.T, archive io.Reader, name string) string {
	t.Helper()
	in := tar.NewReader(archive)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("%s is not in the package", name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == name {
			data, err := io.ReadAll(in)
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
	}
}
