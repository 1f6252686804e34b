package watchdog

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path"
	"syscall"
)

// staticMode serves the files of a folder, and runs nothing.
type staticMode struct {
	cfg *Config
	log *slog.Logger
}

func newStaticMode(cfg *Config, log *slog.Logger) *staticMode { return &staticMode{cfg: cfg, log: log} }

// start looks for the folder. In our own dialect a function without one never gets ready, so that an update to it leaves the old
// version serving; in the others every request of it answers 404, until there is one.
func (m *staticMode) start() error {
	root, err := os.OpenRoot(m.cfg.StaticPath)
	switch {
	case err == nil:
		return root.Close()
	case m.cfg.Dialect == Native:
		return err
	}
	m.log.Warn("the folder to serve was not found, every request will answer 404", "err", err)
	return nil
}

func (m *staticMode) serve(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (m *staticMode) serving() (bool, <-chan struct{}) { return true, nil }

// check asks for the ready path, if there is one.
func (m *staticMode) check(ctx context.Context) bool {
	if m.cfg.ReadyPath == "" {
		return true
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, m.cfg.ReadyPath, http.NoBody)
	if err != nil {
		return false
	}
	answer := statusOnly{header: http.Header{}}
	m.ServeHTTP(&answer, r)
	return answer.status/100 == 2
}

// ServeHTTP answers with a file. The folder is opened anew for each, so that one which is replaced as a whole, as by whoever publishes
// a new version, is served from then on.
func (m *staticMode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m.cfg.Dialect != Of && r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	root, err := os.OpenRoot(m.cfg.StaticPath)
	if err != nil {
		m.log.Debug("no folder to serve", "err", err)
		http.NotFound(w, r)
		return
	}
	defer root.Close() // it was only read from
	http.FileServerFS(publicFiles{root.FS(), m.cfg.Dialect == Of}).ServeHTTP(w, r)
}

// publicFiles is a folder that nobody gets out of, by dots or by links: os.Root sees to it. What is refused for that looks like what is
// not there.
type publicFiles struct {
	files fs.FS
	list  bool // folders without an index.html show what is in them
}

// Open opens files and folders only: to open a pipe would wait for who writes into it.
func (p publicFiles) Open(name string) (fs.File, error) {
	info, err := fs.Stat(p.files, name)
	if err != nil {
		return nil, public(name, err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() || info.IsDir() && !p.list && !p.hasIndex(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f, err := p.files.Open(name)
	if err != nil {
		return nil, public(name, err)
	}
	return f, nil
}

func (p publicFiles) hasIndex(folder string) bool {
	_, err := fs.Stat(p.files, path.Join(folder, "index.html"))
	return err == nil
}

// public makes what no path should get us into, such as a way out of the folder, look like what is not there. net/http has statuses of
// their own for ErrNotExist and ErrPermission alone, and would answer 500.
func public(name string, err error) error {
	for _, ours := range []error{fs.ErrPermission, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO} {
		if errors.Is(err, ours) {
			return err
		}
	}
	return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// statusOnly is an answer of which only the status counts.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header { return s.header }

func (s *statusOnly) WriteHeader(status int) {
	if s.status == 0 {
		s.status = status
	}
}

func (s *statusOnly) Write(p []byte) (int, error) {
	s.WriteHeader(http.StatusOK)
	return len(p), nil
}
