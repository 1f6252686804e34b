package network

import (
	"slices"
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
)

func TestSteps(t *testing.T) {
	c := layout.Cluster{Name: "dc", Nodes: 2, Dir: "/state/dc"}
	var lines []string
	for _, step := range steps(c) {
		lines = append(lines, strings.ReplaceAll(strings.Join(step, " "), c.ID(), "ID"))
	}
	want := []string{
		"netns add ID-lan",
		"-n ID-lan link add br0 type bridge",
		"-n ID-lan link set br0 up",
		"netns add ID-node0",
		"-n ID-lan link add node0 type veth peer name eth0 netns ID-node0",
		"-n ID-lan link set node0 master br0 up",
		"-n ID-node0 link set lo up",
		"-n ID-node0 address add 172.31.0.10/24 dev eth0",
		"-n ID-node0 link set eth0 up",
		"-n ID-node0 route add 10.96.0.0/16 dev eth0",
		"netns add ID-node1",
		"-n ID-lan link add node1 type veth peer name eth0 netns ID-node1",
		"-n ID-lan link set node1 master br0 up",
		"-n ID-node1 link set lo up",
		"-n ID-node1 address add 172.31.0.11/24 dev eth0",
		"-n ID-node1 link set eth0 up",
		"-n ID-node1 route add 10.96.0.0/16 dev eth0",
		"-n ID-node0 route add 10.244.4.0/22 via 172.31.0.11",
		"-n ID-node1 route add 10.244.0.0/22 via 172.31.0.10",
		"-n ID-lan link set br0 alias complete", // last: it says that all before it was done
	}
	if !slices.Equal(lines, want) {
		t.Errorf("steps\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	for _, line := range lines {
		if strings.Contains(line, "default") {
			t.Errorf("a way out: %s", line)
		}
	}
}
