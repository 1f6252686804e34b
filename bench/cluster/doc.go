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
// And the wake of functions at zero by spares of the warm pool, which the chart has to be installed with, beside that of a plain
// Deployment.
//
// And a function that is up, called by the installation's gateway, beside the baselines before the same pod.
//
// The calls use connections that are open already, and images that are on the node. The cluster is that of OPENFAAS_URL,
// OPENFAAS_USER, OPENFAAS_PASSWORD and KUBECONFIG. A turn that fails deletes its function.
package cluster
