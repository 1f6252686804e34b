package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/dragonchain/dc-provider/dev/images/rootfs"
)

// Write writes img as an archive and returns the digest of its manifest.
func Write(w io.Writer, img Image) (v1.Hash, error) {
	digest, err := write(w, img)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("image %q: %w", img.Name, err)
	}
	return digest, nil
}

func write(w io.Writer, img Image) (v1.Hash, error) {
	var layer bytes.Buffer
	if _, err := img.Root.WriteTo(&layer); err != nil {
		return v1.Hash{}, err
	}
	built, err := img.build(layer.Bytes())
	if err != nil {
		return v1.Hash{}, err
	}
	b, err := blobsOf(built, layer.Bytes())
	if err != nil {
		return v1.Hash{}, err
	}
	files, err := b.files(img.Name)
	if err != nil {
		return v1.Hash{}, err
	}
	out := tar.NewWriter(w)
	for _, f := range files {
		if err := f.writeTo(out); err != nil {
			return v1.Hash{}, fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return b.manifest.digest, out.Close()
}

// blobs are the parts of an image that the archive holds under their digests.
type blobs struct{ manifest, config, layer blob }

type blob struct {
	digest v1.Hash
	data   []byte
}

// path is where an image layout keeps the blob.
func (b blob) path() string { return "blobs/" + b.digest.Algorithm + "/" + b.digest.Hex }

func blobsOf(img v1.Image, layer []byte) (b blobs, err error) {
	if b.manifest.data, err = img.RawManifest(); err != nil {
		return b, err
	}
	if b.manifest.digest, err = img.Digest(); err != nil {
		return b, err
	}
	if b.config.data, err = img.RawConfigFile(); err != nil {
		return b, err
	}
	if b.config.digest, err = img.ConfigName(); err != nil {
		return b, err
	}
	m, err := img.Manifest()
	if err != nil {
		return b, err
	}
	b.layer = blob{digest: m.Layers[0].Digest, data: layer}
	return b, nil
}

// file is one file of the archive.
type file struct {
	name string
	data []byte
}

func (f file) writeTo(out *tar.Writer) error {
	h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data)), ModTime: rootfs.Epoch, Typeflag: tar.TypeReg}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err := out.Write(f.data)
	return err
}

func (b blobs) files(name string) ([]file, error) {
	index, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIManifestSchema1,
			Digest:    b.manifest.digest,
			Size:      int64(len(b.manifest.data)),
			Annotations: map[string]string{
				"io.containerd.image.name":          qualify(name),
				"org.opencontainers.image.ref.name": tagOf(name),
			},
		}},
	})
	if err != nil {
		return nil, err
	}
	docker, err := json.Marshal([]dockerManifest{{
		Config:   b.config.path(),
		RepoTags: []string{name},
		Layers:   []string{b.layer.path()},
	}})
	if err != nil {
		return nil, err
	}
	return []file{
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", index},
		{"manifest.json", docker},
		{b.manifest.path(), b.manifest.data},
		{b.config.path(), b.config.data},
		{b.layer.path(), b.layer.data},
	}, nil
}

// dockerManifest is an item of docker's manifest.json.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// qualify adds the host that a short name leaves out, in docker's way: containerd stores images under the long name only.
func qualify(name string) string {
	host, _, hasPath := strings.Cut(name, "/")
	switch {
	case !hasPath:
		return "docker.io/library/" + name
	case host == "localhost" || strings.ContainsAny(host, ".:"):
		return name
	default:
		return "docker.io/" + name
	}
}

func tagOf(name string) string {
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[colon+1:]
	}
	return "latest"
}
