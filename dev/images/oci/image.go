package oci

import (
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/dragonchain/dc-provider/dev/images/rootfs"
)

// Image is what an image is made of.
type Image struct {
	// Name is repository and tag, such as dragonchain/dc-provider:dev. Without a host part it means docker.io, as everywhere.
	Name string
	// Root becomes the only layer.
	Root *rootfs.Tree
	// Config is what the image says about running it: entrypoint, environment, user, working directory.
	Config v1.Config
	// History is one line that says how the layer came to be.
	History string
}

// build turns img, whose root is packed in layer, into an image for the architecture this program runs on.
func (img Image) build(layer []byte) (v1.Image, error) {
	created := v1.Time{Time: rootfs.Epoch}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	base, err := mutate.ConfigFile(base, &v1.ConfigFile{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Created:      created,
		Config:       img.Config,
		RootFS:       v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(base, mutate.Addendum{
		Layer:   static.NewLayer(layer, types.OCIUncompressedLayer),
		History: v1.History{Created: created, CreatedBy: img.History},
	})
}
