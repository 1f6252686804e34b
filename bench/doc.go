// Command bench measures what a user of contracts waits for: the first answer after a deploy, the first byte after zero, the
// delete. It asserts nothing; it prints, and keeps what it measured.
//
// # Load model
//
// A closed loop of one client with one call at a time: nothing else is asked of the cluster. A run makes a function of a new
// name, and goes through its life:
//
//	POST ──► first call answered ──► scale to 0 ──► no pod left ──► next call ──► DELETE ──► no pod left
//	└─── DeployToFirstAnswer ───┘                                └ FirstByteAfterZero ┘   └─ Delete ─┘ (answered)
//	                                                                                      └─── DeleteToNothing ───┘
//
// The calls use connections that are open already, and images that are on the node. A run that fails ends the program: a
// figure that leaves out the failures says nothing.
//
// # Output
//
// Standard output is Go's benchmark format, one line for each measurement, so that benchstat compares two files of it:
//
//	make bench > old; ...; make bench > new; benchstat old new
//
// Standard error has the table for people. The raw results, with machine and versions, go to a JSON file in the folder that
// -out names.
//
// Sources: the format is that of https://go.dev/design/14313-benchmark-format.
package main
