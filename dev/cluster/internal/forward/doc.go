// Package forward carries TCP connections from the host's loopback into a cluster.
//
//	client ──► 127.0.0.1:PORT ──► Forwarder ──► Target() inside the namespace
//
// It knows nothing of what passes: bytes go both ways as they come, and each side's end is passed on by itself, so streams,
// websockets and half-closed connections work. A dial that is refused is repeated for a few seconds, asking for the target
// anew each time: a client that connects while the target restarts waits and does not fail. Once connected, an end is final.
package forward
