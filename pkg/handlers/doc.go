// Package handlers is the OpenFaaS REST API: what faas-cli, the SDKs, a stock gateway and the watchdogs speak to.
//
// # Words
//
// The gateway listener (8080) answers clients as the OpenFaaS gateway does; the provider listener (8081) answers a stock
// gateway as a provider does. They share the management routes and differ in /system/info, /healthz, /heap/, /heap-backup,
// /async-function/, /system/dead-letters/, /v1/, /dc/ready and /dc/heap/. A third one (8082) answers Prometheus and nothing else. A handler answers a request or returns an
// error; then it has written nothing.
//
//	request ──► /function/ ──────────────────────────────► Config.Invoke, path untouched, no credentials
//	        ├─► /async-function/ ──────────────────────────► Config.Async, the same way, on the gateway's listener
//	        ├─► /v1/ ───────────────► signature or credentials ─► handler; errors in Dragonchain's form
//	        ├─► /heap/ ─────────────┐
//	        └─► router: 301 404 405 ┴─► credentials ─► handler ─► Functions, Secrets, Namespaces, Logs, Heaps, Usage
//	                                       │ 401          │ error
//	                                       ▼              ▼
//	                                  OpenFaaS's own   table: error ─► status, one line of text
//
// # Heaps
//
//	GET    /heap/NAME                 keys: {"keys": [...], "next": "..."}; prefix, after, limit; next is the next one's after
//	GET    /heap/NAME?view=entries    {"entries": [{"key", "version", "bytes", "call_id", "at"}], "next"}: who wrote it last, and when
//	GET    /heap/NAME?view=usage      {"keys", "bytes", "quota_bytes"}
//	GET    /heap/NAME?view=export     a line of JSON for each key: {"key", "value", "version", "call_id", "at"}; prefix, after
//	POST   /heap/NAME                 import of such lines, of which key and value count: {"imported": LINES}
//	GET    /heap/NAME/KEY             the value; ETag is its version, X-Heap-Call-Id and Last-Modified tell of its last write
//	PUT    /heap/NAME/KEY             sets it to the JSON of the body: 204 and the new ETag, 412 if If-Match or If-None-Match: * fails
//	DELETE /heap/NAME/KEY             204, whether it was there or not, unless If-Match says that it must be
//	GET    /heap-backup               a copy of the store's file, as it was at one moment: 501 where the heaps are in a database
//
// On the provider listener, and for watchdogs of a call under way alone, /dc/heap/KEY is a contract's own view: package invoke says
// what it sees, and package readypush how it proves itself. Its shapes are those above: GET, PUT and DELETE of a key, and GET without
// one for a list.
//
// An export is a key at a time and no snapshot, and one that breaks off is gone on with by after. An import is a few hundred lines
// at a time: when it stops at a line, those before it are in, which the answer counts, and to send all of it again comes to the same.
// Memory is bounded in both. What an operator writes takes its place between the contract's commits: an invocation that has read
// the key before and writes it after does not see it, unless it compares and sets.
//
// # Reads of a Dragonchain
//
//	GET /v1/get/ID/KEY                  the value as it is kept, slashes before the key left out: text/plain
//	GET /v1/list/ID/PREFIX              ["/KEY", ...]: all that begin with the prefix; [] of a contract that is not there
//	GET /v1/contract                    {"smart_contracts": [CONTRACT, ...]}
//	GET /v1/contract/ID                 CONTRACT (type chainContract)
//	GET /v1/contract/txn_type/TYPE      CONTRACT
//	GET /v1/contract/ID/logs            {"logs": [{"name", "namespace", "instance", "timestamp", "text"}, ...]}; tail, since
//	any error                           {"error": {"type": "NOT_FOUND", "details": "..."}}
//
// An ID is what follows contract- in a function's name, where that is a UUID, as Dragonchain names functions; else NAME[.NAMESPACE].
// Lists are written as they are read, in bounded memory; one that cannot go on ends with its connection.
//
// A plain read of one key, GET /heap/NAME/KEY, is answered on the gateway's listener without net/http's server, by API.ServeExchange: the
// same answer, for the same credentials, at half the price. A connection that carries anything else as well is net/http's from then on.
//
// A request that is about a namespace may name it in its body, its query or not at all (see resolve.go): clients differ.
//
// # Guarantees
//
//   - Every management route on both listeners asks for credentials, and takes the same time for any wrong ones. Reads of a Dragonchain
//     take a signature in their place (package dc1), and nothing else does.
//   - Bad input is answered with a status from 400 to 499 and one line that says what to mend, before anything changes.
//     Bodies are bounded in size, and in the time that they take to arrive.
//   - No request ends the process: a panic is logged, and answered with 500 where an answer has not begun.
//   - Reads of functions are answered from memory, and lists are never null. The usage of one function, where a client asks
//     for it, is the exception: its replicas tell it. The number of calls is the data plane's: there is no Prometheus to ask.
//   - What callers cannot mend is told to the log and not to them.
//
// # What it leaves to others
//
// Whether a secret exists, an image parses or a name is free is known to what stands behind Functions; pkg/function says
// what a valid Spec is; pkg/proxy answers /function/ and uses this package's table for its errors, by ErrorWriter.
//
// # Sources
//
// The OpenFaaS REST API and github.com/openfaas/faas-provider (types, router semantics). Where OpenFaaS's components
// disagree or err, the answer is the one that all clients take.
package handlers
