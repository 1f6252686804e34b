// Package invoke runs invocations of contracts: it calls the function, makes what it answered permanent in its heap, and
// only then answers the caller. It also makes the calls that nobody waits for, of contracts and of all other functions: those that
// were accepted to be made later, and those by the clock.
//
// # Words
//
// A contract is a function with a heap. Its answer is what it writes: an object's members are keys of the heap. A commit
// makes them permanent, all or none.
//
// A repeat is a request with the call id (X-Call-Id) of another and the same method, path, query and body.
//
// An item is what is in the queue: an invocation that was accepted, or a message, which is a callback or a
// transaction for the chain. A dead letter is one that is
// tried no more. A line is the order of a serial contract's invocations, and a turn the right to run. A tick is a time at which a
// schedule has its function called.
//
// # How an invocation travels
//
// A call id that runs in this provider already is waited for; one that has taken effect is answered from the record, with
// the header X-Call-Replayed: true; one that belongs to another request is ErrCallReused. Any other:
//
//	caller ─► body, bounded ─► Call ─► answer, bounded ─► 2xx? ─► writes ─► Commit ─► the answer as given
//	              │              │            │             │no      │         │
//	              ▼              ▼            ▼             ▼        ▼         ▼
//	          too large,  Call's error   broken off,   the answer  refused   the store's error
//	          too slow                   too large     as given
//
// What leads down to anything but the answer is an error: Config.Error answers, and nothing was written.
//
// Of a serial contract, a caller waits for its turn before the Call, and the Commit ends it.
//
// # How an asynchronous invocation travels
//
//	ServeAsync ─► body, bounded; callback's URL ─► Enqueue ─► 202
//	clock ──────► Tick ──────────────────────────────┤
//	                                                 ▼
//	                     ┌────────────────────► queue ─► Run leases it ─► Call ─► last word? ─► Commit or Settle: it leaves,
//	                     │ after a wait                                             │ no        and the callback is queued
//	                     └──────────────────────────── tries left, status to retry? ┤
//	                                                                                └─► dead letter, and the callback
//	callback ─► queue ─► Run leases it ─► POST ─► taken: it leaves; not taken: after a wait again, at last a dead letter
//
// What a schedule missed while no provider ran is made up by one tick, the latest. A tick is left out while the one before it is
// not done. Both are decided by the queue, in the transaction that adds the tick, so that any number of providers may look at the
// clock.
//
// # What a contract sees of its heap
//
// With each call goes a URL in the header X-Heap-Url, if Config.HeapURL makes one, under which the contract finds its View: what is
// committed, and over it what this very call has written. The view is the provider's memory, bounded, and ends with the call. What it
// holds then is a part of the call's commit, before the answer's own writes, if the answer succeeded (200 to 299); otherwise, and if
// the provider ends, it never was.
//
//	GET, list ─► ended? ─► own write? ─► it; else Store.Get, Store.List
//	PUT, DELETE ─► ended? full? condition holds now? ─► own write; the condition goes with the commit
//	                                        └─► no: function.ErrCondition, which the contract may mend
//	answer ─► the view ends ─► Commit: conditions ─► hold: durable
//	                                       └─► do not: the contract is called again, with a new view, at most 8 times in all: ErrContended
//
// Reads are not conditions: who has read one key and writes another compares nothing. A key is read as it is committed at that moment,
// so that two reads may see different commits of others.
//
// # What an answer writes
//
//	answer                                          key           value
//	status other than 2xx                           none
//	status 204 or 205, or to a HEAD: has no body    none
//	{"a": {"x": 1.0}, "b": null}                    a, b          {"x":1.0} and null
//	  with OUTPUT_TO_HEAP exactly false             none
//	  with OUTPUT_TO_HEAP anything else             that too
//	any other JSON: [1], 7, "text"                  rawResponse   the whole text as a JSON string
//	no JSON: bacon\n, NaN, nothing at all           rawResponse   the whole text as a JSON string, "bacon\n", ""
//
// A value is the contract's own spelling without the blanks between tokens: numbers keep their digits, strings their
// escapes. If a member occurs more than once, the last one counts. What is nested more than 10,000 deep is no JSON to us.
//
// These are refused as a whole, so that nothing is stored in a form from which the answer cannot be had back: text that is
// not UTF-8; a member's name with half a surrogate pair, which no key can hold; a Content-Encoding other than gzip (the
// call asks for none); an object of more than 65,536 members. A gzip answer is decoded for the heap and given to the caller
// as it is. Limits of keys, values and of the heap are the store's.
//
// # Guarantees
//
// A call id takes effect once. What an invocation writes and what a repeat of it is answered are one commit, which the store
// refuses if the call id has taken effect before, whichever provider made it. So of two providers that run the same call at
// once, after a crash or because a caller asked both, one commits, and the other answers with that one's answer. The contract
// itself may run more than once. How long a repeat is known is the store's to say.
//
// Recorded is every answer that is the last word on a call whose id its caller chose: with any status below 500 but 408, 425 and 429. After
// these, and after an error from us, a repeat runs the contract again.
//
// An item leaves the queue in the transaction that commits what its contract's answer changes, its record and its callback. A
// provider whose lease ended before cannot commit. So whatever dies whenever, a contract runs again at most, and nothing of it is
// committed twice. One at which ten providers have died becomes a dead letter. A function without a heap may have run when it runs again; its leaving and its callback are one transaction.
// A callback is delivered at least once, and so is a transaction for the chain, which is queued with the commit of the answer that it
// is made of: those of a serial contract one at a time, in the order of their commits, and with ids that a repeated run has again.
//
// A function with much in the queue does not keep others from being called: it is given no more of the workers while it has as many as
// there are free.
//
// A serial contract runs one invocation at a time, in the order of their acceptance: an asynchronous one is accepted when it is on
// the disk, a caller when his body was read. A turn ends with its call, which the call's own deadlines bound. Items that are to
// be tried again keep their place.
//
// Callbacks go to no loopback, link-local, multicast or unspecified address, whatever name leads there, and with an allow-list to
// nothing else; redirects are not followed.
//
// A caller that gets the function's own 2xx answer has its effects on the disk. A caller that gets an error from us has
// none of them, except that after an error of the disk itself the commit may show as a whole. If the caller goes away
// before the commit, its invocation is cancelled and nothing is written; afterwards the commit stands. Status, headers and
// body reach the caller as the function gave them, framed anew.
//
// Time is linear in the size of the body and the answer, and memory bounded by Config's limits, whatever they hold.
// An Invoker is safe for concurrent use. Only Run starts goroutines, and waits for them.
//
// # What it leaves to others
//
// Endpoints, waking, retries and the time limit are Config.Call's (pkg/proxy), durability and limits the store's
// (pkg/heapstore), the statuses of errors Config.Error's (pkg/handlers). A contract cannot be upgraded to another protocol:
// it has one answer.
//
// # Sources
//
// The meaning of answers is Dragonchain's contract invoker's, where that is sound, and what a contract is called with by the clock
// its scheduler's, and so are output transactions and how they are signed; its weekday numbers, which no other cron has, are not. Callbacks, retries and the other form of schedules are
// OpenFaaS's. github.com/robfig/cron reads cron expressions.
package invoke
