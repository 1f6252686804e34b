// Package scenario says what is measured, of whom, and how.
//
// # Words
//
//	scenario    one question with a load and two or more contestants, named PART/CASE
//	round       one turn of each contestant, in the same order every time: ABC ABC ABC
//	turn        a contestant is started, checked, warmed up, measured and stopped; only one runs at a time
//	direct      the function without anything before it: what is subtracted, not what is beaten
//
// # The way of a turn
//
//	start processes ──► they listen ──► one right answer ──► load: warm-up, then what counts ──► memory, CPU ──► stop
//
// A process is new in each turn, so that what a round left behind is in no other. An answer that is wrong, a process that ends
// early, a port that is taken: everything that is not as it should be ends the run with an error. Figures that leave out the
// failures say nothing.
//
// # Guarantees
//
// A turn leaves no process and no file behind, whatever happens, unless this program is killed: then its children are too, and
// files stay in a folder of Options.Dir.
package scenario
