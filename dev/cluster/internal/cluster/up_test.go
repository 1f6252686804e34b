package cluster

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/dragonchain/dc-provider/dev/cluster/internal/layout"
)

func TestSettle(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	takenPort := taken.Addr().(*net.TCPAddr).Port
	existing := layout.Cluster{Name: "dc", Nodes: 2, GatewayPort: takenPort, APIPort: 6443}
	for _, test := range []struct {
		name    string
		had     *layout.Cluster
		asked   layout.Cluster
		want    layout.Cluster // zero ports mean any
		refusal string
	}{
		{name: "a new cluster gets free ports", asked: layout.Cluster{Nodes: 1}, want: layout.Cluster{Nodes: 1}},
		{name: "a port that is taken", asked: layout.Cluster{Nodes: 1, GatewayPort: takenPort}, refusal: "address already in use"},
		{name: "an existing cluster keeps its ports, though it uses them", had: &existing, asked: layout.Cluster{Nodes: 2}, want: existing},
		{name: "asking for what it has", had: &existing, asked: existing, want: existing},
		{name: "another port", had: &existing, asked: layout.Cluster{Nodes: 2, APIPort: 7443}, refusal: "exists with port 6443, not 7443"},
		{name: "another number of nodes", had: &existing, asked: layout.Cluster{Nodes: 1}, refusal: "2 nodes, not 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := layout.At(t.TempDir(), "dc")
			if err != nil {
				t.Fatal(err)
			}
			if test.had != nil {
				had := *test.had
				had.Dir = c.Dir
				if err := had.Save(); err != nil {
					t.Fatal(err)
				}
			}
			c.Nodes, c.GatewayPort, c.APIPort = test.asked.Nodes, test.asked.GatewayPort, test.asked.APIPort
			got, err := settle(c)
			if test.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), test.refusal) {
					t.Fatalf("%v, want %q", err, test.refusal)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.GatewayPort == 0 || got.APIPort == 0 {
				t.Errorf("no port: %+v", got)
			}
			if saved, err := layout.Load(c.Root(), "dc"); err != nil || saved.GatewayPort != got.GatewayPort || saved.Nodes != got.Nodes {
				t.Errorf("saved %+v, %v, want %+v", saved, err, got)
			}
			if want := fmt.Sprint(test.want.Nodes, test.want.GatewayPort, test.want.APIPort); test.had != nil && fmt.Sprint(got.Nodes, got.GatewayPort, got.APIPort) != want {
				t.Errorf("got %+v, want %s", got, want)
			}
		})
	}
}
