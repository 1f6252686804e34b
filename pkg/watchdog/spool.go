package watchdog

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

const (
	spoolMemory         = 256 << 10 // of a body, before the rest goes to a file
	defaultSpooledBytes = 256 << 20
)

// errSpoolTooLong refuses a body that is longer than may be kept.
var errSpoolTooLong = errors.New("the request's body is longer than http_buffer_bytes allows")

// spoolError is why a body was not kept, where its caller could do nothing about it, or has sent too much.
type spoolError struct{ err error }

func (e *spoolError) Error() string { return e.err.Error() }
func (e *spoolError) Unwrap() error { return e.err }

// spooled is a whole body, from its beginning.
type spooled struct {
	io.Reader
	length int64
	file   *os.File // nil if it is in memory
}

// close gives its file back, which has no name any more.
func (s *spooled) close() {
	if s.file != nil {
		_ = s.file.Close() // nobody will read it again
	}
}

// spool reads a whole body, of which declared bytes are announced, or a negative number if that is unknown. The error is that of from,
// or a *spoolError.
func (m *httpMode) spool(from io.Reader, declared int64) (*spooled, error) {
	most := int64(cmp.Or(m.cfg.BufferBytes, defaultSpooledBytes))
	if declared > most {
		return nil, &spoolError{errSpoolTooLong}
	}
	var memory bytes.Buffer
	if _, err := memory.ReadFrom(io.LimitReader(from, min(spoolMemory, most)+1)); err != nil {
		return nil, err
	}
	length := int64(memory.Len())
	switch {
	case length > most:
		return nil, &spoolError{errSpoolTooLong}
	case length <= spoolMemory:
		return &spooled{Reader: &memory, length: length}, nil
	}
	s, err := spoolFile(m.cfg.TempDir)
	if err != nil {
		return nil, err
	}
	if err := s.fill(io.MultiReader(&memory, from), most); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// spoolFile opens a file whose name is gone at once, so that nothing stays on the disk whatever becomes of us.
func spoolFile(dir string) (*spooled, error) {
	file, err := os.CreateTemp(dir, "dc-watchdog-body-*")
	if err != nil {
		return nil, &spoolError{fmt.Errorf("keep the request's body: %w", err)}
	}
	s := &spooled{Reader: file, file: file}
	if err := os.Remove(file.Name()); err != nil {
		s.close()
		return nil, &spoolError{fmt.Errorf("keep the request's body: %w", err)}
	}
	return s, nil
}

// fill copies at most that many bytes to the file and goes back to its beginning.
func (s *spooled) fill(from io.Reader, most int64) (err error) {
	to := &spoolWriter{file: s.file}
	if s.length, err = io.Copy(to, io.LimitReader(from, most+1)); to.err != nil {
		return &spoolError{fmt.Errorf("keep the request's body: %w", to.err)}
	}
	switch {
	case err != nil:
		return err
	case s.length > most:
		return &spoolError{errSpoolTooLong}
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return &spoolError{fmt.Errorf("keep the request's body: %w", err)}
	}
	return nil
}

// spoolWriter tells the file's errors from those of what is copied to it.
type spoolWriter struct {
	file *os.File
	err  error
}

func (w *spoolWriter) Write(p []byte) (n int, err error) {
	n, err = w.file.Write(p)
	w.err = err
	return n, err
}

// unspooled is what a caller is told whose body was not kept.
func (m *httpMode) unspooled(err *spoolError) failure {
	if errors.Is(err, errSpoolTooLong) {
		return failure{status: http.StatusRequestEntityTooLarge, reason: err.Error()}
	}
	m.log.Error("a request's body could not be kept", "err", err)
	return failure{status: http.StatusInternalServerError, reason: "the request's body could not be kept"}
}
