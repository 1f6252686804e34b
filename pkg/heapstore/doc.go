// Package heapstore says what a store of heaps is: what contracts' invocations have committed, by key.
//
// # Words
//
// A heap belongs to one record of a contract (function.Heap) and maps keys to values. A commit makes permanent what one
// invocation changes, all or none. An item is what was accepted to be done later, an invocation or a message; the queue keeps
// it, and a lease is the right to do it. A driver is a kind of store:
//
//	bolt:FILE                      package bolt      embedded: one file and its log, one provider
//	postgres://USER@HOST/DATABASE  package postgres  a PostgreSQL database, any number of providers
//
// Package driver is what they have in common, and package heapstoretest the suite that each of them passes. Callers see
// Store, the limits and the errors of this package; only cmd knows which driver is behind them.
//
// # How a commit travels
//
//	Commit ─► limits of keys and values ─► waiting ─► leader's batch ─► heap there? conditions? quota? ─► put ─► durable ─► nil
//	                │                         │                            │
//	                └─► ErrKey..., ErrValue.. └─► ctx ended: ctx.Err()     └─► ErrNoHeap, ErrRecorded, ErrCondition, ErrQuota: nothing of it is put
//
// Whoever comes while no transaction is under way leads at once and waits for nobody. Whoever comes during a transaction
// waits for its end; the first to go on then leads all that wait in one transaction, which costs one sync of the disk
// however many they are. So a lone commit is as fast as the disk, and many at once share its cost.
//
// # Guarantees
//
// Everything is safe for concurrent use. When Commit, Create or Drop returns nil, the effect is on the disk. When Commit
// returns one of this package's errors other than ErrUnknown, or a context's, nothing of it was written, now or later.
// After ErrUnknown, or an error that is not ours, the commit is either whole or absent, and which of the two shows when it
// is read. A full disk gives such an error: the store stays consistent, goes on reading, and writes again when there is
// room.
//
// A read sees every commit that returned before it began, and never half of one. Commits to one heap take place one after
// the other, whoever makes them.
//
// A commit with a call id is recorded with what it writes, and a second one with the same call id is refused with ErrRecorded,
// as long as the record is kept: for the driver's RecordAge, unless a contract has more than MaxRecords or MaxRecordBytes of
// them, when the oldest go first.
//
// Every key has a version, which is another one after each write of it, also if it was deleted between, and with it the call id
// and the time of that write. A commit's conditions name versions, and are checked in its own transaction: of any number of
// commits that want a key as they have seen it, one takes place, and the others get ErrCondition with nothing written. A heap
// that is restored from a backup counts on from the backup's versions.
//
// An item of the queue that was accepted is there until it is settled, buried with the dead letters, or dropped with its function.
// A commit that leaves it and what that commit sends are one transaction, which is refused with ErrLeaseLost if the item was done,
// dropped or given to another provider meanwhile. So an invocation may run more than once and commits once. Of the serial items
// of one function, and the callers in its line, one at a time has its turn, in the order in which they were accepted; one that
// failed and is to be tried again keeps its place.
//
// Keys have 1 to MaxKeyBytes bytes of UTF-8, values at most MaxValueBytes. A heap's quota bounds the sum of its keys' and
// values' bytes; a heap that is above its quota, because the quota was lowered, still takes commits that do not make it
// grow.
//
// # What it leaves to others
//
// What a contract's answer writes is decided in pkg/invoke; who may read a heap, and the statuses of our errors, in
// pkg/handlers; when a heap is made and dropped, in pkg/kube.
package heapstore
