package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/pki"
	"github.com/dragonchain/dc-provider/dev/cluster/internal/proc"
)

var update = flag.Bool("update", false, "write the golden files anew")

// newCluster has its keys in a temporary folder; golden replaces that folder's name.
func newCluster(t *testing.T) layout.Cluster {
	t.Helper()
	c := layout.Cluster{Name: "dc", Nodes: 2, GatewayPort: 8080, APIPort: 6443, Dir: t.TempDir(), Bin: "/bin-folder"}
	if err := pki.Ensure(c); err != nil {
		t.Fatal(err)
	}
	return c
}

func golden(t *testing.T, c layout.Cluster, name, got string) {
	t.Helper()
	got = strings.NewReplacer(c.ID(), "ID", c.Dir, "STATE", c.Root(), "ROOT").Replace(got)
	path := filepath.Join("testdata", name)
	if *update {
		if err := layout.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it):\n%s", path, got)
	}
}

// The golden file holds every rendered file but the kubeconfigs, whose keys differ each time.
func TestFiles_Golden(t *testing.T) {
	c := newCluster(t)
	files, err := Files(c)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	var all strings.Builder
	for _, f := range files {
		if !strings.Contains(filepath.Base(f.Path), "kubeconfig") {
			fmt.Fprintf(&all, "=== %s\n%s\n", f.Path, f.Data)
		}
	}
	golden(t, c, "files.golden", all.String())
}

func TestServices_Golden(t *testing.T) {
	c := newCluster(t)
	var all strings.Builder
	for _, n := range c.AllNodes() {
		for _, s := range Services(n) {
			fmt.Fprintf(&all, "=== %s %s\nwaits for %v\nprepares %v\n%s\n", n.Short(), s.Name, s.WaitFor, s.Prepare, strings.Join(s.Args, "\n"))
		}
	}
	golden(t, c, "services.golden", all.String())
}

func TestFiles_KubeconfigsLeadToTheirServers(t *testing.T) {
	c := newCluster(t)
	files, err := Files(c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{c.Path("kubeconfig"): "https://127.0.0.1:6443", c.Path("kubeconfig.inside"): "https://172.31.0.10:6443"}
	for _, name := range []string{"kubelet-node0", "kubelet-node1", "kube-proxy", "kube-scheduler", "kube-controller-manager", "coredns"} {
		want[Kubeconfig(c, name)] = "https://172.31.0.10:6443"
	}
	got := map[string]string{}
	for _, f := range files {
		if !strings.Contains(filepath.Base(f.Path), "kubeconfig") {
			continue
		}
		var config struct {
			Clusters []struct{ Cluster struct{ Server string } }
		}
		if err := json.Unmarshal(f.Data, &config); err != nil || len(config.Clusters) != 1 {
			t.Fatalf("%s: %v", f.Path, err)
		}
		if f.Mode != 0o600 {
			t.Errorf("%s: mode %v, want 0600: it holds a key", f.Path, f.Mode)
		}
		got[f.Path] = config.Clusters[0].Cluster.Server
	}
	if !maps.Equal(got, want) {
		t.Errorf("kubeconfigs %v, want %v", got, want)
	}
}

// A service that waits for an address which nobody serves would wait for ever.
func TestServices_EveryFileAndAddressIsMade(t *testing.T) {
	c := newCluster(t)
	if err := Render(c); err != nil {
		t.Fatal(err)
	}
	served := []string{"unix:" + ContainerdSocket, "tcp:" + c.APIServer(), "tcp:127.0.0.1:2379"}
	madeLater := []string{c.Path("etcd")}
	for _, n := range c.AllNodes() {
		for _, s := range Services(n) {
			for _, addr := range s.WaitFor {
				if !slices.Contains(served, addr) {
					t.Errorf("%s waits for %s, which nobody serves", s.Name, addr)
				}
			}
			checkFiles(t, c, s, madeLater)
		}
	}
}

func checkFiles(t *testing.T, c layout.Cluster, s proc.Service, madeLater []string) {
	t.Helper()
	for _, arg := range s.Args[1:] {
		_, path, ok := strings.Cut(arg, "=")
		if !ok {
			path = arg
		}
		if !strings.HasPrefix(path, c.Dir+"/") || slices.Contains(madeLater, path) {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s is given %s: %v", s.Name, arg, err)
		}
	}
}
