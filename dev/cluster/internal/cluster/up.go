package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/api"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/archive"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/config"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/network"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/pki"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/proc"
)

// upTimeout is how long a cluster may take to get ready. It takes about ten seconds on an idle machine.
const upTimeout = 3 * time.Minute

// Up makes the cluster run and returns once it is ready for use. Zero ports in c mean the ones chosen before, or any free
// ones. It tells a person by say what it waits for.
func Up(ctx context.Context, c layout.Cluster, say func(string)) error {
	if err := c.Validate(); err != nil {
		return err
	}
	unlock, err := lockUpDown(ctx, c, say)
	if err != nil {
		return err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()

	c, err = settle(c)
	if err != nil {
		return err
	}
	if err := write(c); err != nil {
		return err
	}
	if err := network.Ensure(ctx, c); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	if err := c.SetWanted(true); err != nil {
		return err
	}
	if err := ensureRole(c, guardRole); err != nil {
		return err
	}
	client, err := api.New(c)
	if err != nil {
		return err
	}
	say("waiting for the API server")
	if err := retry(ctx, func() error { return client.Ready(ctx) }); err != nil {
		return fmt.Errorf("the API server does not get ready, see %s: %w", c.Path("logs"), err)
	}
	if err := bootstrap(ctx, c, client); err != nil {
		return err
	}
	say("waiting for the nodes and DNS")
	if err := retry(ctx, func() error { return nodesReady(ctx, c, client) }); err != nil {
		return fmt.Errorf("the nodes do not get ready, see %s: %w", c.Path("logs"), err)
	}
	if err := retry(ctx, func() error { return dnsReady(ctx, c) }); err != nil {
		return fmt.Errorf("DNS does not answer, see %s: %w", c.Path("logs"), err)
	}
	return nil
}

func lockUpDown(ctx context.Context, c layout.Cluster, say func(string)) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(c.Dir), 0o755); err != nil {
		return nil, err
	}
	lock, err := proc.WaitLock(ctx, c.UpDownLock(), os.Getpid(), func(holder int) {
		say(fmt.Sprintf("waiting for another up or down of this cluster, process %d", holder))
	})
	if err != nil {
		return nil, err
	}
	return func() { lock.Release() }, nil // closing a file that was only locked cannot lose anything
}

// settle joins the choices asked for with those of the cluster that exists.
func settle(asked layout.Cluster) (layout.Cluster, error) {
	had, err := layout.Load(asked.Root(), asked.Name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return asked, err
	}
	exists := err == nil
	if exists && had.Nodes != asked.Nodes {
		return asked, fmt.Errorf("cluster %s exists with %d nodes, not %d: take it down first", asked.Name, had.Nodes, asked.Nodes)
	}
	if asked.GatewayPort, err = settlePort(asked.GatewayPort, had.GatewayPort); err != nil {
		return asked, fmt.Errorf("gateway port: %w", err)
	}
	if asked.APIPort, err = settlePort(asked.APIPort, had.APIPort); err != nil {
		return asked, fmt.Errorf("API port: %w", err)
	}
	if err := os.MkdirAll(asked.Dir, 0o755); err != nil {
		return asked, err
	}
	return asked, asked.Save()
}

// settlePort decides on a port that is new to the cluster by listening on it for a moment.
func settlePort(asked, had int) (int, error) {
	if had != 0 && (asked == 0 || asked == had) {
		return had, nil
	}
	if had != 0 {
		return 0, fmt.Errorf("the cluster exists with port %d, not %d: take it down first", had, asked)
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", asked))
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// write makes every file that the components need.
func write(c layout.Cluster) error {
	for _, dir := range []string{"logs", "etcd"} {
		if err := os.MkdirAll(c.Path(dir), 0o700); err != nil {
			return err
		}
	}
	for _, n := range c.AllNodes() {
		if err := os.MkdirAll(n.Dir(), 0o755); err != nil {
			return err
		}
	}
	if err := pki.Ensure(c); err != nil {
		return err
	}
	if err := config.Render(c); err != nil {
		return err
	}
	if err := makeVolumes(c); err != nil {
		return err
	}
	return writePauseImage(c)
}

func writePauseImage(c layout.Cluster) error {
	binary, err := os.ReadFile(filepath.Join(c.Bin, "pause"))
	if err != nil {
		return err
	}
	file, err := os.Create(c.Path("pause.tar"))
	if err != nil {
		return err
	}
	defer file.Close()
	if err := archive.Pack(file, layout.PauseImage, "pause", layout.VolumeOwner, binary); err != nil {
		return fmt.Errorf("pause image: %w", err)
	}
	return file.Close()
}

func nodesReady(ctx context.Context, c layout.Cluster, client *api.Client) error {
	for _, n := range c.AllNodes() {
		var node struct {
			Status struct {
				Conditions []struct{ Type, Status, Message string }
			}
		}
		if err := client.Read(ctx, "/api/v1/nodes/"+n.Name(), &node); err != nil {
			return err
		}
		ready := errors.New("no condition yet")
		for _, condition := range node.Status.Conditions {
			if condition.Type != "Ready" {
				continue
			}
			if ready = nil; condition.Status != "True" {
				ready = errors.New(condition.Message)
			}
		}
		if ready != nil {
			return fmt.Errorf("%s: %w", n.Name(), ready)
		}
	}
	return nil
}

// dnsReady asks, through the DNS service's address, for a name that every cluster has: it takes kube-proxy and CoreDNS.
func dnsReady(ctx context.Context, c layout.Cluster) error {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return network.Dial(ctx, c.Node(0).NetnsFile(), layout.DNSServiceIP+":53")
	}}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	addrs, err := resolver.LookupHost(ctx, "kubernetes.default.svc."+layout.Domain+".")
	if err != nil {
		return err
	}
	if len(addrs) != 1 || addrs[0] != layout.APIServiceIP {
		return fmt.Errorf("kubernetes.default is %v, want %s", addrs, layout.APIServiceIP)
	}
	return nil
}

// retry repeats step until it succeeds or ctx ends; then the error is step's last.
func retry(ctx context.Context, step func() error) error {
	for {
		err := step()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}
