// Package driver is what the drivers of package heapstore have in common: the checks of names, keys and values, so that all
// stores refuse the same, and the Batcher, which has concurrent commits share a transaction.
//
// # Sources
//
// Leading a batch instead of waiting for a timer is how LevelDB groups its writers (DBImpl::Write).
package driver
