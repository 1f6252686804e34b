// Package dc1 is DC1-HMAC, by which clients of a Dragonchain sign their requests and a chain knows them.
//
// # Words
//
// A chain has a public id. A key has an id and a text, which is what is signed with, as it stands. A mac is the signature.
//
//	dragonchain: CHAIN
//	timestamp: 2026-01-02T15:04:05.678Z
//	Authorization: DC1-HMAC-SHA256 KEY-ID:MAC         or BLAKE2b512, or SHA3-256
//
//	MAC = base64(HMAC(key, METHOD \n PATH?QUERY \n CHAIN \n TIMESTAMP \n CONTENT-TYPE \n base64(HASH(body))))
//
// # How a request is judged
//
//	headers ─► chain ─► version, hash ─► timestamp, 10 minutes ─► key id, mac ─► mac as ours? ─► not seen before? ─► nil
//	    └────────┴────────────┴───────────────────┴─────────────────┴─────────────┴───────────────────┴─► ErrRefused
//
// The text of the error is what a Dragonchain tells its clients. Whether it is the key or the mac that is wrong it does not tell,
// nor does the time that it takes.
//
// A path is signed as it was sent by some of Dragonchain's SDKs, and by others as it reads without its escapes: both are taken. A
// question mark with nothing behind it is not signed.
//
// # Guarantees
//
// A request is let in once: its mac is remembered for longer than its timestamp is good for, looked up and remembered in one step.
// Only who has a key makes this memory grow, which is bounded: past the bound requests are refused with ErrTooMany, and
// none is forgotten early. Each process remembers what it let in itself; another one, or the same started again, would let the
// same request in once more, for as long as its timestamp is good.
//
// A Verifier is safe for concurrent use. It starts nothing.
//
// # What it leaves to others
//
// Where keys are kept, what a key may do, and how a refusal is answered.
//
// # Sources
//
// Dragonchain's documentation and behaviour. What it lacks is a memory of macs that is as long as timestamps are good.
package dc1
