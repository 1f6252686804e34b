package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// outages skips a test that takes away from all what they need, except in a pass of its own.
func outages(t *testing.T) {
	t.Helper()
	if os.Getenv("E2E_OUTAGES") == "" {
		t.Skip("make test-e2e stops the API server, and a node, in a pass of its own")
	}
}

// component is the process of one of Kubernetes' programs on the node in whose network this process runs.
func component(t *testing.T, name string) (pid int, ok bool) {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		command, err := os.ReadFile(path)
		if args := strings.Split(string(command), "\x00"); err != nil || len(args) < 2 || args[1] != name {
			continue // gone meanwhile, or another
		}
		if network, err := os.Readlink(filepath.Join(filepath.Dir(path), "ns/net")); err != nil || network != own {
			continue // another cluster's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		return pid, true
	}
	return 0, false
}

// TestKubeletKill ends the kubelet with SIGKILL during wakes, by a claim and without. It is started again, and the calls are
// answered. It runs alone: no pod starts meanwhile.
func TestKubeletKill(t *testing.T) {
	namespace := newPool(t, 1)
	var functions []function
	for range 2 {
		d := parrot()
		d.Namespace = namespace
		functions = append(functions, deployAtZero(t, d))
	}
	awaitSpares(t, namespace, 1)
	pid, ok := component(t, "kubelet")
	if !ok {
		t.Fatal("the kubelet's process is not on this machine: run the tests by make test-e2e")
	}
	var answered []<-chan woken
	for _, f := range functions {
		answered = append(answered, f.wakeBeside(t, f.name))
	}
	time.Sleep(30 * time.Millisecond) // a claim takes some more, a pod far more
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill the kubelet, process %d: %v", pid, err)
	}
	for i, f := range functions {
		(<-answered[i]).is(t, f.name)
		f.awaitReplicas(t, 1)
		f.scale(t, 0)
		f.awaitZero(t)
	}
	awaitSpares(t, namespace, 1)
}

// TestOutage_APIServer stops the API server for half a minute while functions are called: no call of a function that is up is
// lost, and the call of one that is at zero is answered when the API server is back.
func TestOutage_APIServer(t *testing.T) {
	outages(t)
	const outage = 30 * time.Second
	forked := scriptedTarget(deploy(t, loaded(scripted())))
	served := probeTarget(deploy(t, loaded(watchedProbe(t))))
	ledger := contractTarget(deploy(t, loaded(contract(scripted()))))
	idle := deployAtZero(t, parrot())
	pid, ok := component(t, "kube-apiserver")
	if !ok {
		t.Fatal("the API server's process is not on this machine: run the tests by make test-e2e")
	}
	l, ctx := startLoad(t)
	for kind, f := range map[string]target{"forked": forked, "http": served, "contract": ledger} {
		f.awaitReplicas(t, 1)
		l.calls(ctx, kind+", kept connection", f, 0, keptConnections())
		l.calls(ctx, kind+", new connection", f, 0, newConnections())
		l.calls(ctx, kind+", long", f, longCall, keptConnections())
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatalf("stop the API server, process %d: %v", pid, err)
	}
	goOn := func() error { return syscall.Kill(pid, syscall.SIGCONT) }
	t.Cleanup(func() { _ = goOn() }) // it was told already, unless the test has failed
	answered := idle.wakeBeside(t, "awake")
	time.Sleep(outage)
	if err := goOn(); err != nil {
		t.Fatalf("let the API server go on: %v", err)
	}
	w := <-answered
	w.is(t, "awake")
	if w.after < outage {
		t.Errorf("a function at zero was woken without an API server, after %v", w.after)
	}
	served.scale(t, 2)
	served.awaitReplicas(t, 2)
	deploy(t, parrot()).call(t, "new").is(t, "call of a function deployed afterwards", http.StatusOK)
	l.report(t)
}

