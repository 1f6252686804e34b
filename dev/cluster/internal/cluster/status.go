package cluster

import (
	"fmt"
	"io"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/proc"
)

// Status writes what of the cluster runs, and where it can be reached.
func Status(c layout.Cluster, w io.Writer) error {
	fmt.Fprintf(w, "cluster %s (%s): gateway 127.0.0.1:%d, API 127.0.0.1:%d\n", c.Name, c.ID(), c.GatewayPort, c.APIPort)
	line := func(what, lock string) error {
		pid, held, err := proc.Holder(lock)
		if err != nil {
			return err
		}
		if !held {
			fmt.Fprintf(w, "  %-10s down\n", what)
			return nil
		}
		fmt.Fprintf(w, "  %-10s pid %d\n", what, pid)
		return nil
	}
	for _, r := range []role{guardRole, superviseRole} {
		if err := line(string(r), r.lock(c)); err != nil {
			return err
		}
	}
	for _, n := range c.AllNodes() {
		if err := line(n.Short(), n.Lock()); err != nil {
			return err
		}
	}
	return nil
}
