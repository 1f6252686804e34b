// Package peers tells the provider that leads what functions have to do at the others, and all of them what pods tell one.
//
// # Words
//
// Peers are the providers behind one Service, this one among them. The leader is the one that scales. A report is what a peer
// tells: of each function that has a call, or had one since the last report, the calls in flight and waiting, whether they reach no
// replica, when one last came or ended, and what has been counted since the peer began. A process is one run of a provider.
//
// # How a round travels
//
//	Providers (asks Kubernetes) ─► addresses ─► GET /dc/load?since=... of each ─► Load: sums over all but ourselves
//	                                                  │
//	                                      Handler ─► Loads (memory)
//
// How a pod's word travels: of its function's readiness, or that it is a spare
//
//	pod ─► POST to whichever provider the Service chose ─► Pass ─► POST of each other, with the pod's address ─► Passed
//	                          │                                                            │
//	                connects back to the pod                                     connects back to the pod
//
// # Guarantees
//
//   - What is passed on is the pod's own word and its address, under a MAC of the providers, and goes no further than one provider.
//     Each has the pod prove it. A word that is lost on that way the watch of Kubernetes tells, as it tells lost pushes.
//
//   - A report counts only if it was made for the question that it answers, by a holder of the providers' key: the question
//     carries a nonce, and the MAC of the report covers it. Questions are authenticated too, since reports name functions. They
//     hold no secret and travel in the clear.
//
//   - What is not known is said: Load is partial from the moment that a provider is listed until it has reported, and while it
//     has not for reportLife; so nothing is taken for idle that may be busy there. A provider that is listed and does not
//     answer, as on a node that was lost, has functions keep their replicas until Kubernetes takes it off the list.
//
//   - Counters only grow: a process that begins anew, or goes, takes nothing away, and what one had counted before its first
//     report was heard adds nothing.
//
// # What it leaves to others
//
// Who leads: pkg/kube. What follows from a load: pkg/scaler. Calls that come to a peer after its report, while their function
// goes to zero, are sent on by that peer's own proxy: it sees the record, and wakes the function.
package peers
