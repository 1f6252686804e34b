package heapstore

import "time"

// Limits of every store.
const (
	// MaxKeyBytes and MaxValueBytes bound one key and its value.
	MaxKeyBytes   = 1 << 10
	MaxValueBytes = 1 << 20
	// DefaultQuotaBytes bounds a heap whose contract and provider name no quota.
	DefaultQuotaBytes = 64 << 20
	// DefaultListLimit and MaxListLimit bound the keys that List returns at once.
	DefaultListLimit = 100
	MaxListLimit     = 1000
	// MaxEntriesBytes is about how many bytes of values Entries returns at once: the one that exceeds it is the last.
	MaxEntriesBytes = 1 << 20
	// DefaultRecordAge is how long recorded answers are kept. A contract keeps fewer than it has had in that time if they
	// are more than MaxRecords or have more than MaxRecordBytes together; the oldest go first.
	DefaultRecordAge = 24 * time.Hour
	MaxRecords       = 100_000
	MaxRecordBytes   = 16 << 20
)
