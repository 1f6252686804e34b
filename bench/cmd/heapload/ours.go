package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
)

// ours is the store of contracts' heaps, in a file.
type ours struct {
	store *bolt.Store
	heap  function.Heap
}

func openOurs(ctx context.Context, file string) (store, error) {
	s, err := bolt.Open(file, bolt.Options{})
	if err != nil {
		return nil, err
	}
	h := benchHeap(1)
	return &ours{s, h}, s.Create(ctx, h)
}

func benchHeap(n int) function.Heap {
	return function.Heap{Ref: function.Ref{Name: "ledger", Namespace: "openfaas-fn"}, ID: fmt.Sprint(n)}
}

func (o *ours) commit(ctx context.Context, c commit) error {
	change := function.Commit{Writes: make([]function.HeapWrite, 0, len(c.keys)), CallID: c.callID, Writer: c.callID}
	for _, key := range c.keys {
		change.Writes = append(change.Writes, function.HeapWrite{Key: key, Value: c.value})
	}
	if c.callID != "" {
		change.Record = function.Record{Digest: sha256.Sum256([]byte(c.callID)), Answer: function.Answer{
			Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: c.answer,
		}}
	}
	return o.store.Commit(ctx, o.heap, change)
}

func (o *ours) close() error { return o.store.Close() }

// Dropped is what heapload -drop prints.
type Dropped struct {
	Drop time.Duration
	// Before and After are the file's bytes when one heap was full, and when another one was after the drop.
	Before, After int64
}

// drop fills a heap, drops it, and fills another.
func drop(ctx context.Context, file string, keys int) (d Dropped, err error) {
	s, err := bolt.Open(file, bolt.Options{})
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if d.Before, err = fill(ctx, s, file, benchHeap(1), keys); err != nil {
		return d, err
	}
	begun := time.Now()
	if err := s.Drop(ctx, benchHeap(1)); err != nil {
		return d, err
	}
	d.Drop = time.Since(begun)
	d.After, err = fill(ctx, s, file, benchHeap(2), keys)
	return d, err
}

// fill gives a new heap so many keys and returns the file's bytes then.
func fill(ctx context.Context, s *bolt.Store, file string, h function.Heap, keys int) (int64, error) {
	const atOnce, unbounded = 1000, 1 << 40
	if err := s.Create(ctx, h); err != nil {
		return 0, err
	}
	for from := 0; from < keys; from += atOnce {
		var writes []function.HeapWrite
		for i := from; i < min(from+atOnce, keys); i++ {
			writes = append(writes, function.HeapWrite{Key: fmt.Sprintf("account-%08d", i), Value: someValue})
		}
		if err := s.Commit(ctx, h, function.Commit{Writes: writes, QuotaBytes: unbounded}); err != nil {
			return 0, err
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
