package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/proc"
)

// role is one of the two processes on the host that keep the cluster up. Its name is the subcommand that runs it.
type role string

const (
	guardRole     role = "guard"
	superviseRole role = "supervise"
)

func (r role) lock(c layout.Cluster) string { return c.Path(string(r) + ".lock") }

// watchEvery is how often each looks whether the other, and every node, is alive.
const watchEvery = 250 * time.Millisecond

// ensureRole starts the role's process unless it runs. A second one started at the same moment ends by itself.
func ensureRole(c layout.Cluster, r role) error {
	_, held, err := proc.Holder(r.lock(c))
	if err != nil || held {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(c.Path("logs", string(r)+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(self, string(r), "--root="+c.Root(), "--name="+c.Name)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", r, err)
	}
	go cmd.Wait() // collects it if it ends first; its lock tells the rest
	return nil
}

// Guard keeps the supervisor running until the cluster is not wanted any more.
func Guard(ctx context.Context, c layout.Cluster, log *slog.Logger) error {
	lock, err := proc.TryLock(guardRole.lock(c), os.Getpid())
	if errors.Is(err, proc.ErrHeld) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Release()
	return everyWatch(ctx, c, log, func() error { return ensureRole(c, superviseRole) })
}

// everyWatch calls step at once and then every watchEvery until the cluster is not wanted or ctx ends. A step that fails is
// repeated like any other, since the state folder may be on its way to being deleted, or the disk full for a while.
func everyWatch(ctx context.Context, c layout.Cluster, log *slog.Logger, step func() error) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var last string
	for c.Wanted() {
		if err := step(); err != nil && err.Error() != last {
			last = err.Error()
			log.Error("keeping the cluster up", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// Supervise keeps the nodes, the forwarder and the guard running until the cluster is not wanted any more. Unless a Down is
// quicker, it then removes what is outside the state folder: that may have been deleted, locks, program and all, and nobody
// else would.
func Supervise(ctx context.Context, c layout.Cluster, log *slog.Logger) error {
	lock, err := proc.TryLock(superviseRole.lock(c), os.Getpid())
	if errors.Is(err, proc.ErrHeld) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	forwarders, err := startForwarders(ctx, cancel, c, log)
	if err != nil {
		return err
	}
	nodes := newNodes(c, log)
	err = everyWatch(ctx, c, log, func() error {
		if err := ensureRole(c, guardRole); err != nil {
			return err
		}
		return nodes.ensure()
	})
	cancel(nil)
	forwarders.Wait()
	if err != nil {
		return context.Cause(ctx) // if a forwarder's, the guard starts another supervisor
	}
	ctx, stop := context.WithTimeout(context.Background(), downTimeout)
	defer stop()
	if err := killInside(ctx, c); err != nil {
		return err
	}
	return removeTraces(ctx, c)
}
