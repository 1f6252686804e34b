package handlers

import "time"

// ConnectTo lets a test stand in for a watchdog, which always has the same port, and be as slow as the machine is.
func (p *ReadyPush) ConnectTo(port uint16, timeout time.Duration) {
	p.port, p.client.Timeout = port, timeout
}
