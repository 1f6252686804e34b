// Package node is the first process of a node: it makes the node's own view of the file system and keeps its components
// running.
//
// A node is a network namespace (made beforehand, and kept) plus a mount and a PID namespace that begin and end with this
// process. That is what makes a cluster leave no trace: when the first process of a PID namespace dies, however it dies, the
// kernel kills everything in it, containers and their shims included, and every mount goes with the last of them. To the rest
// of the cluster it looks like a machine that lost power, and starting the node again like its reboot: containerd finds its
// images, the kubelet its pods, and /run is empty.
//
//	/run              empty, the node's own
//	/run/node         the node's folder in the state folder
//	/var/log          empty, the node's own (the kubelet insists on /var/log/containers)
//	/etc/resolv.conf  the cluster's DNS
//	/proc             of the node's PID namespace
//
// Start is the host's side of it, Run the inside.
package node
