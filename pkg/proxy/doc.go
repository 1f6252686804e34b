// Package proxy is the data plane: it takes a call from a listener to an endpoint of the function that it names.
//
// # Words
//
// A route is what a path names: a function and the rest of the path, which is the function's own. The activity of a
// function is what the proxy knows of it: its endpoints, calls in flight, calls waiting, when it was last called. A call is
// placed when it is counted at an endpoint, waits in the function's queue when there is none for it, and reached an endpoint
// as soon as one byte of it was written to a connection. An endpoint is full when it has as many calls as the function's
// limit, retired when it is about to go, ejected when it failed several calls in a row and is left alone for a time, and on
// trial after that. A wake is asked of another package; the proxy only says who waits. A way is how the bytes of a call travel:
// a hop goes through package http1, a trip through net/http; an errand goes through package http1 for RoundTrip, whose caller takes
// the answer himself.
//
// # How one call travels
//
//	ServeExchange ─► plain? ─► known name ─► Lookup ─► contract? ───► hop ──────────┐
//	                   │ no                              │ yes                      │
//	       ┌────────── passed on       ┌─────────────────┘                          │
//	       ▼                           ▼                                            │
//	ServeHTTP ─► route ─► Lookup ─► contract? ─► Config.Contract ─► RoundTrip       │
//	               │         │ no                                      │            │
//	              404       404, or forwarder ─► trip ◄──── large ─────┴─► errand   │
//	                                              └───────► call.run ◄───────┴──────┘
//	                                                            │
//	     ┌─── none, or all full ◄──── place ◄─────────┬─────────┘
//	     ▼                              │ counted     │◄────────────┐
//	 queue full? ────────► 429          ▼             │             │ not reached: another endpoint, or wait
//	 none: Wake once                attempt ──────────┴─────────────┘
//	 a place is given ───► attempt      │
//	 deadline ──► 503, 429 if full      ├─► answer, streamed to the caller
//	 caller leaves ──────► 499          ├─► reached and broke off: 502
//	                                    └─► no answer in time: 504
//
// All ways make the same call: who gets it, its waits, retries, deadlines, counts and its line in the access log are the call's,
// whose way only moves bytes, reads ahead, and tells how an attempt went. TestWays_AreTheSameToBothSides holds them to the same
// answers, and every test of the package runs by each. The way through package http1 is for plain calls of functions by HTTP/1.1 or
// 1.0, which are nearly all: it allocates nothing for a call that finds its endpoint and a connection, see BenchmarkServeExchange,
// and spends most of its time in system calls. What is rare is passed on, and its connection stays with net/http: other
// paths, upgrades, escapes in a function's name, characters in a path that net/http would escape. Refusals are made with
// net/http's types on both ways, by the same hook. A name means a function of that moment: what is remembered is only how it is
// read.
//
// Contracts are not rare. Config.Contract gets net/http's types, made of an exchange, and most of its calls go to the endpoint by an
// errand: those with a body of up to 64 KiB of known length, of which nothing is odd. TestWays_OfContractsAreTheSameToBothSides holds
// that to net/http's server and client.
//
// Each endpoint has an http1.Pool from the first call that goes there that way. It closes its idle connections when the endpoint
// leaves; those that carry a call are closed when that has ended.
//
// ServeAsync finds the function of a call that is to be made later, and hands it to Config.Async, without counting it.
//
// Endpoints come from the events that SetEndpoints is given, and from Config.Endpoints, which asks memory only, when those of
// a function are not known. They are known of the functions in an LRU, and the list of one that is not in use may be lost at
// any time; what must not be lost, the counts and the waiters, lives in the activity until Forget. An empty list is held for
// a second and then read again. A name that no function has leaves nothing behind: it is answered from Config.Lookup's
// memory, so that a flood of such names pushes nothing out, and a function answers the moment it is deployed.
//
// Finding an endpoint, holding it to its limit, counting the call there, or putting it in the queue is one step under the
// activity's mutex, as is ending a call and giving its place to the first who waits. See activity.go for why, balancer.go
// for the choice, and ejection.go for what is no choice at the moment.
//
// A call is counted where it came, under the same mutex: when it came, and, as it ends, by its status and by how long it was
// in each phase. Metrics reads the activities when Prometheus asks, so that counting costs a call a few additions, and a
// function's series live from its first call to Forget. Every call of a function that exists is counted as started and, once
// ended, by a status: the answer's, or that of the error in its place. What it waited is no part of its time, as with OpenFaaS.
//
// A call that waits for a function which cannot start is told why as soon as Config.Stuck says so, and so are those that come while it
// is so: they do not wait for what will not be.
//
// A cold start is the time of a call that waited for its function to start, from when it came to the first byte of its answer. It is
// split among the phases in which the replica was meanwhile, as Config.ColdStart tells them of the replica that answered; each start
// is counted once, by the first call that it answers, and told to every caller who asks by the header X-Cold-Start: see coldstart.go.
//
// Config.AccessLog gets a line for a share of the calls, refused ones among them: who called what, with which call id, how it
// ended and how long it was in each phase. Texts of the caller's choice are bounded, and no query, header or body is in it.
//
// # Guarantees
//
//   - No endpoint has more calls at a time than the function's limit, not even one that leaves the set and comes back while
//     it has some. There is no limit unless the function names one: Policy.MaxInFlight.
//   - Places are given in the order in which calls came. A freed place wakes one waiter and is his by then; no call that comes
//     later gets it. The queue holds Config.QueueDepth calls; one more is answered at once.
//   - A failing endpoint is ejected for a time that grows, but never the last that is sound: when all fail, all are tried.
//   - A call that reached no endpoint is tried on another, or waits, until Config.WakeTimeout has passed since it came. One
//     that may have reached an endpoint is never sent a second time, not even for the methods where HTTP would allow it.
//   - Each waiter has its own deadline and leaves when its caller does. Waiters are woken by places and changes, not by looking
//     again and again; only an endpoint that refuses connections while it is listed is tried again, after a pause that grows.
//     One that does not even refuse, as on a lost node, has a pause of two seconds, in which another may take its place.
//     A caller's leaving is noticed as soon as its body was read, so a body of up to 64 KiB is read while its call waits,
//     as long as all bodies that were read so have room in Config.QueuedBytes.
//   - Config.Timeout runs from when the call is placed: to the answer's headers, and through its body if the length of
//     that is known. A stream (an answer of unknown length, an upgraded connection) ends with its caller or its function.
//   - Quiesce and placing a call are each one step: either Quiesce sees the call and says no, or the call sees that the
//     endpoints are retired and waits. So no call is given to an endpoint that is about to go.
//   - Bodies stream both ways and are flushed when their length is unknown; lengths, trailers, 1xx answers and escapes in
//     the path are kept. Nothing is added to the body: no redirect followed, no encoding asked for.
//
// Where the ways differ: a body of up to 4 KiB is read before an endpoint is asked, by package http1, so that a caller who breaks
// off in it reaches none; an answer of known length that fits its buffer is awaited, so that one which breaks off becomes a 502; a
// call that ran out of time, or whose caller left, is its connection's last; deadlines are kept to within some 50 ms; fields go on in
// the case in which they came, and POST without a body gets no Content-Length. What package http1 refuses never comes here.
//
// All methods may be called from any goroutine. The hooks of Config are called without a lock held.
//
// # What it leaves to others
//
// Which endpoints there are (pkg/kube), when a function is woken or goes to zero (pkg/scaler), what a contract's answer
// does (pkg/invoke), and which status an error has (pkg/handlers).
//
// # Sources
//
// RFC 9110 (hop-by-hop headers, 1xx, upgrade); M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing",
// 2001, for picking the lighter of two; Envoy's documentation of outlier detection, for ejections that grow.
package proxy
