package watchdog

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
)

// health is what /_/health tells: whether this container is worth keeping. It is so from the open port until shutdown begins,
// as long as the lock file, if one could be written, is there. Whoever removes the file calls the container unhealthy.
type health struct {
	path      string // of the lock file; empty if there is none to look for
	accepting atomic.Bool
}

// forget removes the lock file of a watchdog that was killed in this container before, whose folder may have outlived it.
func (h *health) forget() {
	if h.path != "" {
		// There is none, as a rule. One that cannot be removed cannot be written either, which open tells.
		_ = os.Remove(h.path)
	}
}

// open writes the lock file. Where none can be written, as on a read-only root, health is kept in memory alone.
func (h *health) open(log *slog.Logger) {
	if h.path != "" {
		if err := writeLock(h.path); err != nil {
			log.Warn("no lock file, health is kept in memory", "err", err)
			h.path = ""
		}
	}
	h.accepting.Store(true)
}

func writeLock(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o660)
}

// close begins the end: neither healthy nor ready from now on. Only the first call does anything.
func (h *health) close() {
	if h.accepting.CompareAndSwap(true, false) && h.path != "" {
		// It may have been removed by hand; nothing reads it any more.
		_ = os.Remove(h.path)
	}
}

func (h *health) ok() bool {
	if !h.accepting.Load() {
		return false
	}
	if h.path == "" {
		return true
	}
	_, err := os.Stat(h.path)
	return err == nil
}
