package handlers

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
)

// Relay joins providers that serve the same functions: what a pod tells one of them is passed on to the others.
type Relay interface {
	// Pass hands on what a pod at an address has posted to path. It does not wait, and what is lost is lost.
	Pass(path string, body []byte, from netip.Addr)
	// Passed tells from which pod's address a request came that another provider has passed on, and the zero Addr if it was this
	// one. is is false for a pod's own request, and an error says that no provider has passed it on.
	Passed(r *http.Request, body []byte) (from netip.Addr, is bool, err error)
}

// told is what a pod tells the provider.
type told struct {
	body []byte
	from netip.Addr
	// pass hands it on to the other providers, unless one of them has.
	pass func()
}

// fromPods serves what pods tell of themselves, at a path: as much as most bytes, from wherever it was first told.
func (a *API) fromPods(path string, most int64, serve func(context.Context, told) error) route {
	return route{method: http.MethodPost, path: path, open: true, serve: func(w http.ResponseWriter, r *http.Request) error {
		body, err := readBody(w, r, most, readyBodyTimeout)
		if err != nil {
			return err
		}
		caller, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return fmt.Errorf("read the caller's address: %w", err)
		}
		t := told{body: body, from: caller.Addr().Unmap(), pass: func() {}}
		if a.cfg.Relay != nil {
			t.pass = func() { a.cfg.Relay.Pass(path, body, t.from) }
			from, is, err := a.cfg.Relay.Passed(r, body)
			switch {
			case err != nil:
				return fmt.Errorf("%w: %w", errRefused, err)
			case is && !from.IsValid():
				return answered(w, http.StatusNoContent, nil)
			case is:
				t.from, t.pass = from, func() {}
			}
		}
		if err := serve(r.Context(), t); err != nil {
			return err
		}
		return answered(w, http.StatusNoContent, nil)
	}}
}
