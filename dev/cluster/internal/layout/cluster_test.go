package layout

import (
	"errors"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
)

func TestCluster_Validate(t *testing.T) {
	for _, test := range []struct {
		name  string
		nodes int
		ok    bool
	}{
		{"dc", 1, true},
		{"dc-test", MaxNodes, true},
		{"a", 2, true},
		{strings.Repeat("a", 32), 1, true},
		{strings.Repeat("a", 33), 1, false},
		{"", 1, false},
		{"Dc", 1, false},
		{"dc-", 1, false},
		{"1dc", 1, false},
		{"../dc", 1, false},
		{"dc", 0, false},
		{"dc", MaxNodes + 1, false},
	} {
		if err := (Cluster{Name: test.name, Nodes: test.nodes}).Validate(); (err == nil) != test.ok {
			t.Errorf("%q with %d nodes: %v, want ok %v", test.name, test.nodes, err, test.ok)
		}
	}
}

func TestCluster_LoadWhatWasSaved(t *testing.T) {
	root := t.TempDir()
	if _, err := Load(root, "dc"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("load what is not there: %v, want fs.ErrNotExist", err)
	}
	c, err := At(root, "dc")
	if err != nil {
		t.Fatal(err)
	}
	c.Nodes, c.GatewayPort, c.APIPort = 2, 8080, 6443
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	got, err := Load(root, "dc")
	if err != nil || got != c {
		t.Errorf("loaded %+v, %v, want %+v", got, err, c)
	}
}

func TestCluster_WantedUntilNot(t *testing.T) {
	c := Cluster{Dir: t.TempDir()}
	for _, wanted := range []bool{false, true, true, false, false} {
		if err := c.SetWanted(wanted); err != nil {
			t.Fatal(err)
		}
		if c.Wanted() != wanted {
			t.Errorf("wanted is %v after SetWanted(%v)", c.Wanted(), wanted)
		}
	}
}

func TestCluster_NamesOfTwoCheckoutsDiffer(t *testing.T) {
	a, b := Cluster{Name: "dc", Dir: "/a/.dev/dc"}, Cluster{Name: "dc", Dir: "/b/.dev/dc"}
	if a.ID() == b.ID() || a.LAN() == b.LAN() || a.Cgroup() == b.Cgroup() || a.Node(0).Netns() == b.Node(0).Netns() {
		t.Errorf("clusters of two checkouts share a name: %s, %s", a.ID(), b.ID())
	}
}

func TestNode_AddressesFitAndDoNotOverlap(t *testing.T) {
	all := netip.MustParsePrefix(PodCIDR)
	var seen []netip.Prefix
	for _, n := range (Cluster{Name: "dc", Nodes: MaxNodes}).AllNodes() {
		pods := n.PodCIDR()
		if pods != pods.Masked() || !all.Contains(pods.Addr()) {
			t.Errorf("%s: pods at %s, want a network within %s", n.Name(), pods, all)
		}
		for _, other := range seen {
			if other.Overlaps(pods) {
				t.Errorf("%s: pods at %s overlap %s", n.Name(), pods, other)
			}
		}
		seen = append(seen, pods)
	}
}

// The longest path of a socket that anything makes in a node must fit in 107 bytes, wherever the checkout lies.
func TestNodeDir_IsShortEnoughForSockets(t *testing.T) {
	longest := filepath.Join(NodeDir, "kubelet", "device-plugins", "kubelet.sock")
	if len(longest) > 107 {
		t.Errorf("%s has %d bytes", longest, len(longest))
	}
}
