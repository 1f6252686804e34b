// Package contest makes and runs the programs that are compared.
//
// # Words
//
//	tool        a program on disk, with its version: built from this repository, through the Go module proxy, or the distribution's
//	process     one running tool: a contestant, or the function behind it
//	tree        a process and all that descend from it
//
// Prepare builds what can be built and writes down, for what cannot, why; Open reads that. They are apart because building
// may need the network, and measuring is done where there is none.
//
// A process is a child of ours in a process group of its own, its output goes to a file, and it dies with us. Stop ends the
// whole tree. Memory and processor time are those that the kernel tells in /proc; time used by children that have ended counts
// for the parent that waited for them, see proc(5).
package contest
