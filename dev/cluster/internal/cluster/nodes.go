package cluster

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/node"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/proc"
)

// startLimit is how long a node may take to get hold of its lock before it is started once more.
const startLimit = 5 * time.Second

// nodes are the cluster's nodes as the supervisor sees them: alive while their locks are held.
type nodes struct {
	cluster layout.Cluster
	log     *slog.Logger
	started []time.Time // by index: when last started by this process
}

func newNodes(c layout.Cluster, log *slog.Logger) *nodes {
	return &nodes{cluster: c, log: log, started: make([]time.Time, c.Nodes)}
}

// ensure starts every node that is not alive.
func (s *nodes) ensure() error {
	for _, n := range s.cluster.AllNodes() {
		_, held, err := proc.Holder(n.Lock())
		if err != nil {
			return err
		}
		if held || time.Since(s.started[n.Index]) < startLimit {
			continue
		}
		if err := s.start(n); err != nil {
			return err
		}
	}
	return nil
}

func (s *nodes) start(n layout.Node) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s.started[n.Index] = time.Now()
	cmd, err := node.Start(n, self, "node", "--root="+n.Root(), "--name="+n.Cluster.Name, fmt.Sprintf("--index=%d", n.Index))
	if err != nil {
		return err
	}
	s.log.Info("node started", "node", n.Name(), "pid", cmd.Process.Pid)
	go func() {
		err := cmd.Wait()
		s.log.Warn("node ended", "node", n.Name(), "err", err)
	}()
	return nil
}
