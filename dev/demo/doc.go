// Demo deploys the examples to a running provider and invokes each at once, with the official Go SDK: what a user sees in the first
// minute, and a check that it all works.
//
//	usage: OPENFAAS_URL=... OPENFAAS_USER=... OPENFAAS_PASSWORD=... demo [-examples dir]
//
// It deploys examples/stack.yml as faas-cli does: PUT, and POST where the function is new. It may be run again: balances go on from
// where they were. The first answer that is not as it should be ends it with exit code 1 and says which.
package main
