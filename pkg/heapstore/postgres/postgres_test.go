package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/heapstoretest"
	"github.com/dragonchain/dc-provider/pkg/heapstore/postgres"
	"github.com/dragonchain/dc-provider/pkg/heapstore/postgres/postgrestest"
)

// shared is the server of all tests that do not harm it. Each has a database of its own.
var shared struct {
	once   sync.Once
	server *postgrestest.Server
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop postgres:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// dsn returns that of the database that belongs to a folder, and notes it there: for the process that the suite starts with
// the same folder to kill it.
func dsn(folder string) (string, error) {
	note := filepath.Join(folder, "dsn")
	if noted, err := os.ReadFile(note); err == nil {
		return string(noted), nil
	}
	shared.once.Do(func() { shared.server, shared.err = postgrestest.Start() })
	if shared.err != nil {
		return "", shared.err
	}
	dsn, err := shared.server.Database(context.Background(), folder)
	if err != nil {
		return "", err
	}
	return dsn, os.WriteFile(note, []byte(dsn), 0o600)
}

func TestPostgres(t *testing.T) {
	heapstoretest.Run(t, heapstoretest.Driver{
		Open: func(folder string) (heapstore.Store, error) {
			dsn, err := dsn(folder)
			if err != nil {
				return nil, err
			}
			return postgres.Open(context.Background(), dsn, postgres.Options{})
		},
		Check: func(folder string) error {
			dsn, err := dsn(folder)
			if err != nil {
				return err
			}
			return check(dsn)
		},
		Lapse: func(folder string) error {
			dsn, err := dsn(folder)
			if err != nil {
				return err
			}
			return lapse(dsn)
		},
	})
}

// check looks for heaps whose size is wrong and for what belongs to no heap.
func check(dsn string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT h.name, h.bytes, coalesce(sum(octet_length(e.key) + octet_length(e.value)), 0)
		FROM dc_heaps h LEFT JOIN dc_entries e ON e.heap = h.id GROUP BY h.id`)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	var name string
	var says, has int64
	_, err = pgx.ForEachRow(rows, []any{&name, &says, &has}, func() error {
		if says != has {
			return fmt.Errorf("heap %q has %d bytes and says %d", name, has, says)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	var strays int
	err = conn.QueryRow(ctx, `SELECT count(*) FROM dc_entries e WHERE NOT EXISTS (SELECT FROM dc_heaps h WHERE h.id = e.heap)
		AND NOT EXISTS (SELECT FROM dc_dropped d WHERE d.heap = e.heap)`).Scan(&strays)
	if err == nil && strays > 0 {
		err = fmt.Errorf("%d entries of no heap", strays)
	}
	return err
}

// open opens a store until the test ends.
func open(t testing.TB, dsn string, options postgres.Options) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), dsn, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// newDatabase makes an empty database on the shared server.
func newDatabase(t testing.TB) string {
	t.Helper()
	dsn, err := dsn(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := check(dsn); err != nil {
			t.Error(err)
		}
	})
	return dsn
}

func testHeap(name string) heapstore.Heap {
	return heapstore.Heap{Ref: function.Ref{Name: name, Namespace: "openfaas-fn"}, ID: "1"}
}

func writes(pairs ...string) heapstore.Commit {
	var c heapstore.Commit
	for i := 0; i < len(pairs); i += 2 {
		c.Writes = append(c.Writes, heapstore.Write{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return c
}

func TestOpen_Refuses(t *testing.T) {
	dsn := newDatabase(t)
	open(t, dsn, postgres.Options{})
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "INSERT INTO dc_schema (version) VALUES (1000)"); err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.Open(t.Context(), dsn, postgres.Options{}); !errors.Is(err, heapstore.ErrSchema) {
		t.Errorf("a later schema: %v, want ErrSchema", err)
	}
	if _, err := postgres.Open(t.Context(), dsn, postgres.Options{QuotaBytes: -1}); err == nil {
		t.Error("a negative quota was taken")
	}
}
