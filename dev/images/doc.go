// Images builds the container images of the dev cluster without Docker: the provider's own, and those of the examples.
//
//	usage: images [-C dir] [name...]
//
// Words: a recipe says what an image is made of; its inputs are what the recipe names, read from disk; an archive is the image as
// one file, for ctr images import or docker load.
//
//	recipe ──gather──► inputs ──same as last time?──► unchanged
//	                      └──assemble──► rootfs.Tree ──finish──► oci.Write ──► .dev/images/NAME.tar, NAME.json
//
// Inputs are files of the repository, Go programs that are compiled for the purpose, and Debian packages. Archives are
// reproducible: the same inputs give the same digest, on any machine.
//
// Other programs that need an image can use the packages below: rootfs puts a file system together, oci makes an archive of it,
// debian fetches packages.
package main
