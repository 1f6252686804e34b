package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/cluster"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/node"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/registry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(max(exit.ExitCode(), 1)) // the command said why itself; a signal gives -1
	case err != nil:
		fmt.Fprintln(os.Stderr, "devcluster:", err)
		os.Exit(1)
	}
}

// flags are those of all commands; each command uses some.
type flags struct {
	root, name           string
	nodes, index         int
	gatewayPort, apiPort int
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: devcluster up|down|status|load|exec|get [flags]")
	}
	command := args[0]
	var f flags
	set := flag.NewFlagSet(command, flag.ContinueOnError)
	set.StringVar(&f.root, "root", ".dev", "folder of binaries and state")
	set.StringVar(&f.name, "name", "dc", "name of the cluster")
	set.IntVar(&f.nodes, "nodes", 1, "up: number of nodes")
	set.IntVar(&f.gatewayPort, "gateway-port", 0, "up: port on 127.0.0.1 for the gateway; 0 is any")
	set.IntVar(&f.apiPort, "api-port", 0, "up: port on 127.0.0.1 for the API server; 0 is any")
	set.IntVar(&f.index, "index", 0, "node: which")
	if err := set.Parse(args[1:]); err != nil {
		return err
	}
	// The processes of the cluster outlive this one and its working directory.
	root, err := filepath.Abs(f.root)
	if err != nil {
		return err
	}
	f.root = root
	if os.Geteuid() != 0 {
		return errors.New("must run as root: it makes network namespaces and mounts")
	}
	switch command {
	case "up":
		return up(ctx, f)
	case "down":
		c, err := layout.At(f.root, f.name)
		if err != nil {
			return err
		}
		return cluster.Down(ctx, c, say)
	}
	c, err := layout.Load(f.root, f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no cluster %s: make it with up", f.name)
	}
	if err != nil {
		return err
	}
	return withCluster(ctx, command, c, f, set.Args())
}

// withCluster runs the commands that need a cluster to exist.
func withCluster(ctx context.Context, command string, c layout.Cluster, f flags, args []string) error {
	switch command {
	case "status":
		return cluster.Status(c, os.Stdout)
	case "load":
		for _, archive := range args {
			if err := cluster.Load(ctx, c, archive); err != nil {
				return err
			}
		}
		return nil
	case "exec":
		if len(args) == 0 {
			return errors.New("exec: no command given")
		}
		return cluster.Exec(ctx, c, os.Environ(), args)
	case "get":
		return get(c, args)
	case "guard":
		return cluster.Guard(ctx, c, processLog())
	case "supervise":
		return cluster.Supervise(ctx, c, processLog())
	case "registry":
		return registry.Serve(ctx, c)
	case "node":
		if f.index < 0 || f.index >= c.Nodes {
			return fmt.Errorf("node %d of %d", f.index, c.Nodes)
		}
		return node.Run(ctx, c.Node(f.index), processLog())
	}
	return fmt.Errorf("unknown command %q", command)
}

func up(ctx context.Context, f flags) error {
	c, err := layout.At(f.root, f.name)
	if err != nil {
		return err
	}
	c.Nodes, c.GatewayPort, c.APIPort = f.nodes, f.gatewayPort, f.apiPort
	if err := cluster.Up(ctx, c, say); err != nil {
		return err
	}
	made, err := layout.Load(f.root, f.name)
	if err != nil {
		return err
	}
	return cluster.Status(made, os.Stdout)
}

func get(c layout.Cluster, args []string) error {
	facts := map[string]string{
		"netns":             c.Node(0).NetnsFile(),
		"lan":               c.LAN(),
		"kubeconfig":        c.Path("kubeconfig"),
		"kubeconfig-inside": c.Path("kubeconfig.inside"),
		"dir":               c.Dir,
		"registry":          "http://" + c.Registry(),
		"gateway-url":       fmt.Sprintf("http://127.0.0.1:%d", c.GatewayPort),
	}
	for _, arg := range args {
		fact, ok := facts[arg]
		if !ok {
			return fmt.Errorf("get: no fact %q", arg)
		}
		fmt.Println(fact)
	}
	return nil
}

// say tells whoever watches.
func say(what string) { fmt.Fprintln(os.Stderr, "    "+what) }

func processLog() *slog.Logger { return slog.New(slog.NewTextHandler(os.Stderr, nil)) }
