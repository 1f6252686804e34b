package watchdog

import (
	"net/http"
	"sync/atomic"
)

// closingWriter closes the connection behind an answer that begins after the end was announced. That the request came before
// does not matter: its client would send the next one on a connection that is about to be closed, and lose it.
type closingWriter struct {
	http.ResponseWriter
	ending *atomic.Bool
	begun  bool
}

func (w *closingWriter) WriteHeader(status int) {
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

// Unwrap is for http.ResponseController.
func (w *closingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
