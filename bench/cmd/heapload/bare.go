package main

import (
	"context"
	"errors"

	"go.etcd.io/bbolt"
)

var (
	heapBucket  = []byte("heap")
	callsBucket = []byte("calls")
)

// bare is bbolt with nothing around it.
type bare struct{ db *bbolt.DB }

// openBare opens a file with bbolt's own defaults. full, if it is not 0, is how many callers make a batch full, so that it is not waited for others.
func openBare(file string, full int) (store, error) {
	db, err := bbolt.Open(file, 0o600, nil)
	if err != nil {
		return nil, err
	}
	if full > 0 {
		db.MaxBatchSize = full
	}
	return &bare{db}, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(heapBucket)
		_, err2 := tx.CreateBucket(callsBucket)
		return errors.Join(err, err2)
	})
}

func (b *bare) commit(_ context.Context, c commit) error {
	return b.db.Batch(func(tx *bbolt.Tx) error {
		heap := tx.Bucket(heapBucket)
		for _, key := range c.keys {
			if err := heap.Put([]byte(key), c.value); err != nil {
				return err
			}
		}
		if c.callID == "" {
			return nil
		}
		return tx.Bucket(callsBucket).Put([]byte(c.callID), c.answer)
	})
}

func (b *bare) close() error { return b.db.Close() }
