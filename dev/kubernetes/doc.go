// Command kubernetes is one binary that is etcd and every Kubernetes server: its first argument says which.
//
//	kubernetes etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubelet|kube-proxy [flags]
//
// Together they share most of their code, so one binary is a fifth of the size of six and a fraction of the link time. The
// flags are those of the upstream commands, whose main functions these few lines repeat. kubectl and coredns, beside it, are
// binaries of their own (a client should start at once), from the same module graph and hence mostly compiled already.
package main
