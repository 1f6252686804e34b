package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/dragonchain/dc-provider/pkg/dc1"
	"github.com/dragonchain/dc-provider/pkg/handlers"
)

// signatures knows the clients of a Dragonchain by their keys, or is nil if they have none.
func (c config) signatures() (handlers.Signatures, error) {
	if c.chainKeysDir == "" {
		return nil, nil
	}
	return dc1.New(dc1.Config{Chain: c.chainID, Key: keyFile(c.chainKeysDir)})
}

// keyFile reads keys from files that are named by their ids, each time anew: a mounted Secret changes while we run.
func keyFile(folder string) func(id string) (string, bool) {
	return func(id string) (string, bool) {
		// Names that begin with a dot are the folder's own and the mount's.
		if !filepath.IsLocal(id) || strings.HasPrefix(id, ".") || strings.ContainsAny(id, "/\x00") {
			return "", false
		}
		text, err := os.ReadFile(filepath.Join(folder, id))
		// A file that cannot be read is no key; the client is refused, as it is with one that was never there.
		return string(text), err == nil && len(text) > 0
	}
}
