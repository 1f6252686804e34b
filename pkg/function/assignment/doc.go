// Package assignment is the protocol by which the provider makes a spare pod of the warm pool a replica of a function. Both
// sides use this package, so that they cannot disagree.
//
// Why it exists: of a running pod only image, labels, owner and resources can change. Whatever else a function is made of,
// secrets among it, has to be brought to the pod while it runs, where nobody but that pod may read it and nobody but the
// provider may have sent it.
//
// Words:
//
//	spare         a pod whose only container runs "dc-watchdog spare", and has no function yet
//	provider key  the provider's own X25519 key, derived from its ready key; the spares have its public half in their environment
//	spare key     a spare's X25519 key, made by its process at its start, and gone with it
//	identity      which pod a spare is, and a service-account token by which Kubernetes confirms it
//	assignment    all that makes the pod a replica: environment, command, secrets
//	claim         assignment, then the change of the pod's image; the container starts again, in the same pod, and reads what it
//	              was assigned
//
// One claim:
//
//	spare                                               provider
//	   | POST <DC_SPARE_URL>  Call{pod} -------------------> | is that a spare of mine? then asks who is there:
//	   | <--- GET /_/spare on the caller's own address ----- | X-Dc-Challenge: readypush.NewChallenge()
//	   | ---- 200, SealIdentity(challenge, address, ...) --> | OpenIdentity; TokenReview; asks Kubernetes for the pod
//	   | <--- 204: known ----------------------------------- |
//	   .                                                     .   until a function is to be woken
//	   | <--- POST /_/spare  Seal(spare, assignment) ------- |
//	   | Open, write, 204 ---------------------------------> | PATCH of the pod: image, labels, owner
//	   |
//	   | SIGTERM by the kubelet; the container starts again in the function's image, reads the assignment, serves, and tells
//	   | of its readiness: package readypush
//
// A provider that has just started asks (GET) the spares that it finds; they need not call again. What a spare that was assigned
// something tells of itself has the function's name, so that a claim that was cut off there can be seen.
//
// The spare answers a GET 200, or 400 if the challenge has not its form, and 503 while it has no token; a POST 204 when
// the assignment is kept, 409 if it has one, 400 or 401 if it is not an assignment for this spare, 413 if it is too long, and 507 if
// it cannot be kept. Who got no answer to a POST cannot know, and must not give the spare to anybody else. Its /_/health
// answers 200, and so does its /_/ready until it is assigned something; everything else is 503. The provider answers a call 204 when it knows the spare, and
// anything else when that should be tried again.
//
// # Wire
//
//	identity     version 1 (1 byte) | spare key (32) | nonce (12) | AES-256-GCM of JSON
//	             key: HKDF-SHA256(ECDH(spare, provider)), salted with both public keys, for this challenge and address
//	assignment   version 1 (1 byte) | one-time key (32) | AES-256-GCM of the length (4+16) | AES-256-GCM of JSON
//	             key: HKDF-SHA256(ECDH(provider, spare), ECDH(one-time, spare)), salted with all three public keys, for this pod
//
// The length is sealed on its own, so that a spare, which has little memory, reads on only for the provider.
//
// # Guarantees
//
//   - Only the provider can assign: the key needs its private key, or the spare's. Only that process of that pod can
//     read it: the spare key never leaves it, and the pod's name and uid are part of the key. A spare that was started again
//     has another key, so nothing that was sent before opens. With the one-time key, which the provider forgets at once, what was recorded
//     stays closed even to who gets hold of the provider key later.
//   - Only the spare's pod can register: the token is made by Kubernetes for this pod and this audience, and travels sealed to the
//     provider key. What was recorded answers no other challenge, and no other address.
//   - Whoever reads pods finds a public key there. Whoever is on the network sees lengths, pods' names and public keys; who can hold
//     messages back can keep a claim from happening, and no more.
//   - Open reads at most the 53 bytes of its head for a stranger, and MaxBytes for the provider. Nothing here panics on what was received.
//
// # What the provider has to do
//
// The token is in the pod for as long as it lives, and the function that runs there later can read it. It opens nothing of
// Kubernetes (its audience is the provider's), but with it that function can register its own pod, with a key of its own, as a spare. So the
// provider must ask Kubernetes for the pod AFTER it was told the identity, not a cache, and refuse one that is not, or no
// longer, an unclaimed spare: the function starts after its pod has been changed, so that an answer can not be too old.
// It must believe name and uid as TokenReview gives them, and compare them with the identity's. It must not
// hand out the same spare twice, and must never make a spare of a pod that was claimed.
//
// # What the function can see
//
// The assignment stays in the pod's memory (a tmpfs) for a container that starts again, and the function can read it: it is what the function is
// given anyway. The token of its ready push is not: it is kept in a file of its own, and taken away before the function starts. A
// container that starts again therefore pushes nothing, and Kubernetes' probe tells of its readiness.
//
// # Left to others
//
// HTTP on both sides (package watchdog; the provider), keeping the assignment (package watchdog), Kubernetes (package kube).
//
// # Sources
//
// RFC 7748 (X25519), RFC 5869 (HKDF), the Noise Protocol Framework for the mixture of keys of long and short life, and Kubernetes'
// documentation of TokenReview and of bound service-account tokens.
package assignment
