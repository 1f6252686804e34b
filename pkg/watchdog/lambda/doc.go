// Package lambda runs a function that was built for AWS Lambda: it serves the Lambda Runtime API to the function's processes, and
// hands them the requests that come as events.
//
// Words:
//
//	runtime process  a process of the function, which asks for events one by one and answers them
//	event, answer    the body of a request; the body of what comes back
//	invocation       one event, from its coming to its outcome
//	init             from a runtime process's start to its first request for an event
//	slot             the place of a runtime process in the pool, in which one follows another
//
// The way of an invocation:
//
//	request ──► event read ──┬─ a process is idle ──────────────────► given ──► answered ──► outcome ──► response
//	            (413)        ├─ none is: the queue ──► one asks ──────►│           ▲  error, exit, deadline
//	                         └─ the queue is full (429)                └───────────┘
//
// Each process has a port of its own on which the API is served to it alone, for nothing else in the protocol tells who is asking;
// the next process in its slot has another, so that nothing which the last one left behind can take an event. What a process may
// say when is the type machine. A request for the next event is what frees a process, not its last answer.
//
// The life of a slot:
//
//	start ──► init ──► waiting ◄──► busy ──► exit, or killed: started again, at once if it has served
//	           │
//	           └─ exit, init error, or out of time: started again after a pause, of 100 ms at first and 10 s at most
//
// With Config.Park the pool is parked when it is able to serve and has had nothing to do for that long: every process is ended, as at
// any other end of one, and the pool stays able. The next invocation is queued and has them started again, one after the other; it
// waits as others do for a process in init.
//
// # Where requests come from
//
// Three operations of Lambda's own API are served with the semantics of the service, so that AWS's SDKs and tools can call a function,
// whatever name or ARN they call it by:
//
//	POST /2015-03-31/functions/NAME/invocations                      Invoke, at its emulator's path too: X-Amz-Invocation-Type,
//	                                                                 -Client-Context, -Log-Type, -Log-Result, -Function-Error
//	POST /2021-11-15/functions/NAME/response-streaming-invocations   InvokeWithResponseStream: PayloadChunk ... InvokeComplete
//	POST /2014-11-13/functions/NAME/invoke-async                     InvokeAsync: Invoke with the type Event
//
// At any other path the body is the event, whatever the method, and
//
//	200  the answer                    500  the function's error
//	408  the event came too slowly     502  the process has exited, or could not start
//	413  the event is too large        503  no process was ready in time
//	429  the queue is full             504  the function was out of time
//
// with the error as JSON ({"errorType", "errorMessage"}) where Lambda has one. An X-Call-Id that is a UUID is the request id that
// the function sees. An answer is streamed if the process says so, or if its type is application/octet-stream or
// application/vnd.awslambda.http-integration-response, by which aws-lambda-go's streams are known; the latter sets status and
// headers too. Through Invoke streams are gathered, and through InvokeWithResponseStream they come as they are, with their head. With Config.HTTPEvents requests and responses are made into events and
// answers as Lambda's function URLs do it, for functions that were written for those.
//
// # Logs
//
// The log of an invocation is what its process writes from when it has the event until its answer was read, between the lines START
// and END, with REPORT behind: the last 4 KiB are in X-Amz-Log-Result if X-Amz-Log-Type asks for the Tail. Max Memory Used is the most
// that the whole container used at the end of any invocation so far; Billed Duration is Duration in whole milliseconds. With
// Config.Reports the three lines are written to the log of every invocation.
//
// # Where we differ from Lambda
//
//   - A process that does not finish its init in time is killed and started again; it is not given a second chance inside of an invocation.
//   - An Event is invoked once: the provider's asynchronous invocations are the ones that are tried again.
//   - A process is not frozen between events. The limit of an invocation is 300 s unless it is set, and what it has waited for a
//     process is part of it: its caller does not wait longer because the function is busy.
//   - SnapStart, tenants, Cognito identities, many events at once in one process, and extensions from /opt/extensions are not there.
//
// # Guarantees
//
// An invocation is given to one process, once; that process may ask for it again if it has lost it. It gets one outcome: its answer,
// its error, or why there is none. At its deadline the caller is answered and the process group killed; an answer that comes later
// finds nobody. A caller that leaves takes its invocation out of the queue, but not from a process. Processes are started one
// after another, and the one used last is used next.
//
// In memory are bodies of up to 64 KiB for each request, and larger ones in a space of (processes + 2) times the payload limit for
// events and as much for answers, for which the later ones wait; streams take 32 KiB. An event that is still coming, or waiting for
// memory, when its invocation's time is over is given up, and an answer that its caller has not read a second after it. Where others
// have waited for the memory for a second, whoever has been sending or reading for longest, and for 5 s, is cut off before that: a few
// callers that do not read cannot keep answers waiting until their invocations are out of time. When Run returns no process, goroutine
// or port is left.
//
// # Left to others
//
// Starting a process and its group (a Starter), its log, the limit of a request's time (Config.Timeout), shutting down in order.
//
// # Sources
//
// AWS, "Using the Lambda runtime API for custom runtimes", "Lambda execution environment", "Lambda quotas" and the API reference of
// Invoke, InvokeWithResponseStream and InvokeAsync, and of the event stream encoding; the clients in aws/aws-lambda-go 1.55.1; the behaviour of aws/aws-lambda-runtime-interface-emulator.
package lambda
