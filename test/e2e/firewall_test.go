package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pushPort is where the provider hears of readiness, and of spares.
const pushPort = 8081

// rule takes from the network of the node in which this process runs what it matches, in packets that pass by or leave it, and counts
// them. It goes with the test.
type rule struct{ table string }

// forbid makes a rule, in nftables' words, of which the last is what becomes of the packets. kube-proxy's own rules are nftables', too.
func forbid(t *testing.T, hook, match, verdict string) *rule {
	t.Helper()
	r := &rule{strings.ReplaceAll(unique(t, "e2e"), "-", "_")}
	script := fmt.Sprintf("table inet %s { chain c { type filter hook %s priority 10; %s counter %s; }; }", r.table, hook, match, verdict)
	if out, err := exec.CommandContext(t.Context(), "nft", script).CombinedOutput(); err != nil {
		t.Fatalf("nft %s: %v: %s: run the tests by make test-e2e", script, err, out)
	}
	t.Cleanup(func() { r.lift(t) })
	return r
}

// lift ends the rule, if it has not ended.
func (r *rule) lift(t *testing.T) {
	t.Helper()
	if r.table == "" {
		return
	}
	if out, err := exec.Command("nft", "delete", "table", "inet", r.table).CombinedOutput(); err != nil {
		t.Errorf("nft delete table inet %s: %v: %s", r.table, err, out)
	}
	r.table = ""
}

// packets is how many the rule has matched.
func (r *rule) packets(t *testing.T) int {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "nft", "list", "table", "inet", r.table).CombinedOutput()
	if err != nil {
		t.Fatalf("nft list table inet %s: %v: %s", r.table, err, out)
	}
	_, text, _ := strings.Cut(string(out), "counter packets ")
	text, _, _ = strings.Cut(text, " ")
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("no count in %s", out)
	}
	return n
}

// onlyHere checks that pods are on this process's node, whose network rules are of.
func onlyHere(t *testing.T, pods ...corev1.Pod) {
	t.Helper()
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		node, err := cluster.CoreV1().Nodes().Get(t.Context(), p.Spec.NodeName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		here := false
		for _, a := range node.Status.Addresses {
			here = here || a.Type == corev1.NodeInternalIP && holds(own, a.Address)
		}
		if !here {
			t.Fatalf("%s runs on another node, %s: run the tests by make test-e2e", p.Name, node.Name)
		}
	}
}
