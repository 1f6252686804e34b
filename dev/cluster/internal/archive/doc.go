// Package archive packs one static binary as a container image, in the archive format that `docker save` writes and
// containerd imports. It exists for the pause image, which a cluster needs before it can run anything; every other image is
// made by dev/images.
//
// The same binary gives the same bytes: no time, owner or order of the machine gets in.
package archive
