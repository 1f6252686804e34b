// Package debian fetches Debian packages with everything that they depend on, to put their files into an image.
//
// Words: a closure is a list of packages that needs nothing from outside itself.
//
//	names ──apt resolves, as on a machine with nothing installed──► closure ──apt downloads, checks signatures──► .deb files
//	                                                                          dpkg-deb turns each into a tar stream ──► image
//
// Nothing on the machine is changed and no privilege is needed: apt works on a state directory of its own in the cache, with
// the machine's sources and keys. Maintainer scripts do not run, so what they would make (caches, alternatives, users) is
// for the image's recipe to make if the program needs it.
//
// Guarantees. A closure once resolved stays the same, whatever Debian serves later, until its record in the cache is removed:
// so an image does not change between two builds on one machine. Across machines it is what Debian serves on that day.
package debian
