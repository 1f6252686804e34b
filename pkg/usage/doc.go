// Package usage asks functions' replicas what they use, and adds it up.
//
// # Words
//
// Usage is processor time, memory and invocations, as function.Usage says. A look is one round of questions to all replicas of one
// function. Only a replica with a watchdog can tell; of images that serve by themselves nothing is known.
//
// # How one question travels
//
//	Usage ──► a look that is under way, or not older than Life? ──► its result, for however many ask
//	              │ no
//	              ▼
//	          a look: GET /_/usage at every endpoint, AtOnce of them for all functions together ──► sealed answers ──► sum
//
// Package readypush has the protocol: an answer can be read by the holder of the function's token alone, and is believed only
// if it comes from the address that was asked.
//
// # Guarantees
//
//   - A look ends after Timeout. The sums are those of the replicas that have told by then, and say how many they are.
//   - A function at zero is not asked, and not woken. Asking counts as no invocation.
//   - What is remembered is bounded, whatever the number of functions.
//   - When Usage returns to all who asked, nothing that it started is left.
//
// # What it leaves to others
//
// What is made of it: package handlers shows it, and package scaler may scale by it. Where replicas are is known to pkg/kube,
// and how usage is measured to pkg/watchdog.
package usage
