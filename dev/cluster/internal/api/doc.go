// Package api is the little of the Kubernetes API that bringing up a cluster takes: read an object, apply one, delete one,
// ask whether the server is ready. It speaks HTTP from the host straight into node 0's namespace.
//
// client-go would do the same with a hundred times the code; the objects here are a dozen, written by hand.
package api
