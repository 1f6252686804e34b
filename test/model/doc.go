// Package model kills a provider at random moments and checks from what its callers saw that every effect is there once.
//
// # What runs
//
//	clients ──► dc-provider, the real program ──► contracts, a process of their own ──► their heaps, through the provider
//	                 │        │
//	                 │        └─► chain, which notes what comes
//	                 └─► store: a bbolt file, or a real PostgreSQL
//
// With a database there are two providers, too, of which one is killed while the other goes on.
//
// The one part that is not real is Kubernetes: an API server that has the records and pods of the contracts, keeps what it is given
// and does nothing of itself. Every address is one of 127.0.0.0/8, and of root's runs in a network of their own.
//
// # A round
//
// A provider is started, clients call serial and parallel contracts, with and without waiting for the answer, repeat what they called
// before, alone and two at once, and read; then the provider gets SIGKILL, at times before it answers at all. Callers that were not
// answered ask again in a later round, most of them. After the last round everything that was accepted is waited for.
//
// # What is checked
//
// A serial contract appends its call id to a log, in a heap that it reads before. So the log tells how often and in which order
// invocations took effect: github.com/anishathalye/porcupine looks for an order of all calls that agrees with the numbers that callers
// were told and with the times between which they asked and were answered; and again with those at which what was not waited for was
// accepted, for the order is that of acceptance. A parallel contract writes the same random number to several keys: two that differ
// are a torn commit, one that differs from what a caller was told is a second effect. The chain has to have every entry of a log, with
// the same id however often it came, and the first of each in the log's order.
package model
