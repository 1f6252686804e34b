package watchdog

import (
	"io"
	"net/http"
	"sync/atomic"
)

// closingWriter closes the connection behind an answer that begins after the end was announced. That the request came before
// does not matter: its client would send the next one on a connection that is about to be closed, and lose it.
type closingWriter struct {
	http.ResponseWriter
	ending *atomic.Bool
	begun  bool

	status   int  // what was sent; 0 is nothing
	instead  int  // what counts instead of it, if not 0
	returned bool // the mode has done its part, which one that aborts the answer does not say
}

// countAs makes an invocation count as one with that status, though it was found out too late to send it.
func countAs(w http.ResponseWriter, status int) {
	if cw, ok := w.(*closingWriter); ok {
		cw.instead = status
	}
}

// outcome is the status that the invocation is counted under.
func (w *closingWriter) outcome() int {
	switch {
	case w.instead != 0:
		return w.instead
	case w.status != 0:
		return w.status
	case w.returned:
		return http.StatusOK // which net/http sends then
	}
	return statusCallerGone
}

func (w *closingWriter) WriteHeader(status int) {
	if w.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	if status >= http.StatusOK && !w.begun {
		w.begun = true
		if w.ending.Load() {
			w.Header().Set("Connection", "close")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *closingWriter) Write(p []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom lets a file be sent by the kernel, where net/http can.
func (w *closingWriter) ReadFrom(from io.Reader) (int64, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return io.Copy(w.ResponseWriter, from)
}

// Unwrap is for http.ResponseController.
func (w *closingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
