// Package scaler decides how many replicas a function has: none when nobody calls it, some again when somebody does.
//
// # Words
//
// A function is idle since its last call ended, since it was last seen to come up from zero, or since it was deployed,
// whichever is latest; what was before this process began is not known and counts as its beginning. A wake is the act
// that ends a function's time at zero. A turn is the right to change one function's replicas.
//
// # How one decision travels
//
//	every Interval                                a call that has to wait
//	      │                                                 │
//	Functions, Load ─► decide ──► keep                      ▼
//	                     │ │                   Wake: one per function, however many call
//	                     │ └─ wake ────────────────────►    │
//	                     ▼                                  ▼
//	                    zero ─► take the turn ◄──────── take the turn
//	                               │                        │
//	                     Quiesce: a call there? leave it    at zero? SetReplicas(Initial)
//	                     SetReplicas(0)                     otherwise it is awake already
//	                     failed? Resume
//
// # Guarantees
//
//   - Only a function with com.openfaas.scale.zero goes to zero by itself; any function at zero is woken by a call.
//   - Going to zero and waking of one function never overlap. A call that comes while its function goes to zero waits,
//     and wakes it when that is done.
//   - However many callers wait, one wake is under way for a function. It ends when the last of them has left. If it
//     fails, all of them are told why, and the next call tries again.
//   - A call that waits at a function at zero without a wake, because it was sent to zero after the call had come, gets
//     one in the next round.
//   - A function that was woken by a claimed spare gets replicas of its own when its demand lasts, or is more at a time than
//     one replica should have; a single short call leaves it at that. steady, which tells, is pure, too.
//   - decide is pure: time, policy and load come in, a decision goes out.
//
// # What it leaves to others
//
// Calls in flight and waiters are counted, held and released by pkg/proxy. How a replica is made is pkg/kube's, as is
// clamping what the API is asked for.
package scaler
