package handlers

import (
	"fmt"
	"net/http"
	"net/netip"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/assignment"
)

// spareCalls answers spares of the warm pool that tell that they are there. What they say is not believed: Config.Spare asks
// them, at the address that they call from. Package assignment has the protocol.
func (a *API) spareCalls(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r, assignment.MaxCallBytes, readyBodyTimeout)
	if err != nil {
		return err
	}
	call, err := assignment.ParseCall(body)
	if err != nil {
		return function.Invalidf("%v", err)
	}
	caller, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return fmt.Errorf("read the caller's address: %w", err)
	}
	if err := a.cfg.Spare(r.Context(), call.Pod, caller.Addr().Unmap()); err != nil {
		return err
	}
	return answered(w, http.StatusNoContent, nil)
}
