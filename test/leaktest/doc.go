// Package leaktest has a package's tests fail if they leave goroutines behind, and is as patient about it as a busy machine needs:
// goleak, which does the work, waits for less than half a second, in which a goroutine that has done its last deed may get no processor.
package leaktest
