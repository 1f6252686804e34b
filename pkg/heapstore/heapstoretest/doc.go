// Package heapstoretest is the contract of a heap store, as tests that every driver passes.
//
// A driver's test calls Run with a Driver, from a test of its own name:
//
//	func TestBolt(t *testing.T) { heapstoretest.Run(t, heapstoretest.Driver{Open: open, Check: check}) }
//
// Beside a table for each promise, Run compares a store with a plain map under random operations, and kills a process in
// the middle of its commits. For that it starts the test's own binary again, with the same test; there Run sees from the
// environment that it is the process to be killed. So nothing but Run may be in that test.
//
// Every store that was opened is closed and checked for damage at the end of its test.
package heapstoretest
