// Package load sends HTTP requests and measures how long their answers take.
//
// # Words
//
//	closed loop  a fixed number of requests is in flight; an answer brings the next request, after a think time
//	open loop    requests are due at fixed times, whatever became of those before
//	intended     when a request was due. In a closed loop that is when it was sent
//	latency      from intended to the last byte of the answer. A request that waits for a free connection, because those
//	             before it are slow, waits within its latency: nothing is omitted that a caller would have waited
//	warm-up      a time in which requests are sent and checked but not counted
//
// # How it works
//
// One thread does it all, as wrk's does: connections are sockets in an epoll set, each a small state machine. Nothing is
// allocated for a request. The Go scheduler is not on the way of a byte, so that this program is not what is measured.
//
//	due ──► idle connection? ──► write ──► read headers ──► read body ──► checked ──► recorded ──► idle, or due again
//	              │ none             └── both go on at the same time ──┘
//	              └─► the request waits, its clock running
//
// Every answer is checked: its status, and its body byte by byte. Whatever is not as it should be is an error, is counted by
// kind, and is in no histogram. A run with an error is no result: Result.Err.
//
// # Guarantees
//
// Run returns when the run is over, the context ends, or a hundred errors were seen, and leaves no socket and no goroutine. It
// must have a thread for itself, and takes one. HTTP/1.1 without TLS is all that it speaks.
//
// # Sources
//
// G. Tene, "How NOT to Measure Latency", on coordinated omission; HdrHistogram for the histogram; timerfd_create(2), because a
// millisecond, the grain of epoll_wait(2), is more than what is measured.
package load
