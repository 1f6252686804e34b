// Command probe is the function that the end-to-end tests deploy where a shell contract will not do: an HTTP server that
// shows what arrived and holds a stream open until it is told to go on, so that a test sees each part arrive and nothing
// has to be timed.
//
// It listens on $PORT, or 8080, so that it runs both as an OpenFaaS workload of its own and behind a watchdog.
//
//	/                 the request, as JSON
//	/env?name=N       an environment variable
//	/file?path=P      a file
//	/status?code=N    an answer with that status
//	/events?id=I      server-sent events: "open", then whatever is posted to /emit?id=I; ends at an empty post
//	/emit?id=I        waits for a reader of I, and gives it the body as an event
//	/hang?id=I        answers nothing until its caller goes away
//	/gone?id=I        answers once the caller of /hang?id=I is gone
//	/duplex           each line of the body comes back, upper case, before the next is read; a trailer counts them
//	/ws               a websocket that echoes
//	/ws/named         the same, after the name of the replica
//
// It listens on $ALSO_PORT too, if that is set, and ends if it cannot.
// With CRASH set it ends at once with status 3; with DEAF set it runs and never listens.
package main
