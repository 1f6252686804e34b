// Package http1 is the HTTP/1.1 engine under the data plane and the watchdog's mode http: it serves requests, and forwards them to
// endpoints, strictly and with no lock or allocation that a request does not need. What is rare it leaves to net/http.
//
// # Words
//
//	head        a message down to its empty line
//	exchange    one request and its answer, on one client's connection; it is lent to a Handler
//	endpoint    the server that requests are forwarded to; a Pool keeps the connections to one
//	reached     some byte of a request was written to an endpoint, so that it may have acted on it
//	to pass     to leave a connection to net/http, for the rest of its life, with what was read of it
//	the sweeper the one goroutine that looks at all connections at intervals
//	Client      makes requests of the program itself over Pools, in its caller's goroutine, with net/http's types
//
// # The way of a request
//
//	                 ┌──────────────────── idle: no buffer is held ◄───────────────────┐
//	                 ▼                                                                 │
//	Accept ──► read a head ──► parse ──► Handler ─┬─► Answer ──────────────────────────┤
//	               │             │                ├─► Forward ─► Pool ─► endpoint ─────┤
//	               │             │                │      └ both bodies stream at once  │
//	               ▼             ▼                └─► Pass ──► net/http                └──► closed
//	             closed    400, 414, 431 ...,
//	                       or passed: HTTP/2, upgrades, CONNECT, a target that is no path
//
// A connection has one goroutine, which serves its requests in order and reads nothing while a Handler runs. A body that is not in
// memory is sent by a second one, so that an answer may begin before its request has ended. A Handler may read the body itself, and have
// another sent in its place: Exchange.SetBody. When the answer is complete and the
// body is not, the body is given up and the connection closed, after a moment in which the client can take the answer.
//
// An exchange that is the only one may spin, if ServerConfig.Spin is set: where a client or an endpoint has been quick several times in
// a row, its next bytes are asked for again and again for that long before its connection is left to the poller. Nothing spins that was
// slow the last time, so that idle connections cost nothing.
//
// The sweeper finds clients that went away, by a look at what the socket has received, once an exchange is 50 ms old; exchanges
// that are out of time; and connections that are idle, or slow with their head. It ends an exchange by closing the endpoint's
// connection, by deadlines in the past on the client's connection, and then by ending Exchange.Context. An exchange that was ended is
// its connection's last, and is answered only if it was out of time. A connection's phase and its exchange's number are one atomic word, so that the sweeper and Shutdown can
// only end what they have looked at.
//
// # What is strict
//
// Heads: CR LF ends every line, and neither stands elsewhere; no folded lines, no blank before a colon, no control characters but
// tabs in values; exactly one valid Host in HTTP/1.1. Bodies: Content-Length is digits and, if repeated, the same digits;
// Transfer-Encoding is exactly "chunked", once, alone, and in HTTP/1.1; sizes of chunks are hexadecimal digits, 15 at most. Heads,
// targets, fields, chunk extensions and trailers are bounded. What is refused closes its connection. Answers of endpoints are held
// to the same rules. What is accepted is understood as net/http understands it: see FuzzRequest, FuzzResponse.
//
// What is forwarded is written anew: fields as they came, in their order, without those of one connection (RFC 9110, section 7.6.1,
// and what Connection names); one Content-Length or a chunked coding of our own, without extensions; trailers. Nothing is added but
// what a Handler adds, a Date where an answer has none, and a Host where HTTP/1.0 has none. Connection can name neither Host nor
// what frames a message. An Expect is forwarded, and the client asked for the body when the endpoint asks, or after a second.
//
// # Guarantees
//
//   - A request of which a byte was written to an endpoint is never written a second time, unless its Handler forwards it again.
//     ErrNotReached says that none was, and ErrClosedIdle that it was most likely not read.
//   - An answer that breaks off is never made to look complete: the client's connection is closed before the message has ended, or
//     reset where the end is the close. One that fits a buffer and has a length is answered with an error instead.
//   - A client's leaving ends its exchange within some 100 ms. Its closing of its sending side alone is taken for that too, as in
//     net/http. A request that it has sent ahead hides it.
//   - Shutdown loses no request that was read: see Server.Shutdown.
//   - Memory: 24 KiB for an exchange, 64 KiB for each body that streams, a goroutine and no buffer for an idle connection.
//   - A client that stalls is given up after ServerConfig.StallTimeout, one that is slow with a head after HeadTimeout.
//
// A Server, a Pool and a Client may be used from any goroutine; an Exchange is its Handler's. What a Client sends and takes is held to the
// same rules as what is forwarded, and ends with its context and its deadline: see Client.RoundTrip.
//
// # What it leaves to others
//
// HTTP/2, TLS, upgrades (net/http, through ServerConfig.Rest), which endpoint a request goes to and what it is called there, retries,
// limits of how many connections there are.
//
// # Sources
//
// RFC 9110 and 9112; J. Kettle, "HTTP Desync Attacks", 2019, for what must not be forwarded; Go's net/http for what clients are used
// to; internal/poll of Go 1.26 for endpointConn.begin.
package http1
