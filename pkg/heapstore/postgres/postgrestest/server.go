package postgrestest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// startTimeout is how long a server may take to accept connections, recovery of a killed one included.
const startTimeout = time.Minute

// stopTimeout is how long an immediate shutdown may take.
const stopTimeout = 20 * time.Second

// Server is a PostgreSQL server. Its methods are for one goroutine.
type Server struct {
	programs string
	folder   string
	// owner runs the server: PostgreSQL refuses root. nil means who runs the test.
	owner   *syscall.Credential
	process *exec.Cmd
	exited  chan error
}

// Start makes a server in a new folder and returns when it accepts connections. Stop ends it. settings are name=value, such
// as fsync=on, which tests do without.
func Start(settings ...string) (*Server, error) {
	programs, err := findPrograms()
	if err != nil {
		return nil, err
	}
	// Not the test's own folder: the path of a unix socket has at most 107 bytes.
	folder, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	s := &Server{programs: programs, folder: folder}
	if err := s.init(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	if err := s.Run(settings...); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// findPrograms returns the folder of PostgreSQL's programs, which Debian keeps out of the PATH.
func findPrograms() (string, error) {
	if initdb, err := exec.LookPath("initdb"); err == nil {
		if initdb, err = filepath.EvalSymlinks(initdb); err == nil {
			return filepath.Dir(initdb), nil
		}
	}
	versions, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(versions) == 0 {
		return "", errors.New("PostgreSQL's initdb is neither on the PATH nor in /usr/lib/postgresql: `make test-packages` as root, or Debian's package postgresql, brings it")
	}
	return filepath.Dir(slices.Max(versions)), nil
}

func (s *Server) init() error {
	if os.Getuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			return err
		}
		uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
		if err != nil {
			return err
		}
		gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
		if err != nil {
			return err
		}
		s.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.folder, int(uid), int(gid)); err != nil {
			return err
		}
	}
	// Segments of 1 MB: a full disk can then be had by limiting the size of files.
	initdb := exec.Command(filepath.Join(s.programs, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--no-locale", "--no-sync", "--wal-segsize=1")
	initdb.Dir = s.folder
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

func (s *Server) logFile() string { return filepath.Join(s.folder, "log") }

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

// Run starts a server that was killed, and returns when it accepts connections.
func (s *Server) Run(settings ...string) error {
	deadline := time.Now().Add(startTimeout)
	for {
		if err := s.start(settings); err != nil {
			return err
		}
		err := s.await(deadline)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		// What is left of a killed server has the shared memory for a moment still; a new one then ends at once.
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *Server) start(settings []string) error {
	// What processes that are killed have written, the kernel keeps; only the machine's end would need fsync.
	args := []string{"-D", s.data(), "-c", "fsync=off", "-c", "listen_addresses=", "-c", "unix_socket_directories=" + s.folder, "-c", "max_connections=200",
		"-c", "shared_buffers=32MB", "-c", "min_wal_size=2MB", "-c", "max_wal_size=64MB"}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	log, err := os.Create(s.logFile())
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own
	s.process = exec.Command(filepath.Join(s.programs, "postgres"), args...)
	s.process.Dir = s.folder
	s.process.Stdout, s.process.Stderr = log, log
	// A test that dies takes its server along: SIGQUIT is PostgreSQL's immediate shutdown.
	s.process.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner, Pdeathsig: syscall.SIGQUIT}
	s.exited = make(chan error, 1)
	return run(s.process, s.exited)
}

// run starts a process, and tells on exited when it has ended. The thread that started it lives as long: the kernel takes
// its end for the parent's.
func run(process *exec.Cmd, exited chan<- error) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := process.Start()
		started <- err
		if err == nil {
			exited <- process.Wait()
		}
	}()
	return <-started
}

// await waits until the server accepts connections, or has ended.
func (s *Server) await(deadline time.Time) error {
	for {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		conn, err := pgx.Connect(ctx, s.DSN("postgres"))
		if err == nil {
			err = conn.Close(ctx)
			cancel()
			return err
		}
		cancel()
		select {
		case ended := <-s.exited:
			said, _ := os.ReadFile(s.logFile()) // is only there to help
			return fmt.Errorf("postgres ended (%v): %s", ended, said)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("postgres accepts no connections: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// DSN names a database of the server.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("host=%s user=postgres dbname=%s", s.folder, database)
}

// Socket is the path of the server's unix socket.
func (s *Server) Socket() string { return filepath.Join(s.folder, ".s.PGSQL.5432") }

// LimitFiles lets no file of the server grow beyond so many bytes, or "unlimited": a full disk without a disk of its own.
func (s *Server) LimitFiles(bytes string) error {
	first := strconv.Itoa(s.process.Process.Pid)
	children, err := exec.Command("pgrep", "-P", first).Output()
	if err != nil {
		return fmt.Errorf("find the server's processes: %w", err)
	}
	for _, pid := range append(strings.Fields(string(children)), first) {
		// The colon leaves the hard limit, so that it can be lifted again. Only who owns a process may do it.
		limit := exec.Command("prlimit", "--pid", pid, "--fsize="+bytes+":")
		limit.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
		if out, err := limit.CombinedOutput(); err != nil {
			if _, gone := os.Stat("/proc/" + pid); errors.Is(gone, os.ErrNotExist) {
				continue // some of its processes come and go
			}
			return fmt.Errorf("limit the files of process %s: %w: %s", pid, err, out)
		}
	}
	return nil
}

// Database returns the DSN of the database that belongs to a name, whatever that is, and makes the database if need be.
func (s *Server) Database(ctx context.Context, name string) (dsn string, err error) {
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		return "", err
	}
	database := fmt.Sprintf("t%x", sha256.Sum256([]byte(name)))[:32]
	_, err = conn.Exec(ctx, "CREATE DATABASE "+database)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "42P04" {
		err = nil // it is there
	}
	return s.DSN(database), errors.Join(err, conn.Close(ctx))
}

// Kill ends the server's first process with SIGKILL; the others notice and end by themselves.
func (s *Server) Kill() error {
	if err := s.process.Process.Kill(); err != nil {
		return err
	}
	<-s.exited // says that it was killed
	return nil
}

// Stop ends the server and deletes its folder.
func (s *Server) Stop() error {
	err := s.process.Process.Signal(syscall.SIGQUIT)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	} else if err == nil {
		select {
		case <-s.exited: // says that it was asked to
		case <-time.After(stopTimeout):
			err = s.Kill()
		}
	}
	return errors.Join(err, os.RemoveAll(s.folder))
}
