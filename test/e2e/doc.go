// Package e2e drives a whole installation from outside: the provider as a pod on a real Kubernetes, with real images, as its
// users do. Everything it knows of the provider comes through the OpenFaaS API, the heap's routes and Kubernetes' own API.
//
// # How a test runs
//
//	make test-e2e ──► inside node 0's network ──► OPENFAAS_URL ──► gateway ─► functions
//	                        │                 └─► KUBECONFIG   ──► API server: what is left, what a pod says
//	                        └─ :5000 a registry that the node and the provider pull from (package registry)
//
// The four variables OPENFAAS_URL, OPENFAAS_USER, OPENFAAS_PASSWORD and KUBECONFIG say where the installation is. The
// examples' images have to be on the nodes; the probe (command probe, an HTTP server that shows what arrived) is compiled
// here and served from the registry.
//
// # Rules
//
// A test makes what it needs under names of its own, so that all can run at once, and takes it away again. Those that load
// the whole node or stop the provider do not run in parallel with others: Go runs them first. What has a signal is waited
// for by that signal; the cluster's state, which has none here, is polled with a bound, and what was seen last is part of
// the failure.
//
// What a network loses is lost by rules of nftables in node 0's network (rule), in a table of the test's own that goes with it.
//
// Tests of another installation than the usual, of two providers on a database, of TLS, of a chain, of queues that are soon full, of
// nodes that start few claims, skip themselves on that one; dev/e2e.sh installs theirs in a pass of its own. So do tests that take
// the API server or a node away from all, which run after those. For them the cluster has a second node, to which nothing is
// scheduled but by them.
package e2e
