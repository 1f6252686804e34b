package heapstore

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
)
