package bolt

import (
	"errors"
	"fmt"
	"strconv"

	"go.etcd.io/bbolt"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

// schemaVersion is the number of the layout that doc.go draws.
const schemaVersion = 5

var (
	metaBucket  = []byte("meta")
	schemaKey   = []byte("schema")
	logKey      = []byte("log")
	heapsBucket = []byte("heaps")
	callsBucket = []byte("calls")
)

// prepare gives an empty file the layout of doc.go, brings one with an older layout to it, and refuses any other.
func prepare(db *bbolt.DB) error {
	found, err := schemaOf(db)
	switch {
	case err != nil:
		return err
	case found == strconv.Itoa(schemaVersion):
		return nil
	case found == "1", found == "2", found == "3", found == "4":
		return db.Update(func(tx *bbolt.Tx) error { return migrate(tx, found) })
	case found != "":
		return fmt.Errorf("%w: the file has schema %q, this version of the program knows schema %d", heapstore.ErrSchema, found, schemaVersion)
	}
	return db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		for _, name := range [][]byte{heapsBucket, callsBucket, queueBucket, ticksBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return errors.Join(startVersions(tx), meta.Put(schemaKey, []byte(strconv.Itoa(schemaVersion))))
	})
}

// migrate brings a file of an older schema to this one.
func migrate(tx *bbolt.Tx, found string) error {
	for _, name := range [][]byte{callsBucket, queueBucket, ticksBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	if found == "1" || found == "2" {
		if err := startVersions(tx); err != nil {
			return err
		}
	}
	return tx.Bucket(metaBucket).Put(schemaKey, []byte(strconv.Itoa(schemaVersion)))
}

// startVersions lets the next version be the one after that of the keys of schema 2.
func startVersions(tx *bbolt.Tx) error { return heapsOf(tx).SetSequence(firstVersion) }

// schemaOf returns the schema that a file says it has, or nothing for a file that is empty.
func schemaOf(db *bbolt.DB) (found string, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		if first, _ := tx.Cursor().First(); first == nil {
			return nil
		}
		if meta := tx.Bucket(metaBucket); meta != nil {
			found = string(meta.Get(schemaKey))
		}
		if found == "" || tx.Bucket(heapsBucket) == nil {
			return fmt.Errorf("%w: a bbolt file of something else", heapstore.ErrSchema)
		}
		return nil
	})
	return found, err
}

// logName returns the name of the log that a file needs, 0 if it stands alone.
func logName(db *bbolt.DB) (name uint64, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil || meta.Get(logKey) == nil {
			return nil
		}
		name, err = strconv.ParseUint(string(meta.Get(logKey)), 16, 64)
		return err
	})
	return name, err
}

// setLogName makes a file one that needs the log with a name. The bucket is on the first page of all: see sumRoots.
func setLogName(db *bbolt.DB, name uint64) error {
	return db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket).Put(logKey, strconv.AppendUint(nil, name, 16))
	})
}

// heapsOf is the bucket of all heaps. prepare made sure that it is there.
func heapsOf(tx *bbolt.Tx) *bbolt.Bucket { return tx.Bucket(heapsBucket) }

// callsOf is the bucket of what is recorded of invocations.
func callsOf(tx *bbolt.Tx) *bbolt.Bucket { return tx.Bucket(callsBucket) }
