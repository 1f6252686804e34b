package handlers

import (
	"net/http"
	"time"
)

// ReadBody is readBody.
func ReadBody(w http.ResponseWriter, r *http.Request, maxBytes int64, timeout time.Duration) ([]byte, error) {
	return readBody(w, r, maxBytes, timeout)
}

// ConnectTo lets a test stand in for a watchdog, which always has the same port, and be as slow as the machine is.
func (p *ReadyPush) ConnectTo(port uint16, timeout time.Duration) {
	p.port, p.client.Timeout = port, timeout
}

// ConnectBeside is ConnectTo for a watchdog that stands beside its function.
func (p *ReadyPush) ConnectBeside(port uint16) { p.port, p.beside = 0, port }
