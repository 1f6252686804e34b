package freeport

import (
	"fmt"
	"net"
	"testing"
)

func TestReserve(t *testing.T) {
	seen := map[int]bool{}
	for range 200 {
		port := Reserve(t)
		if seen[port] {
			t.Errorf("port %d is given twice", port)
		}
		seen[port] = true
		ln, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			t.Fatal(err)
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	}
}
