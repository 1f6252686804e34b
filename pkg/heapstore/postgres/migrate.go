package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrationLock is the key of the advisory lock that migrations hold: a number that others are unlikely to use.
const migrationLock = 0x64635f68656170 // "dc_heap"

// migrate brings the database to the schema of this version, in one transaction: what breaks off leaves it as it was. Of
// several providers that start at once the first migrates, and the others find nothing to do.
func (s *Store) migrate(ctx context.Context) error {
	steps, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS dc_schema (version integer NOT NULL)"); err != nil {
			return err
		}
		var version int
		if err := tx.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM dc_schema").Scan(&version); err != nil {
			return err
		}
		if version > len(steps) {
			return fmt.Errorf("%w: the database has schema %d, this version of the program knows schema %d", heapstore.ErrSchema, version, len(steps))
		}
		for ; version < len(steps); version++ {
			step, err := migrations.ReadFile(steps[version])
			if err != nil {
				return err
			}
			// Without arguments pgx sends the whole file as one simple query.
			if _, err := tx.Exec(ctx, string(step), pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("migrate to schema %d: %w", version+1, err)
			}
			if _, err := tx.Exec(ctx, "INSERT INTO dc_schema (version) VALUES ($1)", version+1); err != nil {
				return err
			}
		}
		return nil
	})
}
