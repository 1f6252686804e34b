package oci

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/dragonchain/dc-provider/dev/images/rootfs"
)

func image(t *testing.T) Image {
	t.Helper()
	root := rootfs.New()
	if err := root.File("/bin/moo", 0o755, []byte("moo")); err != nil {
		t.Fatal(err)
	}
	return Image{
		Name: "dragonchain/cow:dev",
		Root: root,
		Config: v1.Config{
			Entrypoint: []string{"/bin/moo"},
			Cmd:        []string{"-x"},
			Env:        []string{"PATH=/bin"},
			User:       "1000:1000",
			WorkingDir: "/bin",
		},
		History: "a cow",
	}
}

// write returns the archive and its digest.
func writeArchive(t *testing.T, img Image) ([]byte, v1.Hash) {
	t.Helper()
	var out bytes.Buffer
	digest, err := Write(&out, img)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), digest
}

func TestWrite_SameImageSameBytes(t *testing.T) {
	first, digest := writeArchive(t, image(t))
	second, again := writeArchive(t, image(t))
	if digest != again || !bytes.Equal(first, second) {
		t.Errorf("two builds differ: %s and %s", digest, again)
	}
}

func TestWrite_IsADockerArchive(t *testing.T) {
	archive, _ := writeArchive(t, image(t))
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }
	tag, err := name.NewTag("dragonchain/cow:dev")
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.Image(opener, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Errorf("invalid image: %v", err)
	}
	checkImage(t, img)
}

func TestWrite_IsAnImageLayout(t *testing.T) {
	archive, digest := writeArchive(t, image(t))
	dir := t.TempDir()
	extract(t, archive, dir)
	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	img, err := path.Image(digest)
	if err != nil {
		t.Fatal(err)
	}
	// Fast: the full check takes every layer for gzip. The archive test above does it on the same blobs.
	if err := validate.Image(img, validate.Fast); err != nil {
		t.Errorf("invalid image: %v", err)
	}
	checkImage(t, img)

	index, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"io.containerd.image.name":          "docker.io/dragonchain/cow:dev",
		"org.opencontainers.image.ref.name": "dev",
	}
	if got := manifest.Manifests[0].Annotations; !reflect.DeepEqual(got, want) {
		t.Errorf("annotations: got %v, want %v", got, want)
	}
}

// checkImage compares an image that was read back with what image made.
func checkImage(t *testing.T, img v1.Image) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if want := image(t).Config; !reflect.DeepEqual(config.Config, want) {
		t.Errorf("config: got %+v, want %+v", config.Config, want)
	}
	if config.OS != "linux" || config.Architecture == "" || !config.Created.Equal(rootfs.Epoch) {
		t.Errorf("config: got os %q, architecture %q, created %s", config.OS, config.Architecture, config.Created)
	}
	if len(config.History) != 1 || config.History[0].CreatedBy != "a cow" {
		t.Errorf("history: got %+v", config.History)
	}
	files := tar.NewReader(mutate.Extract(img))
	for {
		h, err := files.Next()
		if err != nil {
			t.Fatalf("bin/moo is not in the image: %v", err)
		}
		if h.Name == "bin/moo" {
			return
		}
	}
}

func extract(t *testing.T, archive []byte, dir string) {
	t.Helper()
	in := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNames(t *testing.T) {
	tests := []struct{ name, long, tag string }{
		{"dragonchain/cow:dev", "docker.io/dragonchain/cow:dev", "dev"},
		{"cow:1", "docker.io/library/cow:1", "1"},
		{"registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10", "3.10"},
		{"localhost/cow:1", "localhost/cow:1", "1"},
		{"host:5000/cow", "host:5000/cow", "latest"},
	}
	for _, tt := range tests {
		if got := qualify(tt.name); got != tt.long {
			t.Errorf("qualify(%q) = %q, want %q", tt.name, got, tt.long)
		}
		if got := tagOf(tt.name); got != tt.tag {
			t.Errorf("tagOf(%q) = %q, want %q", tt.name, got, tt.tag)
		}
	}
}
