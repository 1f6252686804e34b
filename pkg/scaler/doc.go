// Package scaler decides how many replicas a function has: as many as its load needs, none when nobody calls it, some again
// when somebody does.
//
// # Words
//
// A function is idle since its last call ended, since it was last seen to come up from zero, or since it was deployed,
// whichever is latest; what was before this process began is not known and counts as its beginning. A wake is the act
// that ends a function's time at zero. Standby are replicas that stay, parked, where a function would go to zero. A turn is
// the right to change one function's replicas. A trace is a function's load in the rounds of a window; a burst is a load of
// twice what the replicas are to have, for two rounds.
//
// # How one decision travels
//
//	every Interval                                                a call that has to wait
//	      │                                                                 │
//	Functions, Load ─► decide ──► keep ─► trace ─► recommend                ▼
//	                     │ │                         │           Wake: one per function, however many call
//	                     │ └─ wake ──────────────────┼────────────────────► │
//	                     ▼                           ▼                      ▼
//	                    zero ─► take the turn   take the turn ◄────► take the turn
//	                               │                 │                      │
//	                     standby? SetReplicas   SetReplicas        at zero? SetReplicas(Initial)
//	                     Quiesce: a call there? leave it           otherwise it is awake already
//	                     SetReplicas(0)
//	                     failed? Resume
//
// # How many replicas a load needs
//
// The load of a window, divided by target times target-proportion and rounded up, within min and max: the calls that come
// each second, as their mean over 30 s; the calls that are there, as the highest mean of a second in 45 s; or the processor
// time that the watchdogs tell of, as its mean over a minute. Invocations that are queued count with the calls that are there, or as
// calls that come within the window; not of a serial contract, which more replicas would not help. A burst of calls each second is met in one step. Replicas go one
// at a time, or as many as the factor says, 5 s apart, when none has come in the window, when no two rounds of it needed
// them, and when the others have room for a twentieth more than the load, so that no constant load has one come and go.
//
// # Guarantees
//
//   - Only a function with com.openfaas.scale.zero goes to zero by itself; any function at zero is woken by a call.
//   - There are never more than max, nor fewer than min but at zero and in standby, and never so few that the calls at
//     replicas would pass the function's limit. A load of which not all is known takes no replica.
//   - What a user has changed since it was looked at is not changed again; what a user adds stays for a window.
//   - Going to zero and waking of one function never overlap. A call that comes while its function goes to zero waits,
//     and wakes it when that is done.
//   - However many callers wait, one wake is under way for a function. It ends when the last of them has left. If it
//     fails, all of them are told why, and the next call tries again. While Kubernetes does not answer it is tried until it
//     does.
//   - A call that waits at a function at zero without a wake, because it was sent to zero after the call had come, gets
//     one in the next round, if the function was up within the last minute, and in one of the next thirty otherwise.
//   - A round takes no time for functions at rest; one in thirty asks each of them whether it is called.
//   - A function that was woken by a claimed spare gets replicas of its own when its demand lasts, or is more at a time than
//     one replica should have; a single short call leaves it at that. steady, which tells, is pure, too.
//   - decide and recommend are pure: time, policy and load come in, a decision goes out.
//
// # What it leaves to others
//
// Calls in flight and waiters are counted, held and released by pkg/proxy. How a replica is made is pkg/kube's, as are which
// one goes and clamping what the API is asked for. Parking is the watchdog's.
package scaler
