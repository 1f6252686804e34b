package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

const (
	first = 20000
	count = 12000
)

// Reserve returns a port that nothing listens on, at any address, and that no other test is given until this one ends.
func Reserve(t testing.TB) int {
	t.Helper()
	for range count {
		port := first + rand.IntN(count)
		held, err := net.Listen("unix", fmt.Sprintf("@dc-provider-test-port-%d", port))
		if err != nil {
			continue // another test's
		}
		t.Cleanup(func() { _ = held.Close() }) // or with the process
		if ln, err := net.Listen("tcp", fmt.Sprintf(":%d", port)); err == nil {
			if err := ln.Close(); err != nil {
				t.Fatal(err)
			}
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
