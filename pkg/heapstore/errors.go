package heapstore

import (
	"errors"
	"fmt"

	"github.com/dragonchain/dc-provider/pkg/function"
)

// What a store answers when it cannot do what was asked. ErrNoHeap and ErrNoKey are also function.ErrNotFound.
var (
	// ErrNoHeap: the heap was never made, or was dropped. It is also the answer to a late commit of a deleted contract.
	ErrNoHeap = function.NotFoundf("no such heap")
	// ErrNoKey: the heap is there and has no such key.
	ErrNoKey = function.NotFoundf("no such key in the heap")
)

// Why a commit was refused. Nothing of it was written.
var (
	// ErrBadKey: a key is empty or is not UTF-8.
	ErrBadKey = errors.New("heap key refused")
	// ErrKeyTooLarge: a key has more than MaxKeyBytes.
	ErrKeyTooLarge = errors.New("heap key too large")
	// ErrValueTooLarge: a value has more than MaxValueBytes.
	ErrValueTooLarge = errors.New("heap value too large")
	// ErrRecorded: an invocation with the same call id has taken effect already.
	ErrRecorded = fmt.Errorf("the call id has taken effect already: %w", function.ErrConflict)
	// ErrCondition: one of the commit's conditions does not hold.
	ErrCondition = function.ErrCondition
	// ErrQuota: the commit would make the heap larger than its quota.
	ErrQuota = errors.New("heap quota exceeded")
)

// Why a store could not be opened or used.
var (
	// ErrLocked: another process has the store's file open.
	ErrLocked = errors.New("in use by another process")
	// ErrUnavailable: the store's database could not be reached, or broke off, for as long as we tried. Nothing was written.
	ErrUnavailable = errors.New("heap store is not available")
	// ErrUnknown: the database broke off while it committed and did not come back in time to be asked. The commit is whole
	// or absent.
	ErrUnknown = errors.New("the heap store broke off while it committed, and the outcome is not known")
	// ErrSchema: the file or database is no heap store, or one whose layout this version does not know.
	ErrSchema = errors.New("unknown heap store layout")
	// ErrNoSnapshot: the store has no file to copy; its database has backups of its own.
	ErrNoSnapshot = errors.New("the heaps are in a database: back it up with its own tools, such as pg_dump")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("heap store is closed")
)
