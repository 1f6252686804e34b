package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/proc"
	"golang.org/x/sync/errgroup"
)

// Load imports an image archive, in docker's or the OCI's format, into every node.
func Load(ctx context.Context, c layout.Cluster, archive string) error {
	var loads errgroup.Group
	for _, n := range c.AllNodes() {
		loads.Go(func() error { return loadNode(ctx, n, archive) })
	}
	return loads.Wait()
}

func loadNode(ctx context.Context, n layout.Node, archive string) error {
	pid, held, err := proc.Holder(n.Lock())
	if err != nil {
		return err
	}
	if !held || pid == 0 {
		return fmt.Errorf("%s does not run", n.Name())
	}
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	// The archive goes in as standard input: its path may mean something else inside.
	cmd := exec.CommandContext(ctx, "nsenter", "--target="+strconv.Itoa(pid), "--mount", "--net", "--pid",
		n.Bin+"/ctr", "--namespace=k8s.io", "images", "import", "-")
	cmd.Stdin = file
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("import %s into %s: %w: %s", archive, n.Name(), err, out)
	}
	return nil
}

// insideScript gives what follows it the cluster's resolv.conf, in a mount namespace of its own.
const insideScript = `mount --bind "$0" /etc/resolv.conf && exec "$@"`

// Exec runs args inside node 0's network namespace with the standard streams of this process. DNS inside is the
// cluster's.
func Exec(ctx context.Context, c layout.Cluster, env, args []string) error {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{
		"--net=" + c.Node(0).NetnsFile(), "unshare", "--mount", "--propagation=private",
		"sh", "-c", insideScript, c.Path("resolv.conf"),
	}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, os.Stdout, os.Stderr, env
	return cmd.Run()
}