// TestOutage_Node cuts a node off from the network, for good as far as the others can tell: functions that were there answer from
// the other node, and those that have a replica on both go on.
func TestOutage_Node(t *testing.T) {
	outages(t)
	home, lost := twoNodes(t)
	cordon(t, home, true)
	cordon(t, lost, false)
	// Its spares are on the node that will be lost, all of them.
	far := parrot()
	far.Namespace = newPool(t, 2)
	hot, tally, spread := deploy(t, far), deploy(t, contract(parrot())), deploy(t, loaded(parrot()))
	for _, f := range []function{hot, tally, spread} {
		f.awaitReplicas(t, 1)
		f.runsOn(t, lost)
	}
	cordon(t, home, false)
	cordon(t, lost, true)
	idle := deployAtZero(t, far)
	spread.scale(t, 2)
	spread.awaitReplicas(t, 2)
	spread.runsOn(t, home, lost)
	cordon(t, lost, false)
	tally.call(t, `{"before":1}`).is(t, "call", http.StatusOK)

	network := os.Getenv("DC_LAN")
	link := func(state string) {
		t.Helper()
		port := lost[strings.LastIndexByte(lost, '-')+1:]
		if out, err := exec.Command("ip", "-n", network, "link", "set", port, state).CombinedOutput(); err != nil {
			t.Fatalf("set the link of %s %s: %v: %s", lost, state, err, out)
		}
	}
	link("down")
	began := time.Now()
	back := false
	t.Cleanup(func() {
		if !back {
			link("up")
		}
	})
	// answers calls until there is an answer. Each call has some seconds: what is on its way to the lost node is lost.
	answers := func(f function, body string) time.Duration {
		eventually(t, f.String()+" answers", func() (bool, string) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			a, err := gateway.send(ctx, request{method: http.MethodPost, path: f.path(""), body: body, auth: nobody})
			return err == nil && a.status == http.StatusOK && a.body == body, fmt.Sprint(a.status, " ", a.body, " ", err)
		})
		return time.Since(began).Round(100 * time.Millisecond)
	}
	t.Logf("a replica on both nodes: answers after %v", answers(spread, "spread"))
	t.Logf("at zero: answers after %v", answers(idle, "idle"))
	t.Logf("all replicas on the lost node: answers after %v", answers(hot, "hot"))
	t.Logf("a contract, its replica on the lost node: answers after %v", answers(tally, `{"after":1}`))
	for _, f := range []function{hot, tally} {
		eventually(t, f.String()+" has a replica on the other node", func() (bool, string) {
			claimed, others := f.claimed(t)
			seen := fmt.Sprintf("%d claimed, %d others", len(claimed), len(others))
			return len(claimed) == 0 && len(others) == 1 && podReady(others[0]) && others[0].Spec.NodeName == home, seen
		})
	}
	t.Logf("replicas are replaced after %v", time.Since(began).Round(100*time.Millisecond))
	link("up")
	back = true
	eventually(t, "the node is ready", func() (bool, string) {
		n, err := cluster.CoreV1().Nodes().Get(t.Context(), lost, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c.Status == corev1.ConditionTrue, c.Message
			}
		}
		return false, "no condition"
	})
	for f, replicas := range map[function]int{hot: 1, tally: 1, spread: 2} {
		eventually(t, f.String()+" has its replicas and no others", func() (bool, string) {
			pods := podsIn(t, f.inNamespace(), "faas_function="+f.name)
			ready := 0
			for _, p := range pods {
				if podReady(p) && p.DeletionTimestamp == nil {
					ready++
				}
			}
			return len(pods) == replicas && ready == replicas, fmt.Sprintf("%d pods, %d ready", len(pods), ready)
		})
		answers(f, `{"node":"back"}`)
	}
	wantHeap(t, tally, map[string]string{"before": "1", "after": "1", "node": `"back"`})
}

// twoNodes are the node that the API server is on, in whose network this process runs, and the other one.
func twoNodes(t *testing.T) (home, other string) {
	t.Helper()
	nodes, err := cluster.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	own, err := nodeAddress(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes.Items {
		if slices.ContainsFunc(n.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Address == own }) {
			home = n.Name
		} else {
			other = n.Name
		}
	}
	if len(nodes.Items) != 2 || home == "" || other == "" || os.Getenv("DC_LAN") == "" {
		t.Fatalf("%d nodes: run the tests by make test-e2e", len(nodes.Items))
	}
	return home, other
}

// cordon has no more pods come to a node, or has them come again.
func cordon(t *testing.T, node string, closed bool) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, closed)
	if _, err := cluster.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// runsOn checks on which nodes the function's replicas are.
func (f function) runsOn(t *testing.T, nodes ...string) {
	t.Helper()
	var got []string
	for _, p := range podsIn(t, f.inNamespace(), "faas_function="+f.name) {
		got = append(got, p.Spec.NodeName)
	}
	slices.Sort(got)
	if slices.Sort(nodes); !slices.Equal(got, nodes) {
		t.Fatalf("%s runs on %v, want %v", f, got, nodes)
	}
}
