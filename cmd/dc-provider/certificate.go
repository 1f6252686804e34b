package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// certificateAge is for how long a certificate is used before its files are looked at again. Whoever renews one does so days before
// it runs out.
const certificateAge = 10 * time.Second

// certificate is that of a folder as Kubernetes mounts a Secret of type kubernetes.io/tls. It may be used by many connections at once.
type certificate struct {
	log    *slog.Logger
	folder string

	mu        sync.Mutex
	read      time.Time
	cert, key []byte
	pair      *tls.Certificate
}

// newCertificate reads it for the first time.
func newCertificate(log *slog.Logger, folder string) (*certificate, error) {
	c := &certificate{log: log, folder: folder}
	return c, c.readLocked(time.Now())
}

// get is for tls.Config.GetCertificate. A new one that cannot be used is logged, and the one before it stays.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.at(time.Now()), nil
}

func (c *certificate) at(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.read) >= certificateAge {
		if err := c.readLocked(now); err != nil {
			c.log.Warn("using the certificate as it was", "err", err)
		}
	}
	return c.pair
}

func (c *certificate) readLocked(now time.Time) error {
	c.read = now
	cert, err := os.ReadFile(filepath.Join(c.folder, "tls.crt"))
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	key, err := os.ReadFile(filepath.Join(c.folder, "tls.key"))
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	if c.pair != nil && bytes.Equal(cert, c.cert) && bytes.Equal(key, c.key) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("read certificate of %s: %w", c.folder, err)
	}
	c.cert, c.key, c.pair = cert, key, &pair
	return nil
}
