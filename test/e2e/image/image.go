// Package image makes container images of one Go program, without a container engine.
//
// The program is compiled statically and becomes the only file of the only layer, and the image's entrypoint. The same
// program, path and environment give the same digest; another environment gives another, which is how a test makes two
// versions of one image.
package image

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Compile builds the Go package in the folder into a static binary and returns its content.
func Compile(ctx context.Context, folder string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "compile-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // a temporary folder left over harms nobody
	binary := filepath.Join(dir, "program")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", binary, ".")
	build.Dir = folder
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %s: %w\n%s", folder, err, out)
	}
	return os.ReadFile(binary)
}

// Of makes an image in which /NAME is the program and the entrypoint, run as user 1000 with the environment.
func Of(name string, program []byte, env ...string) (v1.Image, error) {
	var layer bytes.Buffer
	files := tar.NewWriter(&layer)
	header := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg}
	if err := files.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := files.Write(program); err != nil {
		return nil, err
	}
	if err := files.Close(); err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	base, err := mutate.ConfigFile(base, &v1.ConfigFile{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       v1.Config{Entrypoint: []string{"/" + name}, User: "1000:1000", WorkingDir: "/", Env: env},
	})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(base, static.NewLayer(layer.Bytes(), types.OCIUncompressedLayer))
}
