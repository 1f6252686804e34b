// Package oci makes a container image out of one root file system and writes it as an archive, without any container engine.
//
// The archive is both things at once that tools ask for, over the same blobs, as docker save writes it today:
//
//	oci-layout, index.json   an OCI image layout, for containerd (ctr images import), skopeo and registries
//	manifest.json            docker's own index, for docker load and go-containerregistry's tarball package
//	blobs/sha256/...         the manifest, the config and the one layer
//
// Guarantees. The same image gives the same bytes and so the same digest, which is also the digest that containerd shows after
// the import: nothing is compressed or rewritten on the way. Layers are left uncompressed on purpose, because these images go
// into a node on the same machine, where packing and unpacking costs more than reading.
//
// Sources: the OCI image format and image layout, v1.1; containerd's annotation io.containerd.image.name.
package oci
