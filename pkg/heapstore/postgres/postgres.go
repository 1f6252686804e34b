package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dragonchain/dc-provider/pkg/heapstore"
	"github.com/dragonchain/dc-provider/pkg/heapstore/driver"
)

const (
	defaultPatience = 30 * time.Second
	// attemptTimeout bounds one attempt at a transaction, from a connection to its end. It is longer than the server's own
	// limits, so that as a rule the server says what took so long.
	attemptTimeout = 15 * time.Second
	// connectTimeout bounds one attempt at a connection.
	connectTimeout = 5 * time.Second
	// maintainEvery is how often the background looks for work.
	maintainEvery = time.Minute
)

// sessionLimits are the server's, for every connection, unless the DSN sets its own. A provider that hangs or is cut off in
// the middle of a transaction must not keep the others from a heap.
var sessionLimits = map[string]string{
	"statement_timeout":                   "10s",
	"lock_timeout":                        "5s",
	"idle_in_transaction_session_timeout": "10s",
	"application_name":                    "dc-provider",
}

// Options are the knobs of a Store; the zero value works.
type Options struct {
	// QuotaBytes bounds a heap whose commits name no quota. 0 means heapstore.DefaultQuotaBytes; negative is refused.
	QuotaBytes int64
	// RecordAge is how long recorded answers are kept, as far as the bounds of package heapstore allow. 0 means
	// heapstore.DefaultRecordAge; negative is refused.
	RecordAge time.Duration
	// Patience is how long a call goes on trying when the database cannot be reached or breaks off. 0 means 30 s; negative
	// is refused.
	Patience time.Duration
	// LeaseTime is how long invocations stay with a provider that tells nothing more of itself, before others may have them. 0 means
	// heapstore.DefaultLeaseTime; negative is refused.
	LeaseTime time.Duration
	// Log gets what the background cannot do. nil means none.
	Log *slog.Logger
}

// Store is a store in a PostgreSQL database, which any number of providers share. It is a heapstore.Store.
type Store struct {
	pool       *pgxpool.Pool
	quotaBytes int64
	recordAge  time.Duration
	patience   time.Duration
	leaseTime  time.Duration
	log        *slog.Logger
	// owner tells this Store from all others on the database: a UUID.
	owner string
	lanes []*lane
	queue *queue

	// closing is closed when Close begins.
	closing   chan struct{}
	closeOnce sync.Once
	// swept gets a token when there is something to sweep.
	swept      chan struct{}
	background sync.WaitGroup
}

// Open connects to the database that dsn names (a URL or a libpq string), migrates it to this version's schema, and starts
// the Store's background, which Close ends. It waits for a database that is not there yet as long as Patience and ctx
// allow. The error wraps heapstore.ErrSchema if the database has a later schema, and heapstore.ErrUnavailable if it could
// not be reached.
func Open(ctx context.Context, dsn string, options Options) (*Store, error) {
	s, err := newStore(ctx, dsn, options)
	if err != nil {
		return nil, fmt.Errorf("open heap store: %w", err)
	}
	if err := s.retry(ctx, s.migrate); err != nil {
		return nil, errors.Join(fmt.Errorf("open heap store: %w", err), s.Close())
	}
	s.background.Go(s.maintain)
	return s, nil
}

func newStore(ctx context.Context, dsn string, options Options) (*Store, error) {
	if options.QuotaBytes < 0 || options.Patience < 0 || options.RecordAge < 0 || options.LeaseTime < 0 {
		return nil, fmt.Errorf("a quota of %d bytes, answers kept for %v, a patience of %v and leases of %v",
			options.QuotaBytes, options.RecordAge, options.Patience, options.LeaseTime)
	}
	if options.RecordAge == 0 {
		options.RecordAge = heapstore.DefaultRecordAge
	}
	if options.QuotaBytes == 0 {
		options.QuotaBytes = heapstore.DefaultQuotaBytes
	}
	if options.LeaseTime == 0 {
		options.LeaseTime = heapstore.DefaultLeaseTime
	}
	if options.Patience == 0 {
		options.Patience = defaultPatience
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	// The error does not show the password.
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	for name, value := range sessionLimits {
		if _, set := cfg.ConnConfig.RuntimeParams[name]; !set {
			cfg.ConnConfig.RuntimeParams[name] = value
		}
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{
		pool: pool, quotaBytes: options.QuotaBytes, recordAge: options.RecordAge, patience: options.Patience, leaseTime: options.LeaseTime, log: options.Log,
		owner: newOwner(), closing: make(chan struct{}), swept: make(chan struct{}, 1),
	}
	s.queue = newQueue(s)
	for number := range laneCount {
		l := &lane{store: s, number: number}
		l.changes = driver.NewBatcher(l.run)
		s.lanes = append(s.lanes, l)
	}
	return s, nil
}

func newOwner() string {
	var b [16]byte
	rand.Read(b[:]) // never returns an error
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Close is heapstore.Store's.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.closing)
		s.background.Wait()
		s.pool.Close()
	})
	return nil
}

func (s *Store) closed() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}
