// Package config renders what the components of a cluster read (files) and how they are started (services).
//
// Render writes every file under the state folder; it is repeated by each up, so a new version of this program takes
// effect at the components' next start. Services lists a node's components in no order: each names the addresses that it
// waits for. Node 0 also runs the control plane and the cluster's DNS.
//
// Files are JSON where the reader takes YAML, because one is the other. Paths under /run/node and /run/containerd are as a
// node sees them; everything else is the same inside and outside.
//
// Several settings exist because small virtual machines and containers need them: no CAP_SYS_RESOURCE (so nothing may lower
// its OOM score), cgroup v1, no systemd, connection-tracking limits that cannot be set.
package config
