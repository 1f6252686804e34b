// Package bolt is the embedded store: one bbolt file, open in one process.
//
// # Layout of the file, schema 4
//
//	meta                              bucket
//	└── schema                        the schema's number in decimal: "4"
//	heaps                             bucket; its sequence is the version of the last commit that wrote to any heap
//	└── <namespace>/<name>/<id>       bucket, one for each heap; its bbolt sequence is the sum of all its keys' and
//	    │                             values' bytes, which the quota is held against: it changes in the same
//	    │                             transaction and on the same page as what it counts
//	    └── <key>                     version, time and call id of the last write, and the value as committed (see
//	                                  encodeEntry); the value is compact JSON, when it came from a contract's answer
//
//	calls                             bucket
//	└── <namespace>/<name>/<id>       bucket, one for each heap with a recorded answer
//	    ├── ids                       bucket; its sequence is the sum of the bytes of the log's values
//	    │   └── <call id>             the key of its entry in the log
//	    └── log                       bucket; its sequence is the last key that was given
//	        └── <number>              8 bytes, big-endian, so that the oldest come first: the time of the commit (8 bytes, Unix
//	                                  nanoseconds), the call id (2 bytes of length before it), and the record as
//	                                  driver.EncodeRecord writes it
//
//	queue                             bucket; its sequence is the last id that was given
//	└── <namespace>/<name>/<id>       bucket, one for each function that had something in the queue
//	    └── <id>                      8 bytes, big-endian: an item as driver.EncodeItem writes it, dead letters among them
//	ticks                             bucket
//	└── <namespace>/<name>/<id>       the time of the last tick (8 bytes, Unix nanoseconds) and the id of its item (8 bytes)
//
// What is in the queue is known in memory as well, without its payloads, and so are leases and who stands in line: the lock of
// the file is what makes them this process's alone. Which items are leased is noted in a file beside it (see begun), so that it
// shows at which of them a process died.
//
// Schema 3 had no queue and no ticks, schema 1 no calls. Up to schema 2 a key held its value alone, which was JSON and so is told from an entry of today by its
// first byte: it stays as it is until it is written again. Each commit deletes some of the oldest entries if they are too old or too many.
//
// None of the three parts of a heap's name can contain a slash, so no two heaps share a bucket.
//
// A file with another schema number is refused with heapstore.ErrSchema. When the layout changes, the number is raised, and
// Open gets a step that rewrites schema n as n+1 and sets the number in the same transaction, so that a crash leaves either
// the old layout or the new one. A file never goes back to an older schema.
//
// # Guarantees
//
// Those of package heapstore, whether the process dies or the machine's power goes, as far as the disk has what it says it has
// synced. After an error of the disk a commit is not there, unless the last step of all failed, the
// sync: then it may show when the file is opened again.
//
// # Sources
//
// bbolt's guarantees: https://pkg.go.dev/go.etcd.io/bbolt.
package bolt
