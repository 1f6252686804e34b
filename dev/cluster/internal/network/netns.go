package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
)

const (
	bridge = "br0"
	// complete is the bridge's alias once every step has been done.
	complete = "complete"
)

// Ensure makes the cluster's namespaces unless they are all there.
func Ensure(ctx context.Context, c layout.Cluster) error {
	out, err := ip(ctx, "-n", c.LAN(), "link", "show", bridge)
	if err == nil && strings.Contains(out, "alias "+complete) {
		return nil
	}
	if err := Remove(ctx, c); err != nil {
		return err
	}
	for _, step := range steps(c) {
		if _, err := ip(ctx, step...); err != nil {
			return err
		}
	}
	return nil
}

// steps lists the arguments of ip(8) that make the cluster's network.
func steps(c layout.Cluster) [][]string {
	var all [][]string
	add := func(args ...string) { all = append(all, args) }
	lan := c.LAN()
	add("netns", "add", lan)
	add("-n", lan, "link", "add", bridge, "type", "bridge")
	add("-n", lan, "link", "set", bridge, "up")
	for _, n := range c.AllNodes() {
		add("netns", "add", n.Netns())
		add("-n", lan, "link", "add", n.Short(), "type", "veth", "peer", "name", "eth0", "netns", n.Netns())
		add("-n", lan, "link", "set", n.Short(), "master", bridge, "up")
		add("-n", n.Netns(), "link", "set", "lo", "up")
		add("-n", n.Netns(), "address", "add", n.IP().String()+"/24", "dev", "eth0")
		add("-n", n.Netns(), "link", "set", "eth0", "up")
		// A Service's address is replaced after the kernel has looked for a route to it, so there must be one. Where
		// it leads does not matter.
		add("-n", n.Netns(), "route", "add", layout.ServiceCIDR, "dev", "eth0")
	}
	for _, n := range c.AllNodes() {
		for _, other := range c.AllNodes() {
			if other.Index != n.Index {
				add("-n", n.Netns(), "route", "add", other.PodCIDR().String(), "via", other.IP().String())
			}
		}
	}
	add("-n", lan, "link", "set", bridge, "alias", complete)
	return all
}

// Remove deletes the cluster's namespaces and with them every interface, route and rule. Processes still in one keep it
// alive without its name: see Processes.
func Remove(ctx context.Context, c layout.Cluster) error {
	names, err := existing(c)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := ip(ctx, "netns", "delete", name); err != nil {
			return err
		}
	}
	return nil
}

// Processes lists the processes that run in any of the cluster's namespaces.
func Processes(ctx context.Context, c layout.Cluster) ([]int, error) {
	names, err := existing(c)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		out, err := ip(ctx, "netns", "pids", name)
		if err != nil {
			return nil, err
		}
		for field := range strings.FieldsSeq(out) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("ip netns pids %s: %w", name, err)
			}
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// existing finds the namespaces by name, not by the number of nodes, which may have been lost with the state folder.
func existing(c layout.Cluster) ([]string, error) {
	entries, err := os.ReadDir("/run/netns")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Name() == c.LAN() || strings.HasPrefix(e.Name(), c.ID()+"-node") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func ip(ctx context.Context, args ...string) (string, error) {
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}
