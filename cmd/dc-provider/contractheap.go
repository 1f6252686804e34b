package main

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

// heapAddress is where contracts find this very provider, which has their calls in memory. It is not valid outside a pod, where
// contracts cannot be sure to reach us and are not told of a heap.
func heapAddress(podIP, providerListen string) (netip.AddrPort, error) {
	if podIP == "" {
		return netip.AddrPort{}, nil
	}
	_, port, err := net.SplitHostPort(providerListen)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("provider listen %q: %w", providerListen, err)
	}
	at, err := netip.ParseAddrPort(net.JoinHostPort(podIP, port))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("POD_IP %q: %w", podIP, err)
	}
	return at, nil
}

// heapURL is package invoke's HeapURL: a contract with a watchdog has one.
func heapURL(key []byte, at netip.AddrPort) func(f *function.Function, id string) string {
	urls := readypush.NewHeapURLs(key, at)
	return func(f *function.Function, id string) string {
		if !f.Policy.Watchdog() || !at.IsValid() {
			return ""
		}
		return urls.URL(f.Ref.String(), f.ID, id)
	}
}
