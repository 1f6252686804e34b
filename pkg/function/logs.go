package function

import "time"

// LogQuery asks for the log of a function.
type LogQuery struct {
	Ref
	// Instance is a replica's name; empty asks for all replicas.
	Instance string
	// Tail is how many of the last lines are wanted; 0 and below means all.
	Tail int
	// Since leaves out what is older; nil sets no bound, except the five minutes that OpenFaaS publishes when Tail gives
	// none either.
	Since *time.Time
	// Follow goes on with new lines, of replicas that come later too, until the context ends.
	Follow bool
}

// LogLine is one line that a replica of a function wrote.
type LogLine struct {
	// Instance is the replica's name.
	Instance string
	// Time is when the line was written.
	Time time.Time
	// Text is the line without its newline.
	Text string
}
