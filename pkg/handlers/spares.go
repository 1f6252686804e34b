package handlers

import (
	"context"
	"errors"

	"github.com/dragonchain/dc-provider/pkg/function"
	"github.com/dragonchain/dc-provider/pkg/function/assignment"
)

// spareCalls answers spares of the warm pool that tell that they are there. What they say is not believed: Config.Spare asks
// them, at the address that they call from. Package assignment has the protocol. A provider that cannot have the spare claimed,
// because it does not lead, passes the call on; the spare calls again all the same.
func (a *API) spareCalls(ctx context.Context, t told) error {
	call, err := assignment.ParseCall(t.body)
	if err != nil {
		return function.Invalidf("%v", err)
	}
	err = a.cfg.Spare(ctx, call.Pod, t.from)
	if errors.Is(err, function.ErrConflict) {
		t.pass()
	}
	return err
}
