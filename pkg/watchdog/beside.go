package watchdog

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"

	"github.com/dragonchain/dc-provider/pkg/function/assignment"
	"github.com/dragonchain/dc-provider/pkg/function/readypush"
)

// beside reads the settings of a watchdog that stands beside its function. They are all the provider's: whatever else the environment
// holds is for the function, which may well be one of the OpenFaaS watchdogs, and sees it as it would without us.
//
// The function listens where the pod's own address is, as it has to for its callers: one that is heard on the loopback address alone
// would be called in vain.
func (v *vars) beside(environ []string) Config {
	host := v.text(assignment.EnvIP, "127.0.0.1")
	return Config{
		Beside:    true,
		Mode:      HTTPMode,
		Dialect:   Native,
		Command:   v.assignedCommand(),
		Environ:   childEnviron(environ, Classic), // in which functions see all settings
		Upstream:  &url.URL{Scheme: "http", Host: net.JoinHostPort(host, v.set["DC_BESIDE"])},
		Port:      v.number("DC_PROBE_PORT", readypush.ProbePort),
		ReadyPath: v.path("DC_READY_PATH"),
		LameDuck:  v.duration("DC_HOLD", defaultLameDuck),
		LineBytes: defaultLineBytes,
		Push:      v.push(),
	}
}

// serveProbes serves our own paths until ctx ends, and nothing of the function's.
func (w *Watchdog) serveProbes(ctx context.Context, ln net.Listener) {
	srv := &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if serve := w.ownPath(r.URL.Path); serve != nil {
				serve(rw, r)
				return
			}
			http.NotFound(rw, r)
		}),
		ReadTimeout: spareTimeout, WriteTimeout: spareTimeout, MaxHeaderBytes: maxSpareHead,
		ErrorLog:  slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
		ConnState: boundConns(maxSpareConns),
	}
	srv.SetKeepAlivesEnabled(false) // as a spare: whoever asks asks seldom
	stop := context.AfterFunc(ctx, func() {
		// A probe that is cut off has lost its target anyway.
		_ = srv.Close()
	})
	defer stop()
	if err := srv.Serve(ln); ctx.Err() == nil {
		w.log.Error("probes are not answered any more", "err", err)
	}
}
