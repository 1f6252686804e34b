// Package postgres is the store that any number of providers share: a PostgreSQL database.
//
// # Layout, schema 5
//
//	dc_schema    version                          a row for each migration that was made
//	dc_heaps     id, namespace, name, record,     one row for each heap; bytes is the sum of all its keys' and values'
//	             bytes, version                   bytes, which the quota is held against; version counts its commits
//	dc_entries   heap, key, value, version,       what is in the heaps: version is that of the commit that wrote the key last,
//	             call, at                         call its call id and at its time
//	dc_calls     heap, id, at, record             what is recorded of each call id that has taken effect; deleted in the
//	                                              background when it is too old or too much
//	dc_queue     id, namespace, name, record,     what was accepted and is not done: invocations, messages, callers in line and
//	             kind, due, dead, payload,        dead letters; with whose each is until when (owner, until), a number that a
//	             owner, token, until, lost, ...   commit under that lease is checked against (token), and how many leases
//	                                              ended by themselves (lost)
//	dc_ticks     namespace, name, record,         the last tick of each function that has a schedule, in Unix nanoseconds, and
//	             at, item                         the item that it became
//	dc_dropped   heap                             heaps whose entries are still to be deleted
//	dc_lanes     owner, lane, seq, at             the last transaction of each lane of each store
//
// The files in migrations are the schema, and each is one step of it. Open makes those that are missing in one transaction,
// under an advisory lock, so that providers may start at once. A later schema is refused with heapstore.ErrSchema. While
// providers are being replaced, the older ones work on the newer schema: a step may add, and must not take away what the
// version before it needs. One from before schema 3 gives what it writes no versions: until it is gone a compare-and-set does not
// notice its writes.
//
// # How a commit travels
//
//	Commit ─► lane of its heap ─► batch ─► begin; lane's row; lock heaps; sizes ─► decide ─► write; commit ─► answer
//	                                        └──────── one round trip ────────┘               └ one round trip ┘
//
// A batch's heaps are locked in the order of their ids, so that commits to one heap take place one after the other, whatever
// provider makes them, and no two wait for each other. Read committed is then as good as serializable.
//
// An error of the server that may pass (a lost race, a restart) rolls the transaction back, and it is made again, as long
// as Options.Patience allows. If the connection breaks before the commit was sent, nothing can have been committed. If it
// breaks afterwards, only the database knows. The transaction then has written its number to its lane's row and holds that
// row's lock until its end, whatever becomes of it: so the store asks for that row, waits for the lock, and has the truth:
// either the number is there, or it will never be. Until then nobody is told anything. Only if the database stays away
// longer than Patience does Commit return heapstore.ErrUnknown.
//
// # Leases
//
// A lease is a row's owner and token, and lasts until a time that its Store puts off while it lives. When that has passed another
// Store may take it and raise the token. Whoever ends a lease locks the row by its token in the transaction that commits what was
// done: so a provider that hung, and lost it, cannot commit, however late it comes. A caller in line is a row too, which goes when
// its provider does. Whoever adds to a serial line holds an advisory lock until he has committed, so that the ids of a line
// become visible in their order, and its lowest is its first whatever provider looks.
//
// # Guarantees
//
// Those of package heapstore, as far as the server keeps its own: durable means what its fsync and synchronous_commit say.
// A provider that hangs in the middle of a transaction loses it after some seconds (sessionLimits) and cannot commit it.
//
// # What it leaves to others
//
// The database: its backups, its roles, its replicas. Reads go where writes go.
//
// # Sources
//
// https://www.postgresql.org/docs/current/explicit-locking.html; the outcome of a commit whose connection broke is the
// problem that pg_xact_status was made for, solved here without what only PostgreSQL itself has.
package postgres
