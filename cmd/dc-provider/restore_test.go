package main

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/bolt"
)

// TestRestore takes a backup of a store and gives it to the program.
func TestRestore(t *testing.T) {
	folder := t.TempDir()
	heap := heapstore.Heap{Ref: function.Ref{Name: "ledger", Namespace: "fns"}, ID: "1"}
	source, err := bolt.Open(filepath.Join(folder, "source.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(source.Create(t.Context(), heap), source.Commit(t.Context(), heap, heapstore.Commit{
		Writes: []heapstore.Write{{Key: "k", Value: []byte("1")}},
	})); err != nil {
		t.Fatal(err)
	}
	snapshot, err := source.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	to := filepath.Join(folder, "restored.db")
	if err := run([]string{"restore", "-store", "bolt:" + to}, noEnv, snapshot, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	restored, err := bolt.Open(to, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := restored.Get(t.Context(), heap, "k"); err != nil || string(e.Value) != "1" {
		t.Errorf("%+v, %v", e, err)
	}
	if err := errors.Join(source.Close(), restored.Close()); err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		args  []string
		tells string
	}{
		{[]string{"restore", "file.db"}, "standard input"},
		{[]string{"restore", "-store", "postgres://x"}, "pg_restore"},
		{[]string{"restore", "-store", "file.db"}, "bolt:FILE"},
		{[]string{"restore", "-store", "bolt:" + filepath.Join(folder, "empty.db")}, "empty.db"},
	} {
		if err := run(test.args, noEnv, strings.NewReader(""), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), test.tells) {
			t.Errorf("%q: %v, want %q", test.args, err, test.tells)
		}
	}
	var help bytes.Buffer
	if err := run([]string{"restore", "-h"}, noEnv, nil, io.Discard, &help); err != nil || !strings.Contains(help.String(), "heap-backup") {
		t.Errorf("%v, %s", err, &help)
	}
}
