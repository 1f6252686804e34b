package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tenure is who leads, by the name of its pod, since when, and when that was last confirmed.
type tenure struct {
	leader            string
	acquired, renewed time.Time
}

// lease reads the tenure that is or was. There is none before anybody has led, and nobody leads once it was given back.
func lease(t *testing.T) (now tenure) {
	t.Helper()
	l, err := cluster.CoordinationV1().Leases(providerNamespace).Get(t.Context(), "dc-provider", metav1.GetOptions{})
	if err != nil || l.Spec.HolderIdentity == nil || l.Spec.AcquireTime == nil || l.Spec.RenewTime == nil {
		return tenure{}
	}
	return tenure{*l.Spec.HolderIdentity, l.Spec.AcquireTime.Time, l.Spec.RenewTime.Time}
}

// led waits until there are two providers, both ready, and one of them leads.
func led(t *testing.T) (leader, other corev1.Pod) {
	t.Helper()
	eventually(t, "two providers are ready, and one leads", func() (bool, string) {
		pods, now := providerPods(t), lease(t)
		if len(pods) == 2 && podReady(pods[0]) && podReady(pods[1]) {
			for i, p := range pods {
				if p.Name == now.leader {
					leader, other = p, pods[1-i]
				}
			}
		}
		return leader.Name != "", fmt.Sprintf("%d providers, %q leads", len(pods), now.leader)
	})
	return leader, other
}

// kill ends a provider without a word: its process gets no signal that it could see, and its pod is not started again.
func kill(t *testing.T, p corev1.Pod) {
	t.Helper()
	_, id, _ := strings.Cut(p.Status.ContainerStatuses[0].ContainerID, "://")
	pid, ok := processOf(t, id, "/dc-provider")
	if !ok {
		t.Fatalf("the process of %s is not on this machine: run the tests by make test-e2e", p.Name)
	}
	if err := cluster.CoreV1().Pods(p.Namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %s, process %d: %v", p.Name, pid, err)
	}
}

// through calls functions at one provider, whatever Service leads to whichever.
type through struct{ listener }

func at(p corev1.Pod) through {
	l := gateway
	l.url = fmt.Sprintf("http://%s:8080", p.Status.PodIP)
	return through{l}
}

// answers calls f and compares the answer.
func (p through) answers(ctx context.Context, f function, body, want string) error {
	a, err := p.send(ctx, request{method: http.MethodPost, path: f.path(""), body: body, auth: nobody})
	if err == nil && (a.status != http.StatusOK || a.body != want) {
		err = fmt.Errorf("status %d, %q, want %q", a.status, a.body, want)
	}
	return err
}

// TestProviders_TwoWithOneLeader has functions served by the provider that does not lead, which is no reason to take them to
// zero. Then the leader dies without a word: the other loses no call, wakes, and leads.
func TestProviders_TwoWithOneLeader(t *testing.T) {
	installed, err := cluster.AppsV1().Deployments(providerNamespace).Get(t.Context(), "dc-provider", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := *installed.Spec.Replicas; n != 2 {
		t.Skipf("%d providers are installed: make test-e2e installs two in a pass of its own", n)
	}
	first, second := led(t)
	zeroed := func(d deployment) deployment { return label(label(d, labelZero, "true"), labelZeroDuration, "3s") }
	hot := deploy(t, zeroed(loaded(scripted())))
	tally := deploy(t, zeroed(loaded(contract(parrot()))))
	idle := deploy(t, zeroed(parrot()))
	var committed string
	calls := map[string]func(ctx context.Context, n int) error{
		"hot": func(ctx context.Context, n int) error {
			return at(second).answers(ctx, hot, fmt.Sprintf("echo %d", n), fmt.Sprintln(n))
		},
		"contract": func(ctx context.Context, n int) error {
			body := fmt.Sprintf(`{"n":%d}`, n)
			err := at(second).answers(ctx, tally, body, body)
			if err == nil {
				committed = fmt.Sprint(n)
			}
			return err
		},
	}
	l, ctx := startLoad(t)
	for kind, call := range calls {
		if err := call(within(t, callTimeout), 0); err != nil { // waits for the first replica
			t.Fatalf("%s: %v", kind, err)
		}
		l.again(ctx, kind, call)
	}
	hot.awaitReplicas(t, 1)
	tally.awaitReplicas(t, 1)
	pods := [][]string{hot.pods(t), tally.pods(t)}
	idle.awaitZero(t)
	if err := at(second).answers(within(t, callTimeout), idle, "moo", "moo"); err != nil {
		t.Fatal(err)
	}
	idle.awaitZero(t) // by now the others would be, too, if nobody called them

	last := lease(t)
	began := time.Now()
	kill(t, first)
	if err := at(second).answers(within(t, callTimeout), idle, "moo", "moo"); err != nil {
		t.Fatalf("wake after the leader's end: %v", err)
	}
	woken := time.Since(began)
	var now tenure
	eventually(t, "another leads", func() (bool, string) {
		if now = lease(t); now.leader == first.Name {
			last = now
		}
		return now.leader != "" && now.leader != first.Name, now.leader
	})
	t.Logf("after the leader's end a function was woken in %v; another led after %v, %v after the last word",
		woken.Round(time.Millisecond), now.acquired.Sub(began).Round(time.Millisecond), now.acquired.Sub(last.renewed).Round(time.Millisecond))
	for i, f := range []function{hot, tally} {
		if now := f.pods(t); !slices.Equal(now, pods[i]) {
			t.Errorf("%s has the pods %v, and had %v: it was called all the time", f, now, pods[i])
		}
	}
	hot.scale(t, 2)
	hot.awaitReplicas(t, 2)
	led(t)
	idle.awaitZero(t)
	l.report(t)
	wantHeap(t, tally, map[string]string{"n": committed})
}
