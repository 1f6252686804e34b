package watchdog

import (
	"context"
	"net/http"
	"time"
)

// shutDown ends serving in order: announce it, go on serving for a moment, take no more, wait for what is in flight.
//
// The moment is for whoever has not heard yet. The provider stops sending before it deletes a pod, so that our default is short;
// healthcheck_interval sets another.
func (w *Watchdog) shutDown(srv *http.Server) {
	_, inFlight := w.inFlight.empty()
	w.log.Info("ending: not ready any more", "in_flight", inFlight, "healthcheck_interval", w.cfg.LameDuck.String())
	w.ending.Store(true) // every answer from now on closes its connection
	w.health.close()
	time.Sleep(w.cfg.LameDuck)
	w.drain(srv, w.drainLimit)
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

// drain closes the port and idle connections, and waits for what is in flight. Server.Shutdown alone would not do: it does not
// know upgraded connections, and waits for those that have never carried a request.
func (w *Watchdog) drain(srv *http.Server, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	quiet := make(chan struct{})
	go func() {
		defer close(quiet)
		_ = srv.Shutdown(ctx) // its one error is that ctx has ended
	}()
	defer func() { cancel(); <-quiet }()
	for ctx.Err() == nil {
		idle, inFlight := w.inFlight.empty()
		select {
		case <-ctx.Done():
			w.log.Warn("ending with invocations in flight", "in_flight", inFlight, "duration_seconds", limit.Seconds())
			return
		case <-idle:
		}
		// An answer may still be on its way out, a request on its way in.
		select {
		case <-quiet:
		case <-time.After(lastBytes):
		}
		if _, inFlight := w.inFlight.empty(); inFlight == 0 {
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
