// Package cluster measures what a user of contracts waits for on a cluster: the first answer after a deploy, the first byte
// after zero, the delete.
//
// The load is a closed loop of one client with one call at a time: nothing else is asked of the cluster. A turn makes a function
// of a new name, and goes through its life:
//
//	POST ──► first call answered ──► scale to 0 ──► no pod left ──► next call ──► DELETE ──► no pod left
//	└─ deploy-to-first-answer-ns ─┘                             └ first-byte-after-zero-ns ┘   └ delete-ns (answered)
//	                                                                                          └ delete-to-nothing-ns
//
// The wakes of functions at zero are three scenarios, each in a namespace dc-bench of its own, which is deleted at the end:
//
//	cluster/wake/one    one function at a time: parked, by a spare of the warm pool, without one, and a plain Deployment's 0 to 1
//	cluster/wake/many   ten at once, one after the other for a while, and many calls of one
//	cluster/wake/idle   what a spare takes, and what 10,000 functions at zero do
//
// The chart has to be installed with a warm pool. How large it is in that namespace is said by the namespace's annotation.
//
// And a function that is up, called by the installation's gateway, beside the baselines before the same pod, scenario cluster/hot. The
// baselines run in a namespace dc-bench-rivals as pods that see the files of their node, which has to be this machine.
//
//	generator ──► Service ──► gateway, or nginx ... ──► the function's pod
//
// The calls use connections that are open already, and images that are on the node. The cluster is that of OPENFAAS_URL,
// OPENFAAS_USER, OPENFAAS_PASSWORD and KUBECONFIG. A turn that fails deletes its function.
package cluster
