// Package watchdog runs one function inside its container and serves it over HTTP. It is put into images that know nothing of it,
// and understands the settings of both OpenFaaS watchdogs.
//
// Words:
//
//	mode        how the function is run. fork: a process for every invocation. streaming: the same, with both bodies passed on as
//	            they come. serializing: fork with the of-watchdog's answers. http: one process that serves HTTP.
//	            lambda: processes that ask for their work, as AWS Lambda's do: package lambda. static: no process, but files
//	dialect     whose rules apply where the OpenFaaS watchdogs disagree: classic, of, or native, which is our own
//	invocation  one request to the function
//	health      whether this container is worth keeping: /_/health
//	readiness   whether it may be given work now: /_/ready
//	ready push  telling the provider of readiness, rather than waiting to be probed: package readypush
//	metrics     what is counted of invocations, for Prometheus
//	prefork     start processes before their requests come, in the modes that have one for each invocation: DC_PREFORK
//	park        end the idle processes of modes http and lambda, which the next invocation starts again: DC_PARK
//	beside      where the watchdog stands if the function serves its callers by itself: DC_BESIDE
//	usage       processor time and memory of this container, and its invocations: /_/usage
//	spare       a pod of the provider's warm pool, which waits for a function; what it is given is an assignment, and the whole
//	            is a claim: package assignment
//	sink        where the log goes, which may get stuck and then holds nobody up
//
// The way of a request:
//
//	net/http ──► route ──► /_/health, /_/ready, /_/usage
//	               │
//	               └─► limiter ──► mode ─┬─ fork, serializing: readBody ► environment ► spawn ► quick, or follow ► finish ► answer
//	                    (429)            ├─ streaming: environment ► spawn ► bodies pass ► finish ► end of the answer
//	                                     ├─ http: upstream.enter (a parked process is started) ► upstream.dial ► the function's server
//	                                     ├─ lambda: Pool ► the process that asks next
//	                                     └─ static: a file
//
// In mode http package http1 stands before net/http, and serves and forwards what is plain: exchange is then what invoke is, and
// httpMode.forward what ServeHTTP is. Our own paths are answered there too. Upgrades, HTTP/2, CONNECT and absolute targets go on to
// net/http, where ReverseProxy forwards, and their connection is closed after that one request.
//
// A request of mode http that is the only one in flight is waited for, and its answer is, without sleeping, as long as both come within
// 250 µs each time: to sleep and be woken takes longer than a quick function. It costs no processor time while nothing is asked.
//
// The life of a watchdog:
//
//	start ──► serving ──► SIGTERM: not ready ──► a moment ──► port closed ──► drained ──► SIGTERM to the function ──► end
//	             │                (healthcheck_interval)         (write_timeout)             (10 s, then SIGKILL)
//	             └─► the process of mode http exits, with whatever status: not ready, what is in flight answered, error
//
// # Prefork
//
// With DC_PREFORK that many processes are started ahead, so that an interpreter's start is off the way of a request. Each reads its
// stdin, where nothing comes until it is claimed, and serves one invocation as any other process does: its limit counts from the
// request. It was started before there was one, so that no variable of the request (Http_Path, REQUEST_METHOD and so on) is in its
// environment. They are in what the variable DC_REQUEST_FILE names, which can be read to its end once, before stdin or after it, as
// NAME=VALUE with a NUL behind each:
//
//	request = dict(entry.split("=", 1) for entry in open(os.environ["DC_REQUEST_FILE"]).read().split("\0") if entry)
//
//	tr '\0' '\n' <"$DC_REQUEST_FILE"
//
// What is left on the way is the program's own work and its exit. So a program has before its first read of stdin whatever takes time
// and knows nothing of the request, such as imports, and is short at its end: CPython takes 2 to 4 ms to tidy up, which these last
// words save, and which nobody needs of a process that ends (an exception still ends it as ever):
//
//	sys.stdout.flush()
//	os._exit(0)
//
// A process that is forked because none waits has that file too, and the variables as well. What a process writes to stderr before its
// request is logged at once; what it writes to stdout begins the answer, and waits in the pipe, as the process does when that is full.
// One that has exited is replaced after a pause, which doubles up to 10 s, and its output is nobody's. A program that does not read its
// stdin at all does not suit prefork; it is served by forking, and that is logged once. One that is killed as it is claimed, for its memory
// for instance, leaves its request to the next, in modes fork and serializing, if there is a body of at most 4 KiB of which it has read
// nothing, nor of that file; in all other cases nobody can tell how far it came, and the caller gets a 500. The first process is started at once, the
// others 100 ms after each other; one that was claimed is replaced when its invocation is over, or has taken 100 ms. Those that wait
// take the memory of a started interpreter each, within the limit of the container, and are killed at shutdown.
//
// # Parking
//
// With DC_PARK a process that has had nothing in flight for so long is asked to end, as at shutdown, and killed if it does not. What its
// end is like is then no error, and the connections to it are dropped. The function stays healthy and ready, and is not probed; the
// state machine is the type life. A request finds the process
//
//	listening   and is forwarded
//	parking     and waits until it has ended, and for the next one
//	parked      and has it started; all who come meanwhile wait for that one start, each as long as its own limit, and 30 s at most
//
// A start fails if the program cannot be executed, or exits before it listens. Whoever waits for it is answered 502 with the reason.
// The next request tries again, unless it comes within a pause of 100 ms, doubled with each failure in a row up to 10 s, when it is
// answered 503 with the same reason. A process that was heard and exits by itself ends the watchdog, as ever. In mode lambda all
// processes end together, and start again one after another: see package lambda.
//
// # Spares
//
// "dc-watchdog spare" is the command of a pod of the warm pool for all its life. What it does depends on what it finds:
//
//	               image of spares (it has /dc-watchdog)            any other image
//	nothing        a spare: calls the provider, and waits           exit code 3
//	an assignment  waits to be ended; takes no other                Claim, then a watchdog like any other
//	a broken one   exit code 3                                      exit code 3
//
//	start ──► spare ──► POST /_/spare: kept in memory, 204 ──► SIGTERM, when the image changes: exit 0 at once
//	                                                               │
//	   ┌───────────────────────────────────────────────────────────┘
//	   └─► start in the function's image ──► Claim: token taken, secrets placed, environment ──► serving ──► ready push
//
// A spare is healthy and not ready. It does not end by itself when it has been assigned something: the kubelet would start it again in its
// old image. What it keeps is a file on a tmpfs (assignment.Dir) that appears as a whole or not at all, and that nothing replaces. With the
// image come its ENV and its WORKDIR; the assignment's variables go before that ENV, as those of an ordinary pod do. The user is the pod's. Secrets
// are files on a tmpfs of their own, as readable as in an ordinary pod, and written anew at every start. A container that is started again,
// its memory used up for instance, runs the same assignment, and leaves it to Kubernetes' probe to tell of its readiness, for the token of the
// ready push is not where the function could read it. Nor can the provider ask it for its usage then.
//
// The probes of its pod, which cannot change, ask DC_SPARE_PORT all the while: our own paths are served there before the claim and after.
//
// # Beside a function that serves by itself
//
// DC_BESIDE is the port at which the function, an image made to be called there, is called by others without us. We start DC_COMMAND as
// in mode http, with the environment as it is save DC_*: what looks like a setting of ours is for the function, which may be another
// watchdog. It is ready when its port takes connections at the pod's own address, DC_POD_IP, or DC_READY_PATH is answered 2xx there; we
// push then, and answer probes on DC_PROBE_PORT, where nothing else is served. There are no metrics, and no heap. Calls are not seen, so
// that none can be waited for: told to end, we are not ready any more, go on for DC_HOLD, and end the function as in mode http.
//
// # The heap
//
// A contract's calls come with the header X-Heap-Url, a URL on the loopback address and DC_HEAP_PORT, which is served here, for the
// function alone: what it asks for there is handed on to the provider that made the call. The URL names the call and that provider under
// the provider's seal, so that it leads nowhere else, and is worth nothing when the call has ended: see package readypush. The watchdog
// keeps nothing of it. The port is taken before the function starts, and served until its last invocation has ended.
//
// # Where the dialects disagree
//
// DC_DIALECT names the dialect. Without it a variable known to one upstream watchdog only gives it away; otherwise it is native.
//
//	                               classic            of                  native
//	mode by default                fork               streaming           fork
//	exec_timeout by default        none               30 s                none: the caller's patience
//	read_timeout by default        30 s               30 s                headers 30 s, body none
//	content_type by default        the request's      octet-stream *      the request's
//	a bad value                    the default        the default         refused at start
//	stderr of mode fork            in the answer      in the log          in the log
//	an invocation out of time      408                504                 504
//	no answer from the process     -                  500                 502
//	it does not listen yet         -                  500                 503
//	program not found              500 for each call  500 for each call   refused at start
//	the function sees settings     yes                yes                 no
//	Http_Query without a query     unset              unset               empty
//	CGI names (REQUEST_METHOD...)  no                 no                  yes
//	Http_Host, Http_ContentLength  yes                no **               yes
//	serializing, out of time       -                  500 signal: killed  504
//	an access log                  no                 yes ***             with log_callid
//	static: folders are listed     -                  yes                 no
//	static: methods                -                  any                 GET, HEAD
//	/_/ready over max_inflight     200                429                 200
//
// * in modes streaming and serializing, ** yes in mode fork, *** in modes streaming, serializing and http
//
// # Where we differ from both on purpose
//
//   - A caller that goes away ends its invocation: the process group is killed, the forwarded request is cancelled.
//   - The end of an invocation ends everything in its session, whatever process group it is in, so that nothing is left behind by
//     the function except what has made a session of its own.
//   - The limit of an invocation kills the same and is answered at once, whoever holds a pipe open.
//   - exec_timeout does not end event streams, NDJSON streams and web sockets; X-Timeout lowers any limit, theirs too, and lifts none.
//   - Mode lambda always has a limit: exec_timeout, else AWS_LAMBDA_FUNCTION_TIMEOUT, else 300 s.
//   - A caller that does not read its answer holds its place until a second after the limit in mode http, and in mode fork until it
//     has read nothing for 30 s, or for write_timeout. Streams, and mode http without a limit, wait for their readers for ever.
//   - SIGTERM gives the whole process group its time to end, not its leader alone.
//   - Metrics are on port 8081 under the names of both, or on metrics_port, where 0 means none. The port is taken once the function can
//     serve, and a function that has it by then keeps it. A caller that went away before it was answered counts as code 499.
//   - Modes fork and serializing take bodies of fork_body_bytes at most (else 413) and outputs of fork_output_bytes (else the process is
//     killed and 500 answered). Both are 32 MiB by default: what is held for one caller must not end the container.
//     A body that is refused is read on and thrown away for 5 s at most, so that a caller who sends all of it sees why.
//   - The limit of an invocation counts from its headers, so that reading its body is part of it.
//   - write_timeout is no limit unless it is set, and 0 means none.
//   - A connection to the function waits until it listens, up to 30 s, or a second once the end is drained. With a ready_path it waits for
//     that; readiness does too.
//     Every probe of /_/ready asks the process: it opens a connection, or gets the ready_path.
//   - A process of mode http that exits, even with status 0, ends the watchdog with an error.
//   - /_/ready and /_/usage are never the function's; paths reach the function as they were sent.
//   - mode streaming flushes what the process writes at once, and has no status before its first byte: until then an exit other than 0
//     is answered 500 and the end of its time 504. From then on the answer is broken off, or tells X-Exit-Code and X-Dcw-Reason in its
//     trailers if the caller has sent "TE: trailers". An answer does not wait for a body that the process no longer reads; its connection
//     is closed. A body that breaks off ends the invocation, so that no process takes it for a whole one.
//   - A body that cannot be read is answered 400 in modes serializing, streaming and http too, and in mode http 408 when it does not
//     come in time. These are told in the dialect of too.
//   - http_buffer_req_body, or buffer_http, makes mode http read a whole body before the function hears of it, which then always gets a
//     Content-Length and no chunks. What is above 256 KiB waits in a file without a name in TMPDIR; a body above http_buffer_bytes
//     (256 MiB by default) is answered 413, and one that cannot be kept 500. The caller can see an answer only when all was sent.
//   - A request with both Content-Length and Transfer-Encoding is taken in all modes but http as RFC 9112 lets a server take it, by its
//     chunks: net/http drops the length before anybody sees it. The provider's proxy refuses such requests, so that none comes through it.
//   - mode http is as strict with requests, and with the function's answers, as package http1: what could be understood in two ways is
//     refused with 400, or 502. It adds no Content-Type to an answer that has none.
//   - GET, HEAD, OPTIONS and TRACE without a body are sent again, as by the of-watchdog, if they have met the end of an idle connection to
//     the function. Any other request is answered 502 then.
//   - mode static follows no link and no path out of its folder. It warns of a missing folder, and in our own dialect refuses it.
//   - mode is fork unless it is set, or the dialect is of. Modes inproc and afterburn are refused, and so is jwt_auth, rather than ignored.
//     A setting that the mode does not heed is warned of.
//
// # Usage
//
// The provider alone can read what /_/usage answers: package readypush says why and how. Processor time is a rate since it last
// asked, or of half a second if that is more than 15 s ago; nothing is measured while nobody asks. Memory is the working set, as the
// kubelet reckons it. Both come from the container's control group, of version 1 or 2, and count this program too; what cannot be
// read there is unknown, and left out.
//
// # Guarantees
//
// No process outlives its invocation unless it has made a session of its own (setsid), when it lives until the container ends, or
// the container has no /proc, when only the process group is killed, or it may not be killed: it has given itself another user, and this
// program is not root. Its invocation is answered in time all the same. No zombie stays if this program is process 1 or a subreaper, again
// with a /proc to see it in; an
// exit that belongs to an invocation is taken by nobody else. No pipe of the function is left unread while an invocation may write into
// it, but for the first milliseconds of a process, in which only one that has written nothing is left alone. An invocation that was taken
// is answered, unless it outlives the drain deadline. What is in memory of a request and its answer is all of both in modes fork and
// serializing, within their two limits, 64 KiB each way in mode streaming, and 88 KiB each way in mode http, with 256 KiB more for a body
// that is buffered. DC_* variables, with the
// pod's secret among them, are not in the function's environment, save DC_REQUEST_FILE, nor is that secret in a file when the function
// starts, and dc-watchdog closes its own to it: see
// prctl(2), PR_SET_DUMPABLE. A function with
// CAP_SYS_PTRACE reads it all the same.
//
// Memory that invocations have needed is given back to the system when none was in flight for a second.
//
// # Left to others
//
// Restarting a container that has ended (Kubernetes), limits across replicas (the provider), authentication of callers (nobody but
// the provider should reach the pod).
//
// # Sources
//
// The behaviour of openfaas/classic-watchdog 0.3.9 and openfaas/of-watchdog 0.11.6; RFC 3875 for the CGI names; wait(2), setsid(2),
// prctl(2) for what process 1 owes; cgroup-v1/ and cgroup-v2.rst of the kernel's documentation.
package watchdog
