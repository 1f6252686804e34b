// Package bolt is the embedded store: one bbolt file with a log in front of it, open in one process.
//
// # Layout of the file, schema 5
//
//	meta                              bucket
//	├── schema                        the schema's number in decimal: "5"
//	└── log                           the name of the log without which the file is not whole, in hexadecimal; absent if it stands alone
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
// Schema 4 had no log beside it, schema 3 no queue and no ticks, schema 1 no calls. Up to schema 2 a key held its value alone, which was
// JSON and so is told from an entry of today by its first byte: it stays as it is until it is written again. Each commit deletes some of
// the oldest entries if they are too old or too many.
//
// None of the three parts of a heap's name can contain a slash, so no two heaps share a bucket.
//
// A file with another schema number is refused with heapstore.ErrSchema. When the layout changes, the number is raised, and
// Open gets a step that rewrites schema n as n+1 and sets the number in the same transaction, so that a crash leaves either
// the old layout or the new one. A file never goes back to an older schema.
//
// # How a commit gets to the disk
//
//	group ─► changed in bbolt's transaction, and noted ─► FILE.wal: one write, one sync ─► overlay ─► read, answered: it is pending
//	                                                          │
//	                                                          └─► error: rolled back, and what was pending before done again
//	when enough is pending, when nothing is committed for 50 ms, or when somebody needs it: a flush
//	bbolt commits all of it, with no sync ─► overlay emptied
//	    └─► error: it stays pending, is read, and nothing more is taken until it can be flushed
//	now and then, and at Close: a checkpoint
//	flush ─► file synced, while commits go on ─► bbolt's list of free pages written ─► the rest synced ─► its meta page in the log's head, synced ─► log begun anew
//
// bbolt alone syncs twice for each transaction, and many scattered pages. So it syncs nothing here: a group of commits is durable because what it
// did is in the log (see ops.go and wal.go for their layout), and bbolt's file, which the page cache always has whole and new, may be torn
// by a power cut anywhere but in what the last checkpoint reaches. That is kept by a transaction which reads the checkpoint as long as it is
// the last: bbolt uses none of the pages again that an open transaction reads. So the file grows, between two checkpoints, by no more than
// the pages that the first has and that change.
//
// And bbolt writes whole pages for each transaction, which takes longer than the log's sync. So one transaction stays open for many groups.
// Its groups are in memory three times until it is flushed, in bbolt's pages, as the log's records and in the overlay, which is why their keys
// and bytes are bounded (pendingKeys, pendingBytes). A group that makes or deletes a bucket, or is as large as may be pending, is flushed
// before it is answered; if that fails it is taken out of the log, and never was. A group that fails otherwise, in the log or by a panic, takes
// bbolt's transaction with it: the next one begins with the records of those that are pending.
//
// Open takes the file back to the last checkpoint, whether the process died or the power went, by putting its meta page where bbolt looks for
// it, and does the log's records again, up to the first that is not whole or not the next. It begins with a checkpoint, if the disk has room
// for one. Close makes one and says in the file and in the log that the file stands alone.
//
// bbolt waits for all that read when it maps more of its file, and would wait for the checkpoint's transaction for ever. So it is told
// not to (MaxSize), has 4 GiB mapped from the start, and when that is not enough its transaction is made again, without that of the
// checkpoint, and is the next checkpoint. As there is no way back from that, the file is given the room first. If it fails all the same,
// nothing is written until the store is opened again, which does the log again from the checkpoint that is still there.
//
// A checkpoint is made when the log has 64 MiB, or when many pages wait for one. The log is made larger as needed, and keeps its size.
//
// # How a key is read
//
//	Get ─► kept in memory? ─► a copy of it
//	              └─► no: pending? ─► a copy of it ──────────────────┬─► kept, unless a commit came between
//	                        └─► no: bbolt's transaction ─► a copy ───┘
//
// Keys that were read lately are kept in 16 MiB of memory, but for values of more than 32 KiB. What a commit writes is taken out when
// it is durable and nobody can see it, and nothing of it is kept until all who read can: see cache.
//
// What is looked for by its name, keys, records of calls, items of the queue and clocks, is looked for in the overlay, and then in bbolt,
// which has it before the overlay lets go of it. So that waits for no commit, and sees all that was acknowledged and nothing that is not
// durable. Lists of keys and the usage of a heap wait for the group that is being made, and flush; if that fails, they read the transaction
// that could not be flushed.
//
// # What belongs together
//
// While the store is open, and after it was not closed in order, FILE is nothing without FILE.wal: they are copied, moved and deleted
// together, and no other program may write to FILE (a bbolt that writes would use the checkpoint's pages). A log that is damaged, or not
// the file's, is refused with heapstore.ErrSchema, as is a file that needs one and has none, and nothing is touched: FILE alone may be torn,
// and nothing would tell. After a Close, FILE is all there is to it. A snapshot stands alone too. Restore takes the log away with the
// file that it replaces, and takes nothing that needs one.
//
// # Guarantees
//
// Those of package heapstore, whether the process dies or the machine's power goes, as far as the disk has what it says it has
// synced. After an error of the disk a commit is not there, unless a sync failed: then it may show when the file is opened again, and
// the store writes nothing more until it is, since such a disk may have lost anything of what it was given; it can be read meanwhile.
// A disk without room for the file fails commits that were not acknowledged, and none that were: those are in the log.
//
// # Sources
//
// bbolt's guarantees: https://pkg.go.dev/go.etcd.io/bbolt.
package bolt
