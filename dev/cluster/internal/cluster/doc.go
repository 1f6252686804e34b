// Package cluster brings a dev cluster up, keeps it up, and takes it down.
//
// # Processes
//
//	devcluster guard ◄──────► devcluster supervise ──► nsenter … devcluster node (one per node; package node)
//	   each starts the other        │                        └─ etcd, kube-apiserver, …, containerd, kubelet
//	   when it is gone              └─ forwarder on 127.0.0.1
//
// Each of these holds a file lock while it lives (package proc), and that lock is the only truth about who runs. So any of
// them may be killed at any time: a component is started again by its node, a node by the supervisor, the supervisor by the
// guard and the guard by the supervisor. Nodes outlive the supervisor; the next one finds them by their locks. Should guard
// and supervisor die in the same half second, the next up starts them again. What was stored (etcd, images, volumes) stays.
//
// # Up and down
//
// Up repeats every step and each step leaves alone what is right already, so it is safe to run at any time; a lock makes two
// of them take turns. Down first takes away the wish that the cluster runs (the file "wanted"), so nobody starts anything
// again, then kills guard, supervisor and nodes in this order, and removes namespaces, control groups and the state folder.
// A supervisor that finds the wish gone, as when somebody deleted the state folder, kills the nodes, removes the same, and
// ends.
package cluster
