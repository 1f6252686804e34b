// Package readypush is the protocol by which a watchdog tells the provider, without waiting for Kubernetes, that a function
// can take calls, and by which it tells, when it is asked, what it uses. Both sides use this package, so that they cannot
// disagree.
//
// Why it exists: the kubelet learns of a new container only when its relist comes round (up to a second) and its probes
// have a floor of one second. The watchdog knows at once.
//
// Words:
//
//	token      a secret of one function's record, derived from the provider's ready key; the provider and that function's
//	           pods have it, and who may read its Deployment
//	message    what the watchdog posts: function, pod, a fresh nonce, and a mac over the three; and how long it has run and
//	           been able to serve, with a mac over these two and the nonce
//	challenge  a random word the provider sends when it connects back
//	proof      the mac of the challenge and of the address it was sent to, which only a holder of the token can make
//	usage      processor time, memory and invocations of one watchdog's container
//
// One push:
//
//	watchdog                                             provider
//	   | POST <ready url>  {function,pod,nonce,mac} ------> | token of the function's record; Message.Verify
//	   | <---- GET /_/ready on the caller's own address --- | X-Dc-Challenge: NewChallenge()
//	   | ---- 200, X-Dc-Proof: Proof(challenge, address) -> | Token.CheckProof, then the endpoint takes calls
//	   | <---- 204 ---------------------------------------- |
//
// The address is asked on port 8080, or on ProbePort where the function serves by itself and the watchdog stands beside it.
//
// The provider answers 204 when the endpoint is taken, 401 when the mac or the proof is wrong (the watchdog then stops), and
// anything else when it should be tried again. The endpoint is taken if Kubernetes tells of the pod, at that address if it tells of one:
// who may read a Deployment has its pods' token, and is no replica for that.
//
// One look at the usage:
//
//	provider                                             watchdog
//	   | GET /_/usage  X-Dc-Challenge: NewChallenge() ----> | to the address of an endpoint of the function
//	   | <---- 200, SealUsage(challenge, address, usage) -- | OpenUsage
//
// Anybody who may call the function can ask, for its paths are the watchdog's; so it is not the asking that needs the token
// but the reading. The answer is sealed (AES-256-GCM) under a key made of token, challenge and address: there is no clock to
// agree on and no request to replay, an answer kept from earlier opens for no other challenge, and one of another pod, which
// may have got the address meanwhile, for none.
//
// The way to a contract's heap in the course of a call is drawn in heap.go. The seal of its URL, and the proof that the watchdog shows,
// are macs over texts with prefixes of their own, too.
//
// Guarantees: nothing but a holder of the token can make a message or a proof; a message cannot be used as a proof nor the
// other way round, for each is a mac over text with a prefix of its own; all comparisons take constant time; Parse reads at
// most MaxMessageBytes and never panics.
//
// Left to others: sending (package watchdog), answering (the provider), and refusing a nonce that was seen before. A replayed
// message brings an attacker nothing on its own, since the address that it comes from must also prove that it has the token, and a proof
// that it has another make is one of another address.
package readypush
