// Package registry offers what is loaded into node 0 to whoever would pull it: a read-only registry over containerd's own
// content, plain HTTP, without a copy of anything.
//
// A cluster without a way out still needs one. The provider asks a registry for an image's digest and configuration, and the
// kubelet pulls by that digest, a name under which loading an archive stores nothing. With this registry as the mirror of
// docker.io both work for every image that `make load` brought.
//
//	GET /v2/NAME/manifests/TAG      containerd's image docker.io/NAME:TAG (or HOST/NAME:TAG with ?ns=HOST), then its digest
//	GET /v2/NAME/manifests/DIGEST   the content of that digest
//	GET /v2/NAME/blobs/DIGEST       the same
//
// Sources: the OCI distribution specification 1.1, section "Pull".
package registry
