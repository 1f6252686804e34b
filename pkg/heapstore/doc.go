// Package heapstore keeps the heaps of contracts: what a contract's invocations have committed, by key.
//
// # Words
//
// A heap belongs to one record of a contract (function.Heap) and maps keys to values. A commit makes the writes of one
// invocation permanent, all or none. A driver is a kind of store; Bolt is the one that is embedded, a single file that
// one process has open. Package heapstoretest is the suite that every driver passes.
//
// # How a commit travels
//
//	Commit ─► limits of keys and values ─► waiting ─► leader's batch ─► heap there? quota? ─► put ─► fsync ─► nil
//	                │                         │                            │
//	                └─► ErrKey..., ErrValue.. └─► ctx ended: ctx.Err()     └─► ErrNoHeap, ErrQuota: nothing of it is put
//
// Whoever comes while no transaction is under way leads at once and waits for nobody. Whoever comes during a transaction
// waits for its end; the first to go on then leads all that wait in one transaction, which costs one sync of the disk
// however many they are. So a lone commit is as fast as the disk, and many at once share its cost.
//
// # Guarantees
//
// Everything is safe for concurrent use. When Commit, Create or Drop returns nil, the effect is on the disk. When Commit
// returns one of this package's errors or a context's, nothing of it was written, now or later. After any other error
// the disk failed; the commit is then either whole or absent, and which of the two shows when it is read. A full disk is
// such an error: the store stays consistent, goes on reading, and writes again when there is room.
//
// A read sees every commit that returned before it began, and never half of one.
//
// Keys have 1 to MaxKeyBytes bytes of UTF-8, values at most MaxValueBytes. A heap's quota bounds the sum of its keys' and
// values' bytes; a heap that is above its quota, because the quota was lowered, still takes commits that do not make it
// grow.
//
// # Layout of the bbolt file, schema 1
//
//	meta                              bucket
//	└── schema                        the schema's number in decimal: "1"
//	heaps                             bucket
//	└── <namespace>/<name>/<id>       bucket, one for each heap; its bbolt sequence is the sum of all its keys' and
//	    │                             values' bytes, which the quota is held against: it changes in the same
//	    │                             transaction and on the same page as what it counts
//	    └── <key>                     the value as committed: compact JSON, when it came from a contract's answer
//
// None of the three parts of a heap's name can contain a slash, so no two heaps share a bucket.
//
// A file with another schema number is refused with ErrSchema. When the layout changes, the number is raised, and
// OpenBolt gets a step that rewrites schema n as n+1 and sets the number in the same transaction, so that a crash leaves
// either the old layout or the new one. A file never goes back to an older schema.
//
// # What it leaves to others
//
// What a contract's answer writes is decided in pkg/invoke; who may read a heap, and the statuses of our errors, in
// pkg/handlers; when a heap is made and dropped, in pkg/kube.
//
// # Sources
//
// bbolt's guarantees: https://pkg.go.dev/go.etcd.io/bbolt. Leading a batch instead of waiting for a timer is how LevelDB
// groups its writers (DBImpl::Write).
package heapstore
