// Package rootfs holds the root file system of a container image in memory, before it becomes a layer.
//
// Words: a tree is the whole file system; an entry is one name in it, a directory, a regular file or a symbolic link.
//
// A tree starts as an empty root directory. Programs and settings are put in one by one, and the contents of Debian
// packages are merged in as the tar streams that they are:
//
//	packages ──Merge──► Tree ──WriteTo──► one layer, a tar stream
//	files ──File, Dir, Symlink──┘  └──Unpack──► a directory, to run what is in it
//
// Guarantees. Equal trees become equal bytes: entries are sorted, and times are fixed. A name is resolved inside the tree
// alone: a parent that is a symbolic link is followed as the kernel would follow it with the tree as root, so a package
// that ships lib/x lands in usr/lib/x where lib is a link to usr/lib, and a name or link that climbs out of the tree is an
// error. Nothing is overwritten in silence: a second file under the same name is an error.
//
// A Tree is not safe for concurrent use. Device nodes, sockets and extended attributes are left out: an image that runs
// without privileges has no use for them.
package rootfs
