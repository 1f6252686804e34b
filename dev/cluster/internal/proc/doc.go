// Package proc keeps processes running and knows which are.
//
// Lock tells whether a process lives: it holds a file lock from start to end, and the kernel lets go of it however the
// process ends. Unlike a pid file it cannot name a stranger who got the same number.
//
// Service starts one program again whenever it ends:
//
//	wait for what it needs ──► prepare ──► run ──► ended ──► back off ──┐
//	          ▲                                                         │
//	          └─────────────────────────────────────────────────────────┘
//
// Reaper collects the exit statuses of all children of the first process of a PID namespace: those that Service waits for,
// and orphans such as a container's shim, whose parent ended at once.
package proc
