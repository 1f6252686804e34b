// Package network makes and removes the namespaces in which a cluster's nodes live, and dials inside them.
//
// Every node is a network namespace with one interface, eth0, joined to the others by a bridge in a namespace of its own.
// The machine's own namespace sees no interface of it, and no namespace has a default route: nothing inside can reach
// another machine, nor can it reach this one.
//
// Ensure is complete or starts afresh: the last step marks the bridge, and without that mark whatever is there is removed
// and made again. Dial and Client work from outside by switching one thread into a node's namespace.
package network
