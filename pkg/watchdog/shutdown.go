package watchdog

import (
	"context"
	"net"
	"time"
)

// shutDown ends serving in order: announce it, go on serving for a moment, take no more, wait for what is in flight.
//
// The moment is for whoever has not heard yet: Kubernetes tells the provider and us at the same time when it ends a pod, and a busy
// machine may take a while to. healthcheck_interval sets another.
func (w *Watchdog) shutDown(ln net.Listener) {
	w.announceEnd()
	w.health.close()
	_, inFlight := w.inFlight.empty()
	w.log.Info("ending: not ready any more", "in_flight", inFlight, "healthcheck_interval", w.cfg.LameDuck.String())
	time.Sleep(w.cfg.LameDuck)
	w.drain(ln, w.drainLimit)
}

// announceEnd makes every answer that begins from now on close its connection.
func (w *Watchdog) announceEnd() {
	w.ending.Store(true)
	if w.front != nil {
		w.front.EndKeepAlive()
	}
}

// drainTime is what invocations in flight get: write_timeout, as in OpenFaaS, or what Kubernetes gives a pod by default.
func drainTime(cfg *Config) time.Duration {
	switch {
	case cfg.WriteTimeout > 0:
		return cfg.WriteTimeout
	case cfg.ExecTimeout > defaultDrain:
		return cfg.ExecTimeout
	}
	return defaultDrain
}

// drain closes the port and idle connections, and waits for what is in flight. A connection that was just taken and has not
// carried a request yet gets a moment to, and so does one whose last answer has just ended.
func (w *Watchdog) drain(ln net.Listener, limit time.Duration) {
	_ = ln.Close() // fails only if it is closed already
	if m, ok := w.mode.(*httpMode); ok {
		m.up.hurry()
	}
	deadline, moment := time.After(limit), time.After(firstBytes)
	if w.front != nil {
		// First, for it hands connections over.
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if w.front.Shutdown(ctx) != nil {
			_, inFlight := w.inFlight.empty()
			w.log.Warn("ending with invocations in flight", "in_flight", inFlight, "duration_seconds", limit.Seconds())
			return
		}
	}
	for {
		busy, fresh, next, changed := w.conns.closeIdle()
		idle, inFlight := w.inFlight.empty()
		if busy == 0 && inFlight == 0 && next == 0 && (fresh == 0 || moment == nil) {
			return
		}
		if inFlight == 0 {
			idle = nil
		}
		var look <-chan time.Time
		if next > 0 {
			look = time.After(next)
		}
		select {
		case <-changed:
		case <-idle:
		case <-look:
		case <-moment:
			moment = nil
		case <-deadline:
			w.log.Warn("ending with invocations in flight", "in_flight", inFlight, "duration_seconds", limit.Seconds())
			return
		}
	}
}

// waitIdle waits until nothing is in flight, for limit at most.
func (w *Watchdog) waitIdle(limit time.Duration) {
	idle, _ := w.inFlight.empty()
	select {
	case <-idle:
	case <-time.After(limit):
	}
}
